//! One participant: its connection, its ingest, and the readers between them. One task owns all three.

mod call;
mod reach;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::call::Call;
use super::state::ParticipantState;
use crate::media::clock::MediaClock;
use crate::media::ingest::{Decoding, Ingest, IngestSettings};
use crate::media::producer::Producer;
use crate::peer::{Peer, PeerConfig};
use crate::rtp::Tap;
use crate::terms::{Codec, IceCandidate, MediaKind, ParticipantId, SessionDescription, Ssrc};

/// Descriptions and candidates that may wait; a participant who sends more is too fast for its own connection.
const MAILBOX: usize = 512;

/// What the room's task tells a participant.
#[derive(Debug)]
pub(crate) enum Message {
    /// Offer to receive; `there` is false when nobody may have come yet.
    Call { there: bool },
    /// From the other side.
    Description(SessionDescription),
    /// From the other side.
    Candidate(Option<IceCandidate>),
    /// What its media is needed for from now on.
    Need(Needs),
}

/// What a participant's media is needed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The mix.
    pub(crate) decode: Decoding,
    /// Whatever takes access units: the mix, and outputs that copy into containers.
    pub(crate) unpack: Decoding,
    /// Of what is unpacked, what nobody needs at once.
    pub(crate) may_wait: Decoding,
}

/// Where a participant's packets can be taken as they come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taps {
    audio: Arc<Tap>,
    video: Arc<Tap>,
}

impl Taps {
    pub(crate) fn of(&self, kind: MediaKind) -> &Arc<Tap> {
        match kind {
            MediaKind::Audio => &self.audio,
            MediaKind::Video => &self.video,
        }
    }
}

/// What a participant tells the room's task.
#[derive(Debug)]
pub(crate) enum Report {
    /// To be sent to the other side.
    Description(SessionDescription),
    /// To be sent to the other side.
    Candidate(Option<IceCandidate>),
    /// The first packet of a track came: its media flows from here on.
    TrackStarted { kind: MediaKind, codec: Codec, ssrc: Ssrc, raw: Producer, encoded: Producer },
    /// A track sends nothing, or goes on.
    TrackFlows { kind: MediaKind, flows: bool },
    /// A path is being looked for again.
    Reconnecting { attempt: u32 },
    /// It has sent more packets a second than are taken.
    Limited,
    /// Chat.
    Chat(String),
    /// It is over; nothing follows.
    Closed(Ending),
}

/// Why a participant's call is over.
#[derive(Debug)]
pub(crate) struct Ending {
    /// For people.
    pub(crate) reason: String,
    /// Whether a new connection may do better: this one was lost, not misused.
    pub(crate) lost: bool,
}

impl Ending {
    fn final_for(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), lost: false }
    }
}

/// The room's handle of a participant.
#[derive(Debug)]
pub(crate) struct Participant {
    mailbox: mpsc::Sender<Message>,
    stop: CancellationToken,
    state: watch::Receiver<ParticipantState>,
    taps: Taps,
}

impl Participant {
    /// Starts the participant's task in `tasks`. Its reports carry its id and generation: a participant who comes back
    /// under the same id is somebody new. Where the room cannot renegotiate, a lost connection is not repaired.
    pub(crate) fn start(
        id: ParticipantId,
        generation: u64,
        config: PeerConfig,
        media: (MediaClock, IngestSettings, Needs),
        renegotiates: bool,
        reports: mpsc::Sender<(ParticipantId, u64, Report)>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let (state_sender, state) = watch::channel(ParticipantState {
            participant: id.clone(),
            connected: false,
            video: None,
            fps: 0.0,
            bitrate: 0.0,
            loss: 0.0,
            rebuilt: 0,
            packets: BTreeMap::new(),
            rtt: None,
            refused: 0,
        });
        let stop = CancellationToken::new();
        let span = tracing::info_span!("participant", %id);
        let outgoing = Outgoing { id, generation, renegotiates, reports };
        let (stopped, taps) = (stop.clone(), Taps::default());
        let tapped = taps.clone();
        let run = async move {
            let run = run(&outgoing, config, media, tapped, messages, state_sender, stopped);
            // Whatever goes wrong with one participant: the seat is freed and the room goes on.
            let ending = AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
                Ending::final_for("a fault of ours while it was served: the log has it, please report it")
            });
            outgoing.send(Report::Closed(ending)).await;
        };
        tasks.spawn(run.instrument(span));
        Self { mailbox, stop, state, taps }
    }

    /// Passes a message on. False when the participant floods us or is already gone: it should be dropped.
    pub(crate) fn tell(&self, message: Message) -> bool {
        self.mailbox.try_send(message).is_ok()
    }

    /// Where its packets can be taken.
    pub(crate) fn taps(&self) -> &Taps {
        &self.taps
    }

    /// How it is doing.
    pub(crate) fn state(&self) -> ParticipantState {
        self.state.borrow().clone()
    }

    /// Ends it; its `Closed` follows.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

struct Outgoing {
    id: ParticipantId,
    generation: u64,
    renegotiates: bool,
    reports: mpsc::Sender<(ParticipantId, u64, Report)>,
}

impl Outgoing {
    async fn send(&self, report: Report) {
        // The room reads reports until every participant has closed.
        self.reports.send((self.id.clone(), self.generation, report)).await.ok();
    }
}

/// Runs until the participant is stopped or fails, and returns why.
async fn run(
    outgoing: &Outgoing,
    config: PeerConfig,
    (clock, settings, needs): (MediaClock, IngestSettings, Needs),
    taps: Taps,
    messages: mpsc::Receiver<Message>,
    state: watch::Sender<ParticipantState>,
    stop: CancellationToken,
) -> Ending {
    let keyframe_wanted = Arc::new(Notify::new());
    let mut ingest = match Ingest::new(outgoing.id.as_str(), &clock, settings, Arc::clone(&keyframe_wanted)) {
        Ok(ingest) => ingest,
        Err(error) => return Ending::final_for(error),
    };
    let (events_sender, events) = mpsc::channel(MAILBOX);
    let ending = match ingest.play().await {
        Err(error) => Ending::final_for(error),
        Ok(()) => match Peer::start(outgoing.id.clone(), config, events_sender).await {
            Err(error) => Ending::final_for(error),
            Ok(peer) => {
                let mut call = Call::new(outgoing, peer, &mut ingest, keyframe_wanted, state, (taps, needs));
                let ending = call.run(messages, events, stop).await;
                // What they hold is still unpacked while the connection closes.
                call.readers.shutdown().await;
                call.peer.close().await;
                ending
            }
        },
    };
    ingest.stop().await;
    ending
}
