//! One UDP port, and one TCP port, for all connections of a process.
//!
//! The webrtc crate opens a socket per connection. It does that through a [`webrtc::runtime::Runtime`], so ours gives it
//! places on shared sockets instead; which connection a datagram is for is found as RFC 8445 and RFC 7983 allow: a
//! connectivity check names its receiver, an answer repeats the transaction of its request, everything else goes where
//! its sender's last check went.
//!
//! ```text
//! Port (socket, 2 tasks) ── sort ──► Routes ──► Queue ──► SharedSocket ──► driver of one connection
//!   ▲                                  ▲ sent checks            │
//!   └──────────── datagrams ───────────┴────────────────────────┘
//! ```
//!
//! Two processes that both use one port can have one connection with each other: a second one would have the same pair of
//! addresses, and its media could not be told apart.
//!
//! Used by [`super::network`] alone. It looks at no media, checks no password, and keeps nobody's datagrams waiting for
//! somebody else: a connection that does not keep up loses its own.

mod fuzzing;
mod port;
mod queue;
mod queue_fuzzing;
mod routes;
mod runtime;
mod socket;
mod stream;
mod stun;
mod tcp_port;

pub(super) use fuzzing::fuzz_routes;
pub(crate) use port::Port;
pub(super) use queue_fuzzing::fuzz_queue;
pub(crate) use routes::ConnectionId;
pub(crate) use runtime::{Places, SharedRuntime};
pub(crate) use socket::SharedSocket;
pub(crate) use stream::SharedListener;
pub(crate) use tcp_port::TcpPort;

#[cfg(test)]
mod tcp_tests;
#[cfg(test)]
mod tests;
