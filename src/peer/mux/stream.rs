//! What a connection takes for its own TCP listener, and the streams that it gets from there.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use webrtc::runtime::{AsyncTcpListener, AsyncTcpStream};

use super::routes::ConnectionId;
use super::tcp_port::{Arrival, TcpPort};

/// The driver does nothing else while it writes: a client that reads nothing for so long is cut off.
const SLOWEST_WRITE: Duration = Duration::from_secs(2);

type Pinned<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A connection's place on a shared TCP port, in the form of a listener.
#[derive(Debug)]
pub(crate) struct SharedListener {
    arrivals: Mutex<mpsc::Receiver<Arrival>>,
    local: SocketAddr,
}

impl SharedListener {
    /// A place for the connection, in exchange for the listener it has bound.
    pub(crate) fn new(port: &TcpPort, id: ConnectionId, bound: &std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { arrivals: Mutex::new(port.enter(id)), local: bound.local_addr()? })
    }
}

impl AsyncTcpListener for SharedListener {
    fn accept<'a>(&'a self) -> Pinned<'a, (Arc<dyn AsyncTcpStream>, SocketAddr)> {
        Box::pin(async move {
            let Some(Arrival { stream, from, read }) = self.arrivals.lock().await.recv().await else {
                // The place was given up. An error would be asked about again at once.
                return std::future::pending().await;
            };
            let stream = SharedStream {
                stream,
                from,
                local: self.local,
                unread: SyncMutex::new(read),
                is_broken: AtomicBool::new(false),
            };
            Ok((Arc::new(stream) as Arc<dyn AsyncTcpStream>, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// A stream whose first frame was read already.
#[derive(Debug)]
struct SharedStream {
    stream: TcpStream,
    from: SocketAddr,
    /// The address that the connection believes its listener has.
    local: SocketAddr,
    unread: SyncMutex<Vec<u8>>,
    is_broken: AtomicBool,
}

impl SharedStream {
    fn take_unread(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let length = unread.len().min(buffer.len());
        buffer[..length].copy_from_slice(&unread[..length]);
        unread.drain(..length);
        (length > 0).then_some(length)
    }

    async fn write(&self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsyncTcpStream for SharedStream {
    fn read<'a, 'b>(&'a self, buffer: &'b mut [u8]) -> Pinned<'b, usize>
    where
        'a: 'b,
    {
        Box::pin(async move {
            if let Some(length) = self.take_unread(buffer) {
                return Ok(length);
            }
            loop {
                self.stream.readable().await?;
                match self.stream.try_read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            }
        })
    }

    fn write_all<'a, 'b>(&'a self, bytes: &'b [u8]) -> Pinned<'b, ()>
    where
        'a: 'b,
    {
        Box::pin(async move {
            // After half a frame nothing that follows would be understood.
            if self.is_broken.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let written = tokio::time::timeout(SLOWEST_WRITE, self.write(bytes)).await;
            let written = written.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
            self.is_broken.store(written.is_err(), Ordering::Relaxed);
            written
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.from)
    }
}
