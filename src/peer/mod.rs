//! One WebRTC connection to one participant: negotiation, ICE, DTLS-SRTP, loss recovery, RTP in and out.
//!
//! The bridge and the test participant start a [`Peer`] per participant, pass on what signaling brings, and send what
//! its [`PeerEvent`]s say. Nothing outside this module uses the types of the webrtc and rtc crates; nothing inside it
//! knows signaling protocols, pipelines or other participants.
//!
//! ```text
//! Peer ──commands──► Connection (one task) ──► webrtc crate (driver task: sockets, SRTP, interceptors)
//!   ▲                    │    ▲ notices ◄──────────┘      │
//!   └──── PeerEvent ◄────┘    └ sender reports ◄─ RtcpTap │
//!                                InboundTrack::read ◄─────┘   OutboundTrack::write ──► driver
//! ```

mod address_map;
mod candidates;
mod chain;
mod chat;
mod codecs;
mod connection;
mod departures;
mod engine;
mod error;
mod event;
mod fec;
pub(crate) mod fuzzing;
pub mod ice;
mod intake;
mod keyframe;
mod layers;
mod mux;
mod nack;
mod negotiate;
mod negotiation;
mod network;
mod outbound;
mod packet;
mod ports;
mod rtcp_tap;
mod rtx;
mod sdes;
pub(crate) mod sdp;
mod sending;
mod simulcast;
mod srtp;
mod stats;
mod track;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

pub(crate) use keyframe::Pace;
pub(crate) use srtp::protect;

pub use error::PeerError;
pub use event::PeerEvent;
pub use intake::PACKET_RATE;
pub use keyframe::KeyframeRequester;
pub use network::{Network, NetworkConfig, PortUsage};
pub use outbound::OutboundTrack;
pub use packet::RtpPacket;
pub use ports::{BadPortRange, NetworkError, PortRange};
pub use stats::{InboundStats, OutboundStats, PeerStats};
pub use track::InboundTrack;

use crate::terms::{Codec, IceCandidate, IceServer, ParticipantId, SessionDescription};
use connection::{Command, Connection, Inputs, Reply};
use stats::Counts;

/// Commands that may wait; their senders wait for the replies anyway.
const COMMANDS: usize = 16;
/// Notices of the WebRTC engine that may wait: mostly candidates.
const NOTICES: usize = 1024;
/// Sender reports and keyframe requests that may wait.
const FEEDBACK: usize = 256;
/// Capture times that may wait until the next sender report takes them along.
const CAPTURES: usize = 64;

/// What a connection needs to know from the beginning.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// STUN and TURN servers; unusable ones are left out with a warning.
    pub ice_servers: Vec<IceServer>,
    /// Where to send and receive media: one for all connections of a process, or [`Network::on`] certain addresses.
    pub network: Network,
    /// The codecs to offer and accept, most wanted first.
    pub codecs: Vec<Codec>,
    /// Whether this side takes its offer back when both offer at once.
    pub polite: bool,
    /// Whether it may get tracks of ours: who only receives spares every packet the way through what is there for sending.
    pub sends: bool,
}

/// A WebRTC connection to one participant. Dropping it closes it in the background; [`Peer::close`] waits for that.
#[derive(Debug)]
pub struct Peer {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
    cancel: DropGuard,
}

impl Peer {
    /// Opens the sockets of a connection to `id`. It waits for [`Self::call`] or for the other side's offer.
    pub async fn start(
        id: ParticipantId,
        config: PeerConfig,
        events: mpsc::Sender<PeerEvent>,
    ) -> Result<Self, PeerError> {
        let (notice_sender, notices) = mpsc::channel(NOTICES);
        let (feedback_sender, feedback) = mpsc::channel(FEEDBACK);
        let (commands, command_receiver) = mpsc::channel(COMMANDS);
        let (capture_sender, captures) = config.sends.then(|| mpsc::channel(CAPTURES)).unzip();
        let ice_servers = ice::servers(&config.ice_servers);
        let attachment = config.network.attach(ice_servers.iter().any(ice::is_turn));
        let counts = Counts::default();
        let pc =
            engine::build(&config, ice_servers, &attachment, notice_sender.clone(), feedback_sender, captures, &counts);
        let connection = Connection::new(
            (pc.await?, attachment),
            notice_sender,
            capture_sender,
            counts,
            &config.codecs,
            config.polite,
        );
        let inputs = Inputs { commands: command_receiver, notices, feedback };
        let cancel = CancellationToken::new();
        let span = tracing::info_span!("peer", participant = %id);
        let task = tokio::spawn(connection.run(inputs, events, cancel.clone()).instrument(span));
        Ok(Self { commands, task, cancel: cancel.drop_guard() })
    }

    /// Offers to receive audio and video, and to send the tracks added so far. On a connection that exists: offers anew.
    pub async fn call(&self) -> Result<(), PeerError> {
        self.ask(Command::Call).await
    }

    /// Offers to send the tracks added so far, and to receive nothing: what a WHIP endpoint expects (RFC 9725, section 4.2).
    pub async fn push(&self) -> Result<(), PeerError> {
        self.ask(Command::Push).await
    }

    /// Adds a track to send. Before the first call or offer it waits for that; later it is negotiated at once.
    pub async fn add_outbound(&self, codec: Codec) -> Result<OutboundTrack, PeerError> {
        self.ask(|reply| Command::AddOutbound(codec, reply)).await
    }

    /// Takes a description from the other side: an offer at any time, an answer to ours. After an error the
    /// connection is of no more use: close it.
    pub async fn handle_description(&self, description: SessionDescription) -> Result<(), PeerError> {
        self.ask(|reply| Command::Description(description, reply)).await
    }

    /// Takes a candidate from the other side, at any time. An error means a flood of them: close the connection.
    pub async fn handle_candidate(&self, candidate: Option<IceCandidate>) -> Result<(), PeerError> {
        self.ask(|reply| Command::Candidate(candidate, reply)).await
    }

    /// Looks for a new path (RFC 8445, section 2.4); media goes on over the old one while it works.
    pub async fn restart_ice(&self) -> Result<(), PeerError> {
        self.ask(Command::RestartIce).await
    }

    /// What was counted so far; nothing when the connection has ended.
    pub async fn stats(&self) -> PeerStats {
        self.ask(Command::Stats).await.unwrap_or_default()
    }

    /// Closes the connection and waits until its sockets and tasks are gone; tracks end.
    pub async fn close(self) {
        drop(self.cancel);
        // Its task catches panics itself, and nobody aborts it.
        self.task.await.ok();
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, PeerError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_closed| PeerError::Closed)?;
        answer.await.map_err(|_closed| PeerError::Closed)?
    }
}
