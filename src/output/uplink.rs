//! What an output needs of somebody who speaks WebRTC: the bridge gives it an [`Uplink`], so that outputs see neither peers
//! nor signaling.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::terms::Codec;

/// Sends RTP to an endpoint by WebRTC.
#[async_trait]
pub trait Uplink: Send + Sync + fmt::Debug {
    /// Connects and sends until `cargo.stop` is cancelled (`Ok`, after the farewell) or the connection fails. Dropping
    /// the future ends everything in the background.
    async fn send(&self, cargo: Cargo) -> Result<(), UplinkError>;
}

/// What is to be sent, and where to.
#[derive(Debug)]
pub struct Cargo {
    /// Where to.
    pub endpoint: Endpoint,
    /// Sound, picture or both.
    pub streams: Vec<RtpStream>,
    /// Notified when the endpoint needs a keyframe.
    pub keyframe_wanted: Arc<Notify>,
    /// How far the connection is.
    pub progress: watch::Sender<Progress>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// One stream of RTP packets; its source and payload type are replaced by negotiated ones.
#[derive(Debug)]
pub struct RtpStream {
    /// What the packets carry.
    pub codec: Codec,
    /// Whole packets (RFC 3550, section 5.1). A connection that is too slow loses the oldest.
    pub packets: broadcast::Receiver<Bytes>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// The endpoint is asked.
    #[default]
    Asking,
    /// ICE and DTLS are up: media flows.
    Connected,
    /// The endpoint has reported that every stream arrives.
    Arriving,
}

/// An endpoint's URL with what is secret in it: shown without.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    whole: String,
    shown: String,
}

impl Endpoint {
    /// `whole` is dialed, `shown` is what people see.
    pub fn new(whole: impl Into<String>, shown: impl Into<String>) -> Self {
        Self { whole: whole.into(), shown: shown.into() }
    }

    /// With the token: for whoever dials, never for a log or an event.
    pub fn with_secrets(&self) -> &str {
        &self.whole
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// Why nothing is sent any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UplinkError {
    /// The endpoint cannot be reached or does not want us; the text has the way out.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// When the endpoint wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The endpoint does not take this codec; the text has the way out.
    #[error("{reason}")]
    CodecRefused {
        /// What it does not take.
        codec: Codec,
        /// Why.
        reason: String,
    },
    /// No media can get there, or no longer.
    #[error("no media gets to {endpoint}: {reason}")]
    Lost {
        /// The endpoint.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// A fault of ours.
    #[error("the connection to {endpoint} cannot be made: {reason}")]
    Broken {
        /// The endpoint.
        endpoint: String,
        /// What failed.
        reason: String,
    },
}
