//! The task that owns one WebRTC connection: commands and notices in, events out, one at a time.
//!
//! [`super::Peer`] is its handle. Events wait in an outbox of its own, so it goes on while the owner is busy, even while
//! the owner waits for a command's reply. It knows no signaling protocol and no media pipeline.

mod feedback;

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{PeerConnection, RTCPeerConnectionState, StatsSelector};
use webrtc::rtp_transceiver::RtpSender;

use super::candidates::CandidateBuffer;
use super::departures::CaptureTime;
use super::engine::Notice;
use super::keyframe::KeyframeRequester;
use super::negotiation::{Input, Negotiation};
use super::network::Attachment;
use super::outbound::OutboundTrack;
use super::rtcp_tap::Feedback;
use super::simulcast::Simulcasts;
use super::stats::Counts;
use super::track::{InboundTrack, PayloadTypes};
use super::{PeerError, PeerEvent, PeerStats, chat, codecs};
use crate::terms::{Codec, IceCandidate, MediaKind, SessionDescription};

/// Above this, sender reports are dropped and the engine's notices wait: the owner does not keep up.
const OUTBOX: usize = 256;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, PeerError>>;

/// What the handle asks for.
pub(crate) enum Command {
    Call(Reply<()>),
    Push(Reply<()>),
    AddOutbound(Codec, Reply<OutboundTrack>),
    Description(SessionDescription, Reply<()>),
    Candidate(Option<IceCandidate>, Reply<()>),
    RestartIce(Reply<()>),
    Stats(Reply<PeerStats>),
}

/// Where a connection's task hears from.
pub(crate) struct Inputs {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) notices: mpsc::Receiver<Notice>,
    pub(crate) feedback: mpsc::Receiver<Feedback>,
}

/// One connection.
pub(crate) struct Connection {
    pub(super) pc: Arc<dyn PeerConnection>,
    pub(super) attachment: Arc<Attachment>,
    pub(super) negotiation: Negotiation,
    pub(super) candidates: CandidateBuffer,
    pub(super) payload_types: Arc<PayloadTypes>,
    /// What the other side said last: whether each mid sends.
    pub(super) sending: HashMap<String, (MediaKind, bool)>,
    /// The mids that the other side takes no part in.
    pub(super) rejected: HashSet<String>,
    pub(super) outbox: VecDeque<PeerEvent>,
    pub(super) kinds: Vec<MediaKind>,
    /// What we offer and accept.
    pub(super) codecs: Vec<Codec>,
    /// Whether the other side opened DTLS; known once the first negotiation is done.
    pub(super) dtls_server: Option<bool>,
    receiving: Vec<MediaKind>,
    pub(super) outbound: Vec<(OutboundTrack, Arc<dyn RtpSender>)>,
    /// Our tracks' stream id: receivers keep tracks of one stream in step.
    pub(super) stream: String,
    pub(super) connected: bool,
    /// It was told that the other side is to be dropped.
    misused: bool,
    simulcasts: Simulcasts,
    notices: mpsc::Sender<Notice>,
    /// Takes the moments at which what we send was captured; nothing when we do not send.
    pub(super) captures: Option<mpsc::Sender<CaptureTime>>,
    counts: Counts,
    children: JoinSet<()>,
}

