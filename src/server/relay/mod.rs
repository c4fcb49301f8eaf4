//! Relays: WHIP publishers and WHEP viewers as participants of mesh rooms.
//!
//! A relay has one connection to its HTTP client ([`client`]), a seat in the room like anybody else's, and connections to
//! the members there. RTP is forwarded between them with new numbers ([`feed`]), keyframe requests go back,
//! sender reports keep sound and picture in step (`rtp::reports`); nothing is decoded. [`sessions`] owns all relays. It knows
//! nothing of HTTP: `server::whip` does.

mod client;
mod entrance;
mod feed;
mod members;
mod publisher;
mod sessions;
mod source;
mod viewer;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::peer::{Network, PeerConfig, PeerError};
use crate::signaling::sdpfrag::SdpFragment;
use crate::terms::{Codec, IceServer, ParticipantId};

pub(crate) use sessions::Sessions;

/// What the ids of publishers begin with.
pub(crate) const ID_PREFIX: &str = "whip-";

/// What a relay is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// WHIP: the client sends, the room receives.
    Publish,
    /// WHEP: the client receives what a member sends.
    Watch,
}

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) role: Role,
    pub(crate) room: String,
    pub(crate) offer: String,
    /// Whom to watch, or as whom to publish.
    pub(crate) participant: Option<ParticipantId>,
}

/// What a relay begins with.
#[derive(Debug)]
struct Begin {
    /// The id of its session.
    id: watch::Sender<String>,
    wish: Wish,
    config: Arc<RelayConfig>,
    reply: oneshot::Sender<Result<Opened, RelayError>>,
    cancel: CancellationToken,
}

impl Begin {
    /// Waits for what is to be answered, as long as somebody waits for the answer.
    async fn unless_given_up<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.cancel.cancelled() => None,
            () = self.reply.closed() => None,
        }
    }
}

/// A relay that stands.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Cannot be guessed.
    pub(crate) id: String,
    /// Names the ICE generation.
    pub(crate) etag: String,
    /// Complete, with all candidates.
    pub(crate) answer: String,
}

/// What a client asks of its relay later.
#[derive(Debug)]
pub(crate) enum Request {
    /// Candidates or an ICE restart.
    Patch { condition: Condition, fragment: SdpFragment, reply: oneshot::Sender<Result<Patched, RelayError>> },
    /// The publisher comes back with a new connection.
    TakeOver { offer: String, reply: oneshot::Sender<Result<Opened, RelayError>> },
    /// The end; answered when everything is released.
    Close { reply: oneshot::Sender<()> },
}

/// `If-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// `*`.
    Any,
    /// Any of these entity tags.
    OneOf(Vec<String>),
}

/// What a patch has led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Patched {
    /// Candidates were taken.
    Trickled,
    /// ICE was restarted.
    Restarted { etag: String, fragment: SdpFragment },
}

/// Why a client does not get what it asks for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("the offer cannot be used: {0}")]
    BadOffer(String),
    #[error("no codec in common: {0}")]
    NothingInCommon(String),
    #[error("the ICE session is another one by now")]
    OtherIceSession,
    #[error("the fragment cannot be used: {0}")]
    BadFragment(String),
    #[error("{0}")]
    NobodySends(String),
    #[error("\"{0}\" is somebody else in this room; choose another participant=")]
    NameTaken(ParticipantId),
    #[error("{0}")]
    RoomRefuses(String),
    #[error("there are {0} sessions already, which is the limit of this server")]
    TooManySessions(usize),
    #[error("this session has ended")]
    Ended,
    #[error("the server is closing")]
    Closing,
    #[error("a connection cannot be set up: {0}")]
    Broken(String),
}

/// What all relays need to know.
#[derive(Clone, Debug)]
pub(crate) struct RelayConfig {
    /// Our own server, as this machine reaches it.
    pub(crate) addr: SocketAddr,
    pub(crate) ice_servers: Vec<IceServer>,
    pub(crate) network: Network,
    /// Relays at once.
    pub(crate) max_sessions: usize,
}

impl RelayConfig {
    fn peer(&self, codecs: Vec<Codec>, polite: bool) -> PeerConfig {
        let (ice_servers, network) = (self.ice_servers.clone(), self.network.clone());
        PeerConfig { ice_servers, network, codecs, polite, sends: true }
    }
}

/// An id of a session, which cannot be guessed.
fn new_session_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// What the engine says about a client's description is the description's fault, unless nothing works at all.
fn offer_error(error: PeerError) -> RelayError {
    match error {
        PeerError::Setup { .. } | PeerError::NoAddresses | PeerError::Closed => RelayError::Broken(error.to_string()),
        error => RelayError::BadOffer(error.to_string()),
    }
}
