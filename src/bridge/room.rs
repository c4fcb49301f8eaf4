//! The bridge's actor: it owns the seat in the room, the participants, the mix and the outputs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::BridgeError;
use super::config::{BridgeConfig, Checked};
use super::events::{Event, Reason, Record, Summary};
use super::mix::{self, Mix};
use super::participant::{Ending, Message, Participant, Report};
use super::redial::Redial;
use super::state::{OutputPhase, OutputState, Snapshot};
use crate::media::clock::MediaClock;
use crate::media::mixer::MixerInput;
use crate::media::producer::Producer;
use crate::output::{OutputEvent, Outputs, Session as OutputSession};
use crate::peer::{self, PeerConfig};
use crate::signaling::{self, Command, Event as RoomEvent, JoinOptions, OfferRole, Session};
use crate::terms::{Codec, IceServer, MediaKind, ParticipantId};

/// Reports of participants that may wait for the room's task.
const REPORTS: usize = 512;

/// How often a snapshot is made, and how often it is told as an event.
const SNAPSHOT: Duration = Duration::from_secs(1);
const STATS_EVERY: u32 = 5;

/// Chat is shown in the log up to this length.
const CHAT: usize = 200;

/// Joins the room and runs until `stop` is cancelled, the configured end comes, or nothing more can be done.
///
/// Must run on a multi-threaded Tokio runtime. Events that nobody reads in time are waited for: read them.
///
/// # Errors
/// The configuration is refused before anything starts; the room refuses us or cannot be reached; the mixer or an
/// encoder fails. Outputs are finished in every case.
pub async fn run(
    config: BridgeConfig,
    events: mpsc::Sender<Record>,
    snapshots: Option<tokio::sync::watch::Sender<Snapshot>>,
    stop: CancellationToken,
) -> Result<Summary, BridgeError> {
    let checked = config.check()?;
    let clock = MediaClock::start();
    let mix = Mix::start(&config, &checked, &clock).await?;
    let (reports, report_receiver) = mpsc::channel(REPORTS);
    let leave = CancellationToken::new();
    let options = JoinOptions { origin: config.origin.clone(), ..JoinOptions::default() };
    let session = signaling::join(config.room.clone(), options, leave);
    let mut room = Room {
        clock,
        mix,
        session,
        events,
        snapshots,
        reports,
        me: None,
        started: None,
        room_ice_servers: Vec::new(),
        seats: BTreeMap::new(),
        present: HashSet::new(),
        everybody: HashSet::new(),
        redial: Redial::default(),
        copied: None,
        generation: 0,
        tasks: JoinSet::new(),
        outputs: None,
        output_states: BTreeMap::new(),
        frames: (Instant::now(), 0),
        config,
        checked,
    };
    let ended = room.run(report_receiver, &stop).await;
    room.end(ended).await
}

/// A participant with a place in the mix. Ordered by generation: who came first stands first.
#[derive(Debug)]
struct Seat {
    id: ParticipantId,
    participant: Participant,
    inputs: HashMap<MediaKind, MixerInput>,
    /// Its streams as they come, where a WebM can take them.
    copies: HashMap<MediaKind, Producer>,
    picture_flows: bool,
}

struct Room {
    config: BridgeConfig,
    checked: Checked,
    clock: MediaClock,
    mix: Mix,
    session: Session,
    events: mpsc::Sender<Record>,
    snapshots: Option<tokio::sync::watch::Sender<Snapshot>>,
    reports: mpsc::Sender<(ParticipantId, u64, Report)>,
    me: Option<ParticipantId>,
    started: Option<(jiff::Timestamp, Instant)>,
    room_ice_servers: Vec<IceServer>,
    seats: BTreeMap<u64, Seat>,
    /// Who is in the room now.
    present: HashSet<ParticipantId>,
    /// Who ever was.
    everybody: HashSet<ParticipantId>,
    redial: Redial,
    /// Whose streams are passed on as they come: the seat, and how many streams.
    copied: Option<(u64, usize)>,
    generation: u64,
    tasks: JoinSet<()>,
    outputs: Option<(Outputs, mpsc::Receiver<OutputEvent>)>,
    output_states: BTreeMap<String, OutputState>,
    frames: (Instant, u64),
}

/// How the room's task ended.
type Ended = Result<Reason, (Reason, BridgeError)>;

