//! One TCP port that many connections share (ICE-TCP, RFC 6544): the first check on a stream says whose it is.
//!
//! Clients whose network lets no UDP through connect to it. A stream that does not begin with a check for somebody here
//! is closed; so is one that takes its time, and one too many.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::routes::ConnectionId;
use super::stun::{Kind, kind};

/// Streams that have not yet said whose they are.
const UNKNOWN: usize = 64;
/// The time they have for it.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// The largest first message: a check has a few hundred bytes.
const LARGEST_CHECK: usize = 1500;
/// Streams that wait for their connection's driver.
const WAITING: usize = 8;
/// An error that stays, like too many open files, must not become a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// A stream that belongs to a connection, and what was read of it already: the first frame (RFC 4571).
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) from: SocketAddr,
    pub(super) read: Vec<u8>,
}

/// A shared listener and whose streams arrive on it.
#[derive(Debug)]
pub(crate) struct TcpPort {
    listener: TcpListener,
    address: SocketAddr,
    /// As with the UDP port: names are noted by connections and looked up by its task, without waiting.
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    by_ufrag: HashMap<String, ConnectionId>,
    connections: HashMap<ConnectionId, mpsc::Sender<Arrival>>,
}

impl TcpPort {
    /// Takes a bound listener over. Needs a Tokio runtime.
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener: TcpListener::from_std(listener)?, address, names: Mutex::default() })
    }

    /// Starts its task, which ends when the set is dropped.
    pub(crate) fn run(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(Arc::clone(self).accept());
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection takes its place here and gets its streams.
    pub(super) fn enter(&self, id: ConnectionId) -> mpsc::Receiver<Arrival> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.names().connections.insert(id, sender);
        receiver
    }

    /// Streams that begin with this ufrag are for this connection from now on.
    pub(crate) fn name(&self, id: ConnectionId, ufrag: &str) {
        let mut names = self.names();
        if names.connections.contains_key(&id) {
            names.by_ufrag.entry(ufrag.to_owned()).or_insert(id);
        }
    }

    /// The connection is over.
    pub(crate) fn leave(&self, id: ConnectionId) {
        let mut names = self.names();
        names.connections.remove(&id);
        names.by_ufrag.retain(|_, of| *of != id);
    }

    /// How many connections have a place here.
    pub(crate) fn connections(&self) -> usize {
        self.names().connections.len()
    }

    async fn accept(self: Arc<Self>) {
        let mut unknown = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if unknown.len() < UNKNOWN => match accepted {
                    Ok((stream, from)) => {
                        let port = Arc::clone(&self);
                        unknown.spawn(async move {
                            if timeout(FIRST_WORD, port.welcome(stream, from)).await.is_err() {
                                debug!(%from, "a stream said nothing");
                            }
                        });
                    }
                    Err(error) => {
                        warn!(address = %self.address, %error, "the media port accepts no stream");
                        tokio::time::sleep(ERROR_PAUSE).await;
                    }
                },
                Some(welcomed) = unknown.join_next() => if let Err(error) = welcomed {
                    warn!(%error, "reading the begin of a stream failed");
                },
            }
        }
    }

    /// Reads the first frame and passes the stream on to whom it names.
    async fn welcome(&self, mut stream: TcpStream, from: SocketAddr) {
        let Ok(length) = stream.read_u16().await else { return };
        if usize::from(length) > LARGEST_CHECK {
            return debug!(%from, "a stream does not begin with a check");
        }
        let mut read = length.to_be_bytes().to_vec();
        read.resize(2 + usize::from(length), 0);
        if stream.read_exact(&mut read[2..]).await.is_err() {
            return;
        }
        let Some(connection) = self.connection(&read[2..]) else {
            return debug!(%from, "a stream is for nobody here");
        };
        // A driver that does not take its streams has too many of them, or has ended.
        connection.try_send(Arrival { stream, from, read }).ok();
    }

    fn connection(&self, check: &[u8]) -> Option<mpsc::Sender<Arrival>> {
        let Kind::Check { ufrag: Some(ufrag), .. } = kind(check) else { return None };
        let names = self.names();
        names.connections.get(names.by_ufrag.get(ufrag)?).cloned()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // Nothing in here panics while the lock is held.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
