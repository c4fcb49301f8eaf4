//! The call itself: what the connection brings goes to the ingest, what the ingest wants goes to the connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::reader::{self, TrackMeter};
use super::super::state::ParticipantState;
use super::reach::{Reach, Step};
use super::{Ending, Message, Needs, Outgoing, Report, Taps};
use crate::media::bus::BusEvent;
use crate::media::ingest::Ingest;
use crate::peer::{InboundTrack, KeyframeRequester, Peer, PeerEvent};
use crate::rtp::{PacketSink, SenderClock};
use crate::session::Loss;
use crate::terms::{MediaKind, Ssrc};

/// Without packets for this long, a track counts as stalled and its picture is hidden.
const STALLED: Duration = Duration::from_secs(2);

/// How often tracks are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How often counters are read.
const COUNT: Duration = Duration::from_secs(1);

/// Sender reports that may wait for the first packet of their stream.
const HELD_REPORTS: usize = 8;

/// Sources of one participant that are kept in mind; only somebody hostile has more.
const KNOWN_SOURCES: usize = 64;

/// A track that has started.
struct Track {
    meter: Arc<TrackMeter>,
    keyframes: KeyframeRequester,
    reader: AbortHandle,
    flows: bool,
    active: bool,
    mid: String,
}

pub(super) struct Call<'a> {
    outgoing: &'a Outgoing,
    pub(super) peer: Peer,
    ingest: &'a mut Ingest,
    keyframe_wanted: Arc<Notify>,
    state: watch::Sender<ParticipantState>,
    tracks: HashMap<MediaKind, Track>,
    kinds: HashMap<Ssrc, MediaKind>,
    held: Vec<(Ssrc, bytes::Bytes)>,
    pub(super) readers: JoinSet<()>,
    sources: [(mpsc::Sender<Ssrc>, mpsc::Receiver<Ssrc>); 2],
    reach: Reach,
    counted: (u64, u64),
    /// That it sends too many packets was told.
    limited: bool,
    taps: Taps,
    ways: reader::Ways,
    /// Relates what its packets were captured at to our time: for those who take them at a tap.
    sender_clock: SenderClock,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        outgoing: &'a Outgoing,
        peer: Peer,
        ingest: &'a mut Ingest,
        keyframe_wanted: Arc<Notify>,
        state: watch::Sender<ParticipantState>,
        (taps, needs): (Taps, Needs),
    ) -> Self {
        ingest.take_bursts(needs.may_wait);
        Self {
            taps,
            ways: reader::Ways::new(needs),
            sender_clock: SenderClock::default(),
            outgoing,
            peer,
            ingest,
            keyframe_wanted,
            state,
            tracks: HashMap::new(),
            kinds: HashMap::new(),
            held: Vec::new(),
            readers: JoinSet::new(),
            sources: [mpsc::channel(16), mpsc::channel(16)],
            reach: Reach::new(outgoing.renegotiates),
            counted: (0, 0),
            limited: false,
        }
    }

    pub(super) async fn run(
        &mut self,
        mut messages: mpsc::Receiver<Message>,
        mut events: mpsc::Receiver<PeerEvent>,
        stop: CancellationToken,
    ) -> Ending {
        let (mut look, mut count) = (tokio::time::interval(LOOK), tokio::time::interval(COUNT));
        loop {
            let [(_, audio_sources), (_, video_sources)] = &mut self.sources;
            let outcome = tokio::select! {
                () = stop.cancelled() => return Ending::final_for("left"),
                Some(message) = messages.recv() => self.take(message).await,
                Some(event) = events.recv() => self.hear(event).await,
                Some(ssrc) = audio_sources.recv() => { self.learn(ssrc, MediaKind::Audio); Ok(()) }
                Some(ssrc) = video_sources.recv() => { self.learn(ssrc, MediaKind::Video); Ok(()) }
                () = self.keyframe_wanted.notified() => { self.request_keyframe(); Ok(()) }
                Some(event) = self.ingest.next_event() => match event {
                    BusEvent::Error(fault) => Err(Ending::final_for(format!("its media cannot be decoded: {fault}"))),
                    BusEvent::Warning(fault) => { tracing::debug!(%fault); Ok(()) }
                    BusEvent::Eos => Ok(()),
                },
                Some(ended) = self.readers.join_next() => {
                    if let Err(error) = ended && error.is_panic() { tracing::error!(%error, "a track's reader failed"); }
                    Ok(())
                }
                _ = look.tick() => self.look().await,
                _ = count.tick() => { self.count().await; Ok(()) }
            };
            if let Err(ending) = outcome {
                return ending;
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), Ending> {
        match message {
            Message::Call { there } => {
                if there {
                    self.reach.expect(Instant::now());
                }
                self.peer.call().await
            }
            Message::Description(description) => {
                self.reach.expect(Instant::now());
                self.peer.handle_description(description).await
            }
            Message::Candidate(candidate) => self.peer.handle_candidate(candidate).await,
            Message::Need(needs) => {
                self.ways.set(needs);
                self.ingest.decode(needs.decode);
                self.ingest.take_bursts(needs.may_wait);
                self.request_keyframe();
                return Ok(());
            }
        }
        .map_err(Ending::final_for)
    }

    async fn hear(&mut self, event: PeerEvent) -> Result<(), Ending> {
        match event {
            PeerEvent::LocalDescription(description) => self.outgoing.send(Report::Description(description)).await,
            PeerEvent::LocalCandidate(candidate) => self.outgoing.send(Report::Candidate(candidate)).await,
            PeerEvent::Connected => {
                self.reach.connected();
                self.state.send_modify(|state| state.connected = true);
                self.request_keyframe();
            }
            PeerEvent::Disconnected => {
                self.reach.lost(Instant::now());
                self.state.send_modify(|state| state.connected = false);
            }
            PeerEvent::Failed { reason } => return Err(Ending { reason, lost: true }),
            PeerEvent::Misused { reason } => return Err(Ending::final_for(reason)),
            PeerEvent::TrackStarted(track) => self.start(track).await,
            PeerEvent::TrackActive { mid, kind, active } => {
                if let Some(track) = self.tracks.get_mut(&kind).filter(|track| track.mid == mid) {
                    track.active = active;
                }
            }
            PeerEvent::SenderReport { ssrc, compound } => self.report(ssrc, compound),
            PeerEvent::Message(text) => self.outgoing.send(Report::Chat(text)).await,
        }
        Ok(())
    }

    /// A track began: the newest of its kind is the one that is shown.
    async fn start(&mut self, track: InboundTrack) {
        let (kind, codec, ssrc, mid) = (track.kind, track.codec, track.ssrc, track.mid.clone());
        let keyframes = track.keyframe_requester();
        let meter = TrackMeter::new();
        let [audio, video] = &self.sources;
        let sources = if kind == MediaKind::Audio { &audio.0 } else { &video.0 };
        let ends = reader::Ends {
            tap: Arc::clone(self.taps.of(kind)),
            input: self.ingest.input(kind),
            way: self.ways.of(kind),
            meter: Arc::clone(&meter),
            sources: sources.clone(),
        };
        let reader = self.readers.spawn(reader::read(track, ends));
        let track = Track { meter, keyframes: keyframes.clone(), reader, flows: true, active: true, mid };
        let replaced = self.tracks.insert(kind, track);
        self.learn(ssrc, kind);
        if kind == MediaKind::Video {
            keyframes.request();
            self.state.send_modify(|state| state.video = Some(codec));
        }
        match replaced {
            Some(old) => {
                old.reader.abort();
                if !old.flows {
                    self.outgoing.send(Report::TrackFlows { kind, flows: true }).await;
                }
            }
            None => {
                let (raw, encoded) = (self.ingest.raw(kind).clone(), self.ingest.encoded(kind).clone());
                self.outgoing.send(Report::TrackStarted { kind, codec, ssrc, raw, encoded }).await;
            }
        }
    }

    fn learn(&mut self, ssrc: Ssrc, kind: MediaKind) {
        if self.kinds.len() == KNOWN_SOURCES {
            self.kinds.clear();
        }
        self.kinds.insert(ssrc, kind);
        let (ours, held) = std::mem::take(&mut self.held).into_iter().partition(|(held, _)| *held == ssrc);
        self.held = held;
        for (_, compound) in ours {
            self.ingest.input(kind).push_rtcp(&compound);
        }
    }

    /// A sender report goes to the session of its stream, or waits for the stream's first packet.
    fn report(&mut self, ssrc: Ssrc, compound: bytes::Bytes) {
        if let Some(capture) = self.sender_clock.read(&compound, Instant::now().into_std()) {
            // Whoever takes the packets knows whether the source is among them.
            for kind in [MediaKind::Audio, MediaKind::Video] {
                self.taps.of(kind).report(&capture);
            }
        }
        match self.kinds.get(&ssrc) {
            Some(kind) => self.ingest.input(*kind).push_rtcp(&compound),
            None => {
                if self.held.len() == HELD_REPORTS {
                    self.held.remove(0);
                }
                self.held.push((ssrc, compound));
            }
        }
    }

    fn request_keyframe(&self) {
        if let Some(track) = self.tracks.get(&MediaKind::Video) {
            track.keyframes.request();
        }
    }

    /// Notices tracks that stall or go on, and a connection that does not come back by itself.
    async fn look(&mut self) -> Result<(), Ending> {
        let mut changes = Vec::new();
        for (kind, track) in &mut self.tracks {
            let flows = track.active && track.meter.silence() < STALLED;
            if flows != track.flows {
                track.flows = flows;
                changes.push((*kind, flows));
            }
        }
        for (kind, flows) in changes {
            if flows && kind == MediaKind::Video {
                self.request_keyframe();
            }
            self.outgoing.send(Report::TrackFlows { kind, flows }).await;
        }
        match self.reach.look(Instant::now()) {
            Step::Wait => Ok(()),
            Step::Restart { attempt } => {
                self.outgoing.send(Report::Reconnecting { attempt }).await;
                self.peer.restart_ice().await.map_err(Ending::final_for)
            }
            Step::GiveUp => Err(Ending { reason: "cannot be reached".to_owned(), lost: true }),
        }
    }

    async fn count(&mut self) {
        let stats = self.peer.stats().await;
        if stats.refused > 0 && !std::mem::replace(&mut self.limited, true) {
            self.outgoing.send(Report::Limited).await;
        }
        let (frames, bytes) =
            (self.ingest.frames(), self.tracks.values().map(|track| track.meter.bytes()).sum::<u64>());
        let (old_frames, old_bytes) = std::mem::replace(&mut self.counted, (frames, bytes));
        let received: u64 = stats.inbound.iter().map(|stream| stream.packets_received).sum();
        let lost: i64 = stats.inbound.iter().map(|stream| stream.packets_lost.max(0)).sum();
        let mut packets = BTreeMap::<MediaKind, Loss>::new();
        for stream in &stats.inbound {
            if let Some(kind) = self.kinds.get(&stream.ssrc) {
                let count = packets.entry(*kind).or_default();
                count.received += stream.packets_received;
                count.lost += u64::try_from(stream.packets_lost).unwrap_or(0);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        self.state.send_modify(|state| {
            state.fps = frames.saturating_sub(old_frames) as f64 / COUNT.as_secs_f64();
            state.bitrate = bytes.saturating_sub(old_bytes) as f64 * 8.0 / COUNT.as_secs_f64();
            state.loss = if received == 0 { 0.0 } else { lost as f64 / (received as f64 + lost as f64) };
            state.rebuilt = stats.rebuilt;
            state.packets = packets;
            state.refused = stats.refused;
            state.rtt = stats.rtt.map(|rtt| rtt.as_secs_f64());
        });
    }
}
