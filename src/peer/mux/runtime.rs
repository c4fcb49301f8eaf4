//! The webrtc crate's runtime for one connection: Tokio's, except that sockets are places on shared ports.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime, TokioRuntime,
};

type Pinned<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where a connection's sockets come from.
pub(crate) trait Places: Send + Sync + std::fmt::Debug + 'static {
    /// A place on a shared port of the same address, or the socket itself where there is none.
    fn udp(&self, bound: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// A place on a shared TCP port of the same address, or the listener itself where there is none.
    fn tcp(&self, bound: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>>;
}

/// A runtime whose sockets come from [`Places`].
#[derive(Debug)]
pub(crate) struct SharedRuntime(pub(crate) Arc<dyn Places>);

impl Runtime for SharedRuntime {
    fn wrap_udp_socket(&self, bound: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.0.udp(bound)
    }

    fn wrap_tcp_listener(&self, bound: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.0.tcp(bound)
    }

    fn spawn(&self, future: Pinned<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn spawn_reactor(&self, pool: usize, future: Pinned<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn_reactor(pool, future)
    }

    fn connect_tcp<'a>(&'a self, to: SocketAddr) -> Pinned<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        Box::pin(TokioRuntime.connect_tcp(to))
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Pinned<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }

    fn sleep(&self, duration: Duration) -> Pinned<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Pinned<'static, ()> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio with shared ports"
    }
}