impl Room {
    async fn run(
        &mut self,
        mut reports: mpsc::Receiver<(ParticipantId, u64, Report)>,
        stop: &CancellationToken,
    ) -> Ended {
        let mut tick = tokio::time::interval(SNAPSHOT);
        let mut ticks = 0;
        let mut empty_since = tokio::time::Instant::now();
        loop {
            let alone = self.seats.is_empty();
            if !alone {
                empty_since = tokio::time::Instant::now();
            }
            let duration_over = self.started.and_then(|(_, started)| Some(started + self.config.duration?));
            let empty_over = self.config.exit_when_empty.filter(|_| alone).map(|patience| empty_since + patience);
            tokio::select! {
                () = stop.cancelled() => return Ok(Reason::Asked),
                () = until(duration_over.map(tokio::time::Instant::from_std)) => return Ok(Reason::Duration),
                () = until(empty_over) => return Ok(Reason::Empty),
                fault = self.mix.fault() => return Err((Reason::Failed, fault)),
                event = self.session.events.recv() => match event {
                    Some(event) => self.room_event(event).await,
                    // Why it ended is known when the session is closed.
                    None => return Ok(Reason::RoomLost),
                },
                () = until(self.redial.next()) => self.call_again().await,
                Some((id, generation, report)) = reports.recv() => self.report(&id, generation, report).await,
                Some(event) = next_output_event(&mut self.outputs) => self.output_event(event).await,
                Some(ended) = self.tasks.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a participant's task failed");
                },
                _ = tick.tick() => {
                    ticks += 1;
                    self.snapshot(ticks % STATS_EVERY == 0).await;
                }
            }
        }
    }

    async fn room_event(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::Joined { me, ice_servers } => {
                self.room_ice_servers = ice_servers;
                self.me = Some(me.clone());
                if self.started.is_none() {
                    self.start_outputs();
                }
                self.tell(Event::Joined { room: self.config.room.room().to_owned(), me }).await;
            }
            RoomEvent::PeerJoined { peer, offer } => {
                self.present.insert(peer.clone());
                let call = offer == OfferRole::WeOffer;
                if offer == OfferRole::WeAskThem {
                    self.send(Command::Call { peer: peer.clone() }).await;
                }
                self.admit(&peer).await;
                if call {
                    self.pass(&peer, Message::Call).await;
                }
            }
            RoomEvent::Description { peer, description } => {
                self.admit(&peer).await;
                self.pass(&peer, Message::Description(description)).await;
            }
            // Candidates of a call that is over are on their way for a while.
            RoomEvent::Candidate { peer, candidate } => self.pass(&peer, Message::Candidate(candidate)).await,
            RoomEvent::SessionEnded { peer } => self.dismiss(&peer, "hung up").await,
            RoomEvent::PeerLeft { peer } => {
                self.present.remove(&peer);
                self.redial.forget(&peer);
                self.dismiss(&peer, "left").await;
            }
            RoomEvent::Reconnecting { attempt, retry_in, reason } => {
                let (what, retry_in) = ("the room".to_owned(), retry_in.as_secs_f64());
                self.tell(Event::Reconnecting { what, attempt, retry_in, reason }).await;
            }
        }
    }

    fn start_outputs(&mut self) {
        self.started = Some((jiff::Timestamp::now(), Instant::now()));
        let session = OutputSession {
            room: self.config.room.room().to_owned(),
            fps: self.config.canvas.fps,
            bitrates: (self.config.video_bitrate, self.config.audio_bitrate),
        };
        let (sender, receiver) = mpsc::channel(REPORTS);
        let specs = &self.config.outputs;
        self.output_states = specs.iter().map(|spec| (spec.to_string(), OutputState::default())).collect();
        self.outputs = Some((Outputs::start(specs, &session, &self.clock, &self.mix.streams, &sender), receiver));
    }

    fn seat(&self, id: &ParticipantId) -> Option<(u64, &Seat)> {
        self.seats.iter().find(|(_, seat)| seat.id == *id).map(|(generation, seat)| (*generation, seat))
    }

    /// Gives somebody a seat who has none.
    async fn admit(&mut self, id: &ParticipantId) {
        if self.seat(id).is_some() {
            return;
        }
        self.generation += 1;
        let mut ice_servers = self.config.ice_servers.clone();
        ice_servers.extend(self.room_ice_servers.iter().cloned());
        let ice_addresses = if self.config.ice_addresses.is_empty() {
            peer::ice::local_addresses(self.config.room.is_loopback())
        } else {
            self.config.ice_addresses.clone()
        };
        let polite = self.me.as_ref().is_none_or(|me| signaling::polite(me, id));
        let config = PeerConfig { ice_servers, ice_addresses, codecs: self.checked.codecs.clone(), polite };
        let media = (self.clock.clone(), self.config.jitter_latency);
        let participant =
            Participant::start(id.clone(), self.generation, config, media, self.reports.clone(), &mut self.tasks);
        let seat =
            Seat { id: id.clone(), participant, inputs: HashMap::new(), copies: HashMap::new(), picture_flows: true };
        self.seats.insert(self.generation, seat);
        self.everybody.insert(id.clone());
        self.tell(Event::ParticipantJoined { participant: id.clone() }).await;
    }

    async fn pass(&mut self, id: &ParticipantId, message: Message) {
        let Some((generation, seat)) = self.seat(id) else { return };
        if !seat.participant.tell(message) {
            self.drop_seat(generation, "sent more than its connection could take").await;
        }
    }

    /// Ends a participant's call because of what the room said.
    async fn dismiss(&mut self, id: &ParticipantId, reason: &str) {
        if let Some((generation, _)) = self.seat(id) {
            self.release(generation, reason).await;
        }
    }

    /// Ends a participant's call because of what happened on it.
    async fn drop_seat(&mut self, generation: u64, reason: &str) {
        let Some(id) = self.seats.get(&generation).map(|seat| seat.id.clone()) else { return };
        tracing::warn!(participant = %id, reason, "dropped");
        self.send(Command::Hangup { peer: id }).await;
        self.release(generation, reason).await;
    }

    /// Calls those whose connection was lost and who are still there.
    async fn call_again(&mut self) {
        for id in self.redial.take_due(tokio::time::Instant::now()) {
            if self.present.contains(&id) && self.seat(&id).is_none() {
                self.admit(&id).await;
                self.pass(&id, Message::Call).await;
            }
        }
    }

    /// Frees a seat: out of the mix at once, the connection closes in its own time.
    async fn release(&mut self, generation: u64, reason: &str) {
        let Some(mut seat) = self.seats.remove(&generation) else { return };
        self.mix.detach(seat.inputs.drain().map(|(_, input)| input).collect()).await;
        self.arrange();
        self.choose_copy();
        seat.participant.stop();
        self.tell(Event::ParticipantLeft { participant: seat.id, reason: reason.to_owned() }).await;
    }

    async fn report(&mut self, id: &ParticipantId, generation: u64, report: Report) {
        // What a participant says after its seat was freed is of no more use.
        let Some(seat) = self.seats.get_mut(&generation) else { return };
        match report {
            Report::Description(description) => {
                self.send(Command::Description { peer: id.clone(), description }).await;
            }
            Report::Candidate(candidate) => self.send(Command::Candidate { peer: id.clone(), candidate }).await,
            Report::TrackStarted { kind, codec, ssrc, raw, encoded } => match self.mix.attach(kind, raw).await {
                Ok(input) => {
                    seat.inputs.insert(kind, input);
                    if matches!(codec, Codec::Vp8 | Codec::Opus) {
                        seat.copies.insert(kind, encoded);
                    }
                    self.redial.forget(id);
                    self.arrange();
                    self.choose_copy();
                    let participant = id.clone();
                    self.tell(Event::TrackStarted { participant, kind, codec, ssrc }).await;
                }
                Err(error) => self.drop_seat(generation, &error.to_string()).await,
            },
            Report::TrackFlows { kind, flows } => {
                if kind == MediaKind::Video {
                    seat.picture_flows = flows;
                    self.arrange();
                }
                let participant = id.clone();
                self.tell(if flows {
                    Event::TrackResumed { participant, kind }
                } else {
                    Event::TrackStalled { participant, kind }
                })
                .await;
            }
            Report::Reconnecting { attempt } => {
                let what = id.to_string();
                let reason = "the connection was lost".to_owned();
                self.tell(Event::Reconnecting { what, attempt, retry_in: 0.0, reason }).await;
            }
            Report::Chat(text) => {
                let text: String = text.chars().filter(|character| !character.is_control()).take(CHAT).collect();
                tracing::info!(participant = %id, text, "chat");
            }
            Report::Closed(Ending { reason, lost }) => {
                self.drop_seat(generation, &reason).await;
                if lost && self.present.contains(id) {
                    self.redial.lost(id, tokio::time::Instant::now());
                }
            }
        }
    }

    /// Gives everybody with a picture a place on the canvas.
    fn arrange(&self) {
        let pictures: Vec<_> = self
            .seats
            .values()
            .filter_map(|seat| Some((seat.inputs.get(&MediaKind::Video)?, seat.picture_flows)))
            .collect();
        mix::place(&pictures, &self.config.layout.arrange(self.config.canvas.size, pictures.len()));
    }

    /// Outputs that copy take the first participant who sends VP8, until that one leaves.
    fn choose_copy(&mut self) {
        let source = self.seats.iter().find(|(_, seat)| seat.copies.contains_key(&MediaKind::Video));
        let chosen = source.map(|(generation, seat)| (*generation, seat.copies.len()));
        if chosen != self.copied {
            self.copied = chosen;
            self.mix.copy(source.map_or(&HashMap::new(), |(_, seat)| &seat.copies));
        }
    }

    async fn output_event(&mut self, event: OutputEvent) {
        match event {
            OutputEvent::Ready { output, play } => {
                self.output_states.entry(output.clone()).or_default().state = OutputPhase::Ready;
                self.tell(Event::OutputReady { output, play }).await;
            }
            OutputEvent::Failed { output, error, retry_in } => {
                self.output_states.entry(output.clone()).or_default().state = OutputPhase::Retrying;
                let retry_in = retry_in.map(|pause| pause.as_secs_f64());
                self.tell(Event::OutputFailed { output, error, retry_in }).await;
            }
            OutputEvent::Counted { output, pushed, dropped } => {
                let state = self.output_states.entry(output).or_default();
                (state.pushed, state.dropped) = (pushed, dropped);
            }
        }
    }

    async fn snapshot(&mut self, tell: bool) {
        let Some((_, started)) = self.started else { return };
        let (frames, frames_dropped) = self.mix.frames();
        let (since, before) = std::mem::replace(&mut self.frames, (Instant::now(), frames));
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let fps = frames.saturating_sub(before) as f64 / since.elapsed().as_secs_f64().max(0.001);
        let snapshot = Snapshot {
            uptime: started.elapsed().as_secs_f64(),
            participants: self.seats.values().map(|seat| seat.participant.state()).collect(),
            fps,
            frames_dropped,
            outputs: self.output_states.clone(),
        };
        if tell {
            self.tell(Event::Stats(snapshot.clone())).await;
        }
        if let Some(snapshots) = &self.snapshots {
            snapshots.send_replace(snapshot);
        }
    }

    /// Finishes the outputs while the mix still runs, then lets go of everything else.
    async fn end(mut self, ended: Ended) -> Result<Summary, BridgeError> {
        let mut summary = self.summary();
        if let Some((outputs, mut output_events)) = self.outputs.take() {
            let finishing = tokio::time::timeout(self.config.stop_timeout, outputs.finish());
            tokio::pin!(finishing);
            summary.outputs = loop {
                tokio::select! {
                    finished = &mut finishing => break finished.unwrap_or_else(|_| {
                        tracing::error!("outputs did not end in {:?}", self.config.stop_timeout);
                        Vec::new()
                    }),
                    Some(event) = output_events.recv() => self.output_event(event).await,
                }
            };
        }
        for generation in self.seats.keys().copied().collect::<Vec<_>>() {
            self.release(generation, "the bridge ended").await;
        }
        self.send(Command::Leave).await;
        let Self { session, mut tasks, mix, events, reports, .. } = self;
        drop(reports);
        let room = session.closed().await;
        // Connections close in bounded time by themselves; a stuck one is dropped with the set.
        tokio::time::timeout(Duration::from_secs(3), async { while tasks.join_next().await.is_some() {} }).await.ok();
        mix.stop().await;
        let (reason, error) = match (ended, room) {
            (Err((reason, error)), _) => (reason, Some(error)),
            (Ok(_), Err(error)) => (Reason::RoomLost, Some(error.into())),
            (Ok(reason), Ok(())) => (reason, None),
        };
        // Nobody may be left to hear it.
        events.send(Event::Stopped { reason, summary: summary.clone() }.into()).await.ok();
        error.map_or(Ok(summary), Err)
    }

    fn summary(&self) -> Summary {
        let (frames, frames_dropped) = self.mix.frames();
        Summary {
            room: self.config.room.room().to_owned(),
            started: self.started.map_or_else(jiff::Timestamp::now, |(time, _)| time),
            duration: self.started.map_or(0.0, |(_, started)| started.elapsed().as_secs_f64()),
            participants: self.everybody.len(),
            frames,
            frames_dropped,
            outputs: Vec::new(),
        }
    }

    async fn send(&self, command: Command) {
        // A closed channel means that the session has ended, which its events tell.
        self.session.commands.send(command).await.ok();
    }

    async fn tell(&self, event: Event) {
        // A caller who does not listen does not want to know.
        self.events.send(event.into()).await.ok();
    }
}

async fn until(when: Option<tokio::time::Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn next_output_event(outputs: &mut Option<(Outputs, mpsc::Receiver<OutputEvent>)>) -> Option<OutputEvent> {
    match outputs {
        Some((_, events)) => events.recv().await,
        None => std::future::pending().await,
    }
}
