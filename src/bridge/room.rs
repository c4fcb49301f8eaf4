//! The bridge's actor: it owns the seat in the room, the participants, the mix and the outputs.

mod chronicle;
mod control;
mod disks;
mod ending;
mod hearing;
mod instances;
mod own;
mod seating;
mod telling;
mod verifying;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::control::Control;
use self::disks::Pruning;
use self::instances::{Instances, Own};
use super::BridgeError;
use super::config::BridgeConfig;
use super::disk::Disks;
use super::events::{Event, Reason, Record, Summary};
use super::mix::Mix;
use super::participant::{Message, Needs, Participant, Report};
use super::redial::Redial;
use super::state::{OutputState, Snapshot};
use super::talk::Talk;
use super::verify::{Announced, Verifier};
use crate::media::clock::MediaClock;
use crate::media::mixer::MixerInput;
use crate::media::producer::Producer;
use crate::output::{OutputEvent, Outputs};
use crate::peer::Network;
use crate::session::Chronicle;
use crate::signaling::{self, Command, Event as RoomEvent, JoinOptions, OfferRole, Session};
use crate::terms::{Codec, IceServer, MediaKind, ParticipantId, SdpType};

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
    controls: mpsc::Receiver<Control>,
    stop: CancellationToken,
) -> Result<Summary, BridgeError> {
    let codecs = config.check()?;
    let network = Network::open(&config.network, config.room.is_loopback())?;
    let clock = config.clock.clone().unwrap_or_else(MediaClock::start);
    let mut mix = Mix::new(&config, &clock);
    let mixed = config.outputs.iter().filter(|spec| !spec.is_pattern());
    mix.provide(&mixed.flat_map(|spec| spec.streams()).collect()).await?;
    let (reports, report_receiver) = mpsc::channel(REPORTS);
    let leave = CancellationToken::new();
    let options = JoinOptions { origin: config.origin.clone(), ..JoinOptions::default() };
    let session = signaling::join(config.room.clone(), options, leave);
    let mut room = Room {
        clock,
        mix,
        network,
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
        talk: Talk::default(),
        refused: HashSet::new(),
        disks: Disks::default(),
        pruning: Pruning::default(),
        copied: None,
        instances: Instances::new(&config.outputs),
        chronicle: None,
        verifier: verifying::verifier(&config),
        lost_before: Announced::default(),
        told: Needs::default(),
        generation: 0,
        tasks: JoinSet::new(),
        outputs: None,
        output_states: BTreeMap::new(),
        frames: (Instant::now(), 0),
        config,
        codecs,
    };
    let ended = room.run(report_receiver, controls, &stop).await;
    room.end(ended).await
}

/// A participant with a place in the mix. Ordered by generation: who came first stands first.
#[derive(Debug)]
struct Seat {
    id: ParticipantId,
    participant: Participant,
    inputs: HashMap<MediaKind, MixerInput>,
    /// What it sends, decoded: for the mix.
    raw: HashMap<MediaKind, Producer>,
    /// Its streams as they come.
    copies: HashMap<MediaKind, Producer>,
    picture_flows: bool,
    /// For its own outputs.
    own: Own,
    /// Somebody is there; a seat may also wait for whoever takes our offer.
    taken: bool,
}

