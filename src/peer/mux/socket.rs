//! What a connection takes for its own UDP socket: a place on a shared port, and a way to TURN servers beside it.
//!
//! A TURN allocation belongs to the pair of addresses it was made over (RFC 8656, section 2.2). Connections that share a
//! port would share that pair, so only one of them could have a relay: each talks to TURN servers from a port of its own.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::port::Port;
use super::queue::Queue;
use super::routes::ConnectionId;
use super::stun::{Kind, kind};

/// Joined datagrams per read: the driver makes its buffers by this.
const JOINED: usize = 16;

/// A connection's place on a shared port, in the form of a socket.
#[derive(Debug)]
pub(crate) struct SharedSocket {
    port: Arc<Port>,
    id: ConnectionId,
    queue: Arc<Queue>,
    /// The address that the connection believes it is bound to, and names itself by in its candidates.
    local: SocketAddr,
    to_turn: ToTurn,
}

/// The socket that was bound to `local`: kept when there may be TURN servers to talk to.
#[derive(Debug)]
struct ToTurn {
    bound: Option<std::net::UdpSocket>,
    /// Made when the first request is sent, on the reactor of the connection's driver.
    opened: OnceLock<UdpSocket>,
}

impl SharedSocket {
    /// A place for the connection, in exchange for the socket it has bound.
    pub(crate) fn new(
        port: Arc<Port>,
        id: ConnectionId,
        bound: std::net::UdpSocket,
        uses_turn: bool,
    ) -> io::Result<Self> {
        let local = bound.local_addr()?;
        let queue = port.enter(id);
        let to_turn = ToTurn { bound: uses_turn.then_some(bound), opened: OnceLock::new() };
        Ok(Self { port, id, queue, local, to_turn })
    }
}

impl ToTurn {
    fn open(&self) -> io::Result<&UdpSocket> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let bound = self.bound.as_ref().ok_or(io::ErrorKind::NotConnected)?.try_clone()?;
        bound.set_nonblocking(true)?;
        let opened = UdpSocket::from_std(bound)?;
        Ok(self.opened.get_or_init(|| opened))
    }
}

impl AsyncUdpSocket for SharedSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_gso_segments(&self) -> usize {
        self.port.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        JOINED
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        match kind(transmit.contents) {
            Kind::Turn => {
                let first = self.to_turn.opened.get().is_none();
                let socket = self.to_turn.open()?;
                if first {
                    // The driver waits for datagrams already: it has to look at this socket too from now on.
                    self.queue.wake();
                }
                return socket.poll_send_to(cx, transmit.contents, transmit.destination);
            }
            Kind::Check { transaction, .. } => self.port.requested(self.id, transaction, transmit.destination),
            Kind::Answer(_) | Kind::Media => {}
        }
        self.port.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), metas.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        if let Poll::Ready(received) = self.queue.poll_pop(cx, buffer) {
            *meta = received;
            return Poll::Ready(Ok(1));
        }
        let Some(socket) = self.to_turn.opened.get() else { return Poll::Pending };
        let mut into = ReadBuf::new(buffer);
        let from = ready!(socket.poll_recv_from(cx, &mut into))?;
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (from, into.filled().len(), into.filled().len().max(1));
        Poll::Ready(Ok(1))
    }
}
