//! Why a room cannot be joined.

use std::time::Duration;

use crate::terms::ParticipantId;

/// What ends a session for good. Everything else is mended by reconnecting.
#[derive(Debug, thiserror::Error)]
pub enum SignalingError {
    /// No connection to the server.
    #[error("cannot reach {host}: {reason}; check the host and the port, and that the server runs")]
    Unreachable {
        /// `host:port`.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// The server's certificate or its TLS is not acceptable.
    #[error(
        "TLS with {host} failed: {reason}; its certificate must be valid for this name and trusted by this machine \
         (SSL_CERT_FILE adds a certificate). A server that signed its certificate itself, as GStreamer's does by default, \
         is accepted with insecure=1 in the room's URL: for this room alone, nobody then knows who listens. A server \
         without TLS needs ws:// instead of wss://"
    )]
    Tls {
        /// `host:port`.
        host: String,
        /// What TLS said.
        reason: String,
    },
    /// HTTP 403.
    #[error(
        "{host} refuses the origin {origin} (HTTP 403); allow it there, or send another one with origin= in the URL"
    )]
    OriginRefused {
        /// `host:port`.
        host: String,
        /// The `Origin` that was sent.
        origin: String,
    },
    /// Another answer than a WebSocket.
    #[error("{url} answers HTTP {status} instead of a WebSocket; check the path")]
    NotAWebSocket {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// HTTP 400 with the words of a notify server whose call has its two sides.
    #[error("{host} lets nobody more into this call ({reason})")]
    Full {
        /// `host:port`.
        host: String,
        /// The server's words.
        reason: String,
    },
    /// The room's server answered the join with an error.
    #[error("room \"{room}\" refuses us: {message} ({code}){advice}")]
    Refused {
        /// The room.
        room: String,
        /// The protocol's code.
        code: String,
        /// The server's words.
        message: String,
        /// The way out, if one is known.
        advice: &'static str,
    },
    /// A WHIP endpoint did not take what we want to send.
    #[error("{endpoint} does not take the stream: {message} (HTTP {status}){advice}")]
    NotTaken {
        /// The endpoint's URL, without what may be secret.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
        /// The way out, if one is known.
        advice: &'static str,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The one whom the URL calls cannot be called.
    #[error(
        "{peer} cannot be called: {reason}; it has to be connected to the same server before we call, or be told to call \
         us while we wait with id= instead of call="
    )]
    CannotCall {
        /// Whom.
        peer: ParticipantId,
        /// The server's words.
        reason: String,
    },
    /// The id that the URL asks for is in use.
    #[error(
        "the id \"{id}\" is taken in room \"{room}\"; choose another with id=, leave id= away, or wait a minute when a \
         run that crashed has left it behind"
    )]
    IdTaken {
        /// The id.
        id: ParticipantId,
        /// The room.
        room: String,
    },
    /// The connection stands, but no answer to our join.
    #[error("{host} took the connection but did not answer the join ({reason}); does it speak this protocol?")]
    NoAnswer {
        /// `host:port`.
        host: String,
        /// What happened instead.
        reason: String,
    },
    /// The server ended a connection that stood.
    #[error("{host} closed the connection{}", closing(*code, reason))]
    Closed {
        /// `host:port`.
        host: String,
        /// The close code (RFC 6455, section 7.4), if it sent one.
        code: Option<u16>,
        /// What it said.
        reason: String,
    },
    /// A fault of ours.
    #[error("the signaling task ended unexpectedly: {reason}; this is a bug in roomcast")]
    Driver {
        /// What Tokio said.
        reason: String,
    },
}

fn closing(code: Option<u16>, reason: &str) -> String {
    match code {
        Some(code) if reason.is_empty() => format!(" ({code})"),
        Some(code) => format!(" ({code} {reason})"),
        None => String::new(),
    }
}
