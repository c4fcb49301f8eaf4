//! One UDP socket that many connections share: it receives in batches for all of them, and sends for each.
//!
//! Two tasks, owned by the network: one receives and sorts, one waits until a full send buffer has room again. Both
//! directions use the kernel's batches (recvmmsg, GRO and GSO by quinn-udp) as the crate's own sockets do.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{debug, warn};
use webrtc::runtime::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::queue::{Queue, Run};
use super::routes::{ConnectionId, RouteCount, Routes};
use super::stun::Transaction;

/// Messages per system call.
const MESSAGES: usize = 16;
/// What the kernel puts into one message at most, when it joins datagrams of one sender (GRO).
const MESSAGE: usize = 64 * 1024;
/// One socket receives everybody's video: what the kernel grants of this, no more.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;
/// An error that stays must not become a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// A shared socket and whose datagrams arrive on it.
#[derive(Debug)]
pub(crate) struct Port {
    io: UdpSocket,
    batch: Batch,
    address: SocketAddr,
    /// A lock and no task of its own: sockets are polled, so a route must be found and noted without waiting. It is
    /// held for one batch at most.
    routes: Mutex<Routes<Arc<Queue>>>,
    /// Who waits for room in the send buffer. Readiness itself remembers one waker only.
    blocked: Mutex<Vec<Waker>>,
    somebody_is_blocked: Notify,
    strays: AtomicU64,
    dropped: AtomicU64,
}

/// quinn-udp's view of the socket, which has no `Debug` of its own.
struct Batch(UdpSocketState);

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch(gso {}, gro {})", self.0.max_gso_segments(), self.0.gro_segments())
    }
}

impl Port {
    /// Takes a bound socket over. Needs a Tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let io = UdpSocket::from_std(socket)?;
        let batch = UdpSocketState::new(UdpSockRef::from(&io))?;
        if let Err(error) = batch.set_recv_buffer_size(UdpSockRef::from(&io), KERNEL_BUFFER) {
            debug!(%address, %error, "the socket keeps its receive buffer");
        }
        Ok(Self {
            io,
            batch: Batch(batch),
            address,
            routes: Mutex::new(Routes::new()),
            blocked: Mutex::default(),
            somebody_is_blocked: Notify::new(),
            strays: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// Starts its tasks, which end when the set is dropped.
    pub(crate) fn run(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(Arc::clone(self).receive());
        tasks.spawn(Arc::clone(self).unblock());
    }

    /// Where datagrams arrive.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection takes its place here and gets its queue.
    pub(crate) fn enter(&self, id: ConnectionId) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        self.routes().enter(id, Arc::clone(&queue));
        queue
    }

    /// Checks with this ufrag are for this connection from now on.
    pub(crate) fn name(&self, id: ConnectionId, ufrag: &str) {
        self.routes().name(id, ufrag);
    }

    /// The connection is over.
    pub(crate) fn leave(&self, id: ConnectionId) {
        if let Some(queue) = self.routes().leave(id) {
            self.dropped.fetch_add(queue.dropped(), Ordering::Relaxed);
        }
    }

    /// A connection sends a STUN request.
    pub(super) fn requested(&self, id: ConnectionId, transaction: Transaction, to: SocketAddr) {
        self.routes().sent(id, transaction, to, Instant::now());
    }

    /// The routes there are.
    pub(crate) fn routes_left(&self) -> RouteCount {
        self.routes().count()
    }

    /// Datagrams that belonged to nobody, and datagrams that connections were too slow for.
    pub(crate) fn losses(&self) -> (u64, u64) {
        let dropped: u64 = self.routes().targets().map(|queue| queue.dropped()).sum();
        (self.strays.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed) + dropped)
    }

    pub(super) fn max_gso_segments(&self) -> usize {
        self.batch.0.max_gso_segments()
    }

    /// Sends, or remembers who to wake when there is room.
    pub(super) fn poll_send(&self, cx: &Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let send = || self.batch.0.try_send(UdpSockRef::from(&self.io), transmit);
        match self.io.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                lock(&self.blocked).push(cx.waker().clone());
                self.somebody_is_blocked.notify_one();
                Poll::Pending
            }
            sent => Poll::Ready(sent.map(|()| transmit.contents.len())),
        }
    }

    async fn unblock(self: Arc<Self>) {
        loop {
            self.somebody_is_blocked.notified().await;
            if let Err(error) = self.io.writable().await {
                warn!(address = %self.address, %error, "the media port cannot send");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
            for waker in std::mem::take(&mut *lock(&self.blocked)) {
                waker.wake();
            }
        }
    }

    async fn receive(self: Arc<Self>) {
        let mut slab = vec![0; MESSAGES * MESSAGE];
        let mut metas = [RecvMeta::default(); MESSAGES];
        loop {
            let received = self.io.async_io(Interest::READABLE, || {
                let mut chunks = slab.chunks_exact_mut(MESSAGE);
                let mut buffers: [IoSliceMut<'_>; MESSAGES] =
                    std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
                match self.batch.0.recv(UdpSockRef::from(&self.io), &mut buffers, &mut metas)? {
                    0 => Err(io::ErrorKind::WouldBlock.into()),
                    messages => Ok(messages),
                }
            });
            match received.await {
                Ok(messages) => self.sort(slab.chunks_exact(MESSAGE).zip(&metas).take(messages)),
                Err(error) => {
                    warn!(address = %self.address, %error, "the media port cannot receive");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// Puts each datagram of a batch into its connection's queue.
    fn sort<'a>(&self, messages: impl Iterator<Item = (&'a [u8], &'a RecvMeta)>) {
        let mut routes = self.routes();
        let mut strays = 0;
        for (buffer, meta) in messages {
            let stride = meta.stride.max(1);
            let run = Run { from: meta.addr, ecn: meta.ecn, stride, length: 0 };
            let mut rest = &buffer[..meta.len.min(buffer.len())];
            // What the kernel has joined nearly always belongs together, and then stays together.
            while !rest.is_empty() {
                let first = &rest[..stride.min(rest.len())];
                let Some(queue) = routes.find(first, meta.addr).map(Arc::clone) else {
                    strays += 1;
                    rest = &rest[first.len()..];
                    continue;
                };
                let mut length = first.len();
                for next in rest[length..].chunks(stride) {
                    if !routes.find(next, meta.addr).is_some_and(|other| Arc::ptr_eq(other, &queue)) {
                        break;
                    }
                    length += next.len();
                }
                queue.push(run, &rest[..length]);
                rest = &rest[length..];
            }
        }
        if strays > 0 {
            self.strays.fetch_add(strays, Ordering::Relaxed);
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes<Arc<Queue>>> {
        lock(&self.routes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics while a lock is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