struct Room {
    config: BridgeConfig,
    /// Those that this machine can decode, in the order asked for.
    codecs: Vec<Codec>,
    clock: MediaClock,
    mix: Mix,
    network: Network,
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
    /// What members said lately.
    talk: Talk,
    /// Who was not let in.
    refused: HashSet<ParticipantId>,
    disks: Disks,
    pruning: Pruning,
    /// Whose streams are passed on as they come: the seat, and how many streams.
    copied: Option<(u64, usize)>,
    /// The outputs of single participants.
    instances: Instances,
    /// What is told in the manifest, if there is one.
    chronicle: Option<Chronicle>,
    /// Decodes finished recordings.
    verifier: Option<Verifier>,
    /// What was lost before the mix was last looked at.
    lost_before: Announced,
    /// What participants believe that they are needed for.
    told: Needs,
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
        mut controls: mpsc::Receiver<Control>,
        stop: &CancellationToken,
    ) -> Ended {
        let mut tick = tokio::time::interval(SNAPSHOT);
        let mut ticks = 0;
        let mut empty_since = tokio::time::Instant::now();
        loop {
            let alone = !self.seats.values().any(|seat| seat.taken);
            if !alone {
                empty_since = tokio::time::Instant::now();
            }
            let duration_over = self.started.and_then(|(_, started)| Some(started + self.config.duration?));
            let empty_over = self.config.exit_when_empty.filter(|_| alone).map(|patience| empty_since + patience);
            let next_look = self.next_look();
            tokio::select! {
                () = stop.cancelled() => return Ok(Reason::Asked),
                () = until(duration_over.map(tokio::time::Instant::from_std)) => return Ok(Reason::Duration),
                () = until(empty_over) => return Ok(Reason::Empty),
                fault = self.mix.fault() => return Err((Reason::Failed, fault)),
                (generation, fault) = own::own_fault(&mut self.seats) => self.own_mix_failed(generation, fault).await,
                () = until(next_look) => self.look_at_instances().await,
                event = self.session.events.recv() => match event {
                    Some(event) => self.room_event(event).await,
                    // Why it ended is known when the session is closed.
                    None => return Ok(Reason::RoomLost),
                },
                Some(control) = controls.recv() => self.control(control).await,
                () = until(self.redial.next()) => self.call_again().await,
                Some((id, generation, report)) = reports.recv() => self.report(&id, generation, report).await,
                Some(event) = next_output_event(&mut self.outputs) => self.output_event(event).await,
                verified = verifying::next(&mut self.verifier) => self.tell_verdict(verified).await,
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
                    self.start_outputs().await;
                }
                self.tell(Event::Joined { room: self.config.room.room().to_owned(), me }).await;
            }
            RoomEvent::PeerJoined { peer, offer } => {
                // Another bridge has nothing to show; should it call us nevertheless, it is answered.
                if signaling::is_gateway(&peer) {
                    return;
                }
                self.present.insert(peer.clone());
                if !self.welcomes(&peer).await {
                    return;
                }
                let call = matches!(offer, OfferRole::WeOffer | OfferRole::WeOfferAhead);
                if offer == OfferRole::WeAskThem {
                    self.send(Command::Call { peer: peer.clone() }).await;
                }
                let there = offer != OfferRole::WeOfferAhead;
                self.admit(&peer, there).await;
                if call {
                    self.pass(&peer, Message::Call { there }).await;
                }
            }
            RoomEvent::Description { peer, description } => {
                if !self.hears(&peer).await {
                    return;
                }
                // An answer to a call that has ended is of no use; an offer begins a new one.
                if description.kind == SdpType::Offer || self.seat(&peer).is_some() {
                    self.admit(&peer, true).await;
                    self.pass(&peer, Message::Description(description)).await;
                }
            }
            // Candidates of a call that is over are on their way for a while.
            RoomEvent::Candidate { peer, candidate } => {
                if self.hears(&peer).await {
                    self.pass(&peer, Message::Candidate(candidate)).await;
                }
            }
            RoomEvent::SessionEnded { peer } => self.dismiss(&peer, "hung up").await,
            RoomEvent::PeerLeft { peer } => {
                self.present.remove(&peer);
                self.redial.forget(&peer);
                self.refused.remove(&peer);
                self.dismiss(&peer, "left").await;
            }
            RoomEvent::Reconnecting { attempt, retry_in, reason } => {
                let (what, retry_in) = ("the room".to_owned(), retry_in.as_secs_f64());
                self.tell(Event::Reconnecting { what, attempt, retry_in, reason }).await;
            }
        }
    }

    async fn send(&self, command: Command) {
        // A closed channel means that the session has ended, which its events tell.
        self.session.commands.send(command).await.ok();
    }

    async fn tell(&mut self, event: Event) {
        self.note(&event);
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
