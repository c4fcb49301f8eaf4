//! What a protocol is to a transport: text and time in; events, frames, wake-ups and the end out.
//!
//! A codec never waits, never fails on input, and holds no socket and no clock.

use std::time::{Duration, Instant};

use url::Url;

use super::{Command, Event, SignalingError};

/// A client's side of a signaling protocol.
pub(crate) trait ClientCodec: Send {
    /// A connection is about to be made; a protocol whose address says who we are writes that into it.
    fn dialing(&mut self, _url: &mut Url) {}
    /// A new connection stands.
    fn opened(&mut self, now: Instant);
    /// A text came from the room.
    fn receive(&mut self, text: &str, now: Instant);
    /// The user of the session wants something.
    fn command(&mut self, command: Command, now: Instant);
    /// The connection is gone, or could not be made. Leads to a [`Output::Disconnect`].
    fn lost(&mut self, error: SignalingError, now: Instant);
    /// The time of [`ClientCodec::wake_at`] has come; calling it too early is harmless.
    fn wake(&mut self, now: Instant);
    /// When to call [`ClientCodec::wake`] if nothing else happens before.
    fn wake_at(&self) -> Option<Instant>;
    /// The next thing to do; called until it gives `None`.
    fn poll(&mut self, now: Instant) -> Option<Output>;
}

/// What the transport has to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Tell the user of the session.
    Event(Event),
    /// Send to the room.
    Frame(String),
    /// Close the connection, then do what is said.
    Disconnect(Next),
}

/// What comes after the connection was closed.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: we have left.
    Ended,
    /// Nothing: it cannot work.
    Failed(SignalingError),
    /// A new connection, after the given time or after the transport's own backoff.
    Reconnect {
        /// How long to wait; `None` leaves it to the transport.
        delay: Option<Duration>,
        /// Why, for people.
        reason: String,
    },
}