impl Connection {
    pub(crate) fn new(
        (pc, attachment): (Arc<dyn PeerConnection>, Arc<Attachment>),
        notices: mpsc::Sender<Notice>,
        captures: Option<mpsc::Sender<CaptureTime>>,
        counts: Counts,
        codecs: &[Codec],
        polite: bool,
    ) -> Self {
        let mut kinds: Vec<_> = codecs.iter().map(|codec| codec.kind()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        Self {
            pc,
            attachment,
            negotiation: Negotiation::new(polite),
            candidates: CandidateBuffer::default(),
            payload_types: Arc::new(PayloadTypes::new()),
            sending: HashMap::new(),
            rejected: HashSet::new(),
            outbox: VecDeque::new(),
            kinds,
            codecs: codecs.to_vec(),
            dtls_server: None,
            receiving: Vec::new(),
            outbound: Vec::new(),
            stream: format!("roomcast-{:08x}", rand::random::<u32>()),
            connected: false,
            misused: false,
            simulcasts: Simulcasts::default(),
            notices,
            captures,
            counts,
            children: JoinSet::new(),
        }
    }

    /// Runs until cancelled or until the owner is gone, then closes the connection and everything that belongs to it.
    pub(crate) async fn run(mut self, inputs: Inputs, events: mpsc::Sender<PeerEvent>, cancel: CancellationToken) {
        // Descriptions and packets of strangers are parsed here: a fault in a parser ends this participant, not the room.
        if AssertUnwindSafe(self.work(inputs, &events, &cancel)).catch_unwind().await.is_err() {
            let reason = "the WebRTC engine failed on what this participant sent; please report it".to_owned();
            events.try_send(PeerEvent::Failed { reason }).ok();
        }
        if let Err(error) = self.pc.close().await {
            debug!(%error, "closing the connection");
        }
        self.attachment.leave();
        self.children.shutdown().await;
    }

    async fn work(&mut self, mut inputs: Inputs, events: &mpsc::Sender<PeerEvent>, cancel: &CancellationToken) {
        loop {
            let keeps_up = self.outbox.len() < OUTBOX;
            tokio::select! {
                () = cancel.cancelled() => return,
                permit = events.reserve(), if !self.outbox.is_empty() => match (permit, self.outbox.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    _ => return,
                },
                command = inputs.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                Some(notice) = inputs.notices.recv(), if keeps_up => self.notice(notice).await,
                Some(feedback) = inputs.feedback.recv() => self.feedback(feedback, keeps_up),
                Some(ended) = self.children.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "a task of the connection failed");
                    }
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        // A reply that nobody waits for any more is no fault.
        match command {
            Command::Call(reply) => drop(reply.send(self.call().await)),
            Command::Push(reply) => drop(reply.send(self.push().await)),
            Command::AddOutbound(codec, reply) => drop(reply.send(self.add_outbound(codec).await)),
            Command::Description(description, reply) => drop(reply.send(self.remote_description(description).await)),
            Command::Candidate(candidate, reply) => drop(reply.send(self.remote_candidate(candidate).await)),
            Command::RestartIce(reply) => {
                drop(reply.send(self.negotiate(Input::Needed { ice_restart: true }, None).await));
            }
            Command::Stats(reply) => {
                let report = self.pc.get_stats(Instant::now(), StatsSelector::None).await;
                drop(reply.send(Ok(PeerStats::read(&report, &self.counts))));
            }
        }
    }

    async fn call(&mut self) -> Result<(), PeerError> {
        for kind in self.kinds.clone() {
            let known = self.receiving.contains(&kind)
                || self.outbound.iter().any(|(track, _)| track.codec().kind() == kind)
                || self.sending.values().any(|(of, _)| *of == kind);
            if known {
                continue;
            }
            let init = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
            self.pc.add_transceiver_from_kind(codecs::rtc_kind(kind), Some(init)).await.map_err(offer_error)?;
            self.receiving.push(kind);
        }
        self.negotiate(Input::Call, None).await
    }

    async fn remote_candidate(&mut self, candidate: Option<IceCandidate>) -> Result<(), PeerError> {
        // The end of candidates changes nothing: checks go on until one succeeds or the time is over.
        let Some(candidate) = candidate.filter(|candidate| !candidate.candidate.is_empty()) else { return Ok(()) };
        if let Some(candidate) = self.candidates.take_or_keep(candidate)? {
            self.apply_candidate(candidate).await;
        }
        Ok(())
    }

    async fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Candidate(mut candidate) => {
                candidate.candidate = self.attachment.candidate(&candidate.candidate);
                self.outbox.push_back(PeerEvent::LocalCandidate(Some(candidate)));
            }
            Notice::GatheringComplete => self.outbox.push_back(PeerEvent::LocalCandidate(None)),
            Notice::State(state) => self.state_changed(state).await,
            Notice::Track(track) => self.open_track(track).await,
            Notice::Opened(track) => {
                self.simulcasts.add(track.layers());
                self.outbox.push_back(PeerEvent::TrackStarted(track));
            }
            Notice::DataChannel(channel) => {
                self.children.spawn(chat::read(channel, self.notices.clone()));
            }
            Notice::Message(text) => self.outbox.push_back(PeerEvent::Message(text)),
        }
    }

    async fn state_changed(&mut self, state: RTCPeerConnectionState) {
        let event = match state {
            RTCPeerConnectionState::Connected => PeerEvent::Connected,
            RTCPeerConnectionState::Disconnected => PeerEvent::Disconnected,
            RTCPeerConnectionState::Failed => {
                let reason = "no path to the participant was found, or the one in use was lost for 15 s".to_owned();
                PeerEvent::Failed { reason }
            }
            RTCPeerConnectionState::Closed => PeerEvent::Failed { reason: "the participant closed it".to_owned() },
            _ => return,
        };
        match event {
            PeerEvent::Connected => self.connected = true,
            PeerEvent::Failed { .. } => self.connected = false,
            _ => {}
        }
        self.refresh_outbound().await;
        self.outbox.push_back(event);
    }

    async fn open_track(&mut self, remote: Arc<dyn TrackRemote>) {
        let Some(mid) = self.mid_of(&*remote).await else {
            warn!("a track without m-line is ignored");
            return;
        };
        let kind = match remote.kind().await {
            rtc::rtp_transceiver::rtp_sender::RtpCodecKind::Audio => MediaKind::Audio,
            rtc::rtp_transceiver::rtp_sender::RtpCodecKind::Video => MediaKind::Video,
            _ => return,
        };
        let keyframes = KeyframeRequester::default();
        self.children.spawn(keyframes.clone().run(Arc::clone(&remote)));
        let (payload_types, notices) = (Arc::clone(&self.payload_types), self.notices.clone());
        self.children.spawn(async move {
            if let Some(track) = InboundTrack::open(remote, kind, mid, payload_types, keyframes).await {
                // Fails only when the connection is over.
                notices.send(Notice::Opened(track)).await.ok();
            }
        });
    }

    async fn mid_of(&self, remote: &dyn TrackRemote) -> Option<String> {
        let id = remote.track_id().await;
        for transceiver in self.pc.get_transceivers().await {
            if let Ok(Some(receiver)) = transceiver.receiver().await
                && receiver.track().track_id().await == id
            {
                return transceiver.mid().await.ok().flatten();
            }
        }
        None
    }
}

pub(super) fn offer_error(cause: rtc::shared::error::Error) -> PeerError {
    PeerError::LocalDescription { kind: crate::terms::SdpType::Offer, cause: cause.to_string() }
}
