//! Supervises bridges: one child process of this program per room that somebody watches.
//!
//! One task owns the list of bridges; each bridge has a supervisor of its own ([`supervisor`]) that starts it, reads its
//! events, restarts it after a crash, and ends it when nobody watches. Media from strangers is decoded by C code: when it
//! crashes, one room's watchers reconnect and nothing else notices. No media passes through here.

mod capacity;
mod plan;
mod recorded;
mod state;
mod supervisor;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::capacity::Meter;
use self::recorded::Recorded;

pub use self::capacity::Busy;
pub use plan::{BridgePlan, LiveFiles, rtp_output};
pub use state::{BridgeState, BridgeStatus, LiveMedia, OutputState};
pub use supervisor::Viewing;

use super::listen::reachable;
use super::mesh::rooms::Rooms;
use crate::output::OutputSpec;
use crate::signaling::is_gateway;
use crate::terms::ParticipantId;

/// Requests that wait for the owner of the bridges.
const MAILBOX: usize = 64;

/// How bridges are run.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The program whose `bridge` subcommand is run.
    pub program: PathBuf,
    /// Further arguments of each bridge, like `--size 640x360`.
    pub arguments: Vec<String>,
    /// Further environment of each bridge.
    pub environment: Vec<(String, String)>,
    /// The settings of the HLS output, like `format=ll`.
    pub hls: String,
    /// How many bridges may run at once: each costs an encoder.
    pub most: usize,
    /// How much of this machine's processors, 0 to 1, its bridges may take before no further one is started; `None` is no limit.
    pub cpu_limit: Option<f64>,
    /// How long a bridge goes on without anybody watching.
    pub idle: Duration,
    /// How long a bridge goes on in an empty room.
    pub exit_when_empty: Duration,
    /// How long a request waits for a bridge that starts.
    pub start_wait: Duration,
    /// How long a bridge may take to finish its files before it is killed.
    pub stop_timeout: Duration,
    /// What rooms are recorded to, from the first participant to the last: files with the room's name in their path.
    pub record: Vec<OutputSpec>,
    /// The first wait before a crashed bridge is started again; it doubles up to half a minute.
    pub restart: Duration,
}

impl GatewayConfig {
    /// Runs bridges of this very program.
    ///
    /// # Errors
    /// When the system does not tell where this program is.
    pub fn of_this_program() -> io::Result<Self> {
        Ok(Self::new(std::env::current_exe()?))
    }

    /// Runs bridges of a program.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            hls: String::new(),
            most: 16,
            cpu_limit: Some(0.9),
            idle: Duration::from_secs(60),
            exit_when_empty: Duration::from_secs(10),
            start_wait: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(12),
            record: Vec::new(),
            // A room is without its recording for this long, and for a start.
            restart: Duration::from_millis(100),
        }
    }
}

/// Why there is nothing to watch.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Nobody is there.
    #[error("room \"{0}\" has no members; it can be watched as soon as somebody joins it")]
    EmptyRoom(String),
    /// All places for bridges are taken.
    #[error("{0} rooms are being watched already, which is as many as this server carries; try again later")]
    TooMany(usize),
    /// Those that run take what there is.
    #[error("{0}")]
    TooBusy(Busy),
    /// The bridge has no place for its files or no port.
    #[error("no bridge can be started for room \"{room}\": {source}")]
    Resources {
        /// The room.
        room: String,
        /// What the system says.
        source: io::Error,
    },
    /// We are shutting down.
    #[error("the server is shutting down")]
    Closing,
}

/// The way to the owner of the bridges.
#[derive(Clone, Debug)]
pub struct Gateway {
    requests: mpsc::Sender<Request>,
    start_wait: Duration,
}

#[derive(Debug)]
enum Request {
    Watch { room: String, reply: oneshot::Sender<Result<Viewing, GatewayError>> },
    Keep { plan: BridgePlan, reply: oneshot::Sender<Result<Viewing, GatewayError>> },
    List { reply: oneshot::Sender<Vec<BridgeState>> },
}

impl Gateway {
    /// The gateway, and the task that owns its bridges: it ends, with all of them stopped, after the token is cancelled.
    pub(crate) fn new(
        config: GatewayConfig,
        server: SocketAddr,
        rooms: Rooms,
        cancel: CancellationToken,
    ) -> io::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let directory = plan::private_directory()?;
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let gateway = Self { requests, start_wait: config.start_wait };
        let owner = Owner {
            config,
            server: reachable(server),
            rooms,
            directory,
            bridges: BTreeMap::new(),
            recorded: Recorded::default(),
            meter: Meter::default(),
            supervisors: JoinSet::new(),
            cancel,
        };
        Ok((gateway, owner.run(mailbox)))
    }

    /// Watches a room: starts its bridge if it has none.
    ///
    /// # Errors
    /// When nobody is in the room, or no bridge can be started.
    pub async fn watch(&self, room: &str) -> Result<Viewing, GatewayError> {
        self.ask(|reply| Request::Watch { room: room.to_owned(), reply }).await.unwrap_or(Err(GatewayError::Closing))
    }

    /// Starts a bridge that runs whether somebody watches or not, until the server ends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn keep(&self, plan: BridgePlan) -> Result<Viewing, GatewayError> {
        self.ask(|reply| Request::Keep { plan, reply }).await.unwrap_or(Err(GatewayError::Closing))
    }

    /// All bridges.
    pub async fn list(&self) -> Vec<BridgeState> {
        self.ask(|reply| Request::List { reply }).await.unwrap_or_default()
    }

    /// How long a request waits for a bridge that starts.
    pub(crate) fn start_wait(&self) -> Duration {
        self.start_wait
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}

struct Owner {
    config: GatewayConfig,
    server: SocketAddr,
    rooms: Rooms,
    /// Where bridges write what we serve; gone with us.
    directory: tempfile::TempDir,
    bridges: BTreeMap<String, Viewing>,
    recorded: Recorded,
    /// What they take.
    meter: Meter,
    supervisors: JoinSet<()>,
    cancel: CancellationToken,
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Request>) {
        let mut record = tokio::time::interval(recorded::LOOK);
        record.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(capacity::LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let request = tokio::select! {
                () = self.cancel.cancelled() => break,
                _ = record.tick(), if !self.config.record.is_empty() => {
                    self.record().await;
                    continue;
                }
                Some(ended) = self.supervisors.join_next() => {
                    self.forget(ended);
                    continue;
                }
                _ = look.tick(), if !self.bridges.is_empty() => {
                    self.meter.look(self.bridges.values().filter_map(process));
                    continue;
                }
                request = mailbox.recv() => request,
            };
            // Whoever asked may have gone in the meantime; then nobody needs the answer.
            match request {
                None => break,
                Some(Request::Watch { room, reply }) => {
                    let viewing = self.watch(&room).await;
                    reply.send(viewing).ok();
                }
                Some(Request::Keep { plan, reply }) => {
                    reply.send(self.start(plan)).ok();
                }
                Some(Request::List { reply }) => {
                    let states = self.bridges.values().map(|viewing| viewing.state().borrow().clone());
                    reply.send(states.collect()).ok();
                }
            }
        }
        drop(mailbox);
        self.cancel.cancel();
        while let Some(ended) = self.supervisors.join_next().await {
            self.forget(ended);
        }
        if let Err(error) = self.directory.close() {
            tracing::warn!(%error, "the private directory of bridges stays behind");
        }
    }

    fn forget(&mut self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            tracing::error!(%error, "the supervisor of a bridge ended unexpectedly");
        }
        self.bridges.retain(|_, viewing| !viewing.has_ended());
    }

    async fn watch(&mut self, room: &str) -> Result<Viewing, GatewayError> {
        if let Some(viewing) = self.bridges.get(room).filter(|viewing| !viewing.has_ended()) {
            viewing.touch();
            return Ok(viewing.clone());
        }
        let rooms = self.rooms.list().await;
        let mut members = rooms.into_iter().filter(|info| info.room == room).flat_map(|info| info.members);
        if members.all(|member| is_gateway(&ParticipantId::new(member))) {
            return Err(GatewayError::EmptyRoom(room.to_owned()));
        }
        self.on_demand(room)
    }

    fn on_demand(&mut self, room: &str) -> Result<Viewing, GatewayError> {
        if self.bridges.len() >= self.config.most {
            return Err(GatewayError::TooMany(self.config.most));
        }
        if let Some(limit) = self.config.cpu_limit {
            let load = self.meter.load(self.bridges.values().map(process));
            load.carries_another(limit).map_err(GatewayError::TooBusy)?;
        }
        let plan = BridgePlan::on_demand(room, self.directory.path(), &self.config.hls, &self.config.record)
            .map_err(|source| GatewayError::Resources { room: room.to_owned(), source })?;
        self.start(plan)
    }

    fn start(&mut self, plan: BridgePlan) -> Result<Viewing, GatewayError> {
        let room = plan.room.clone();
        let resources = |source| GatewayError::Resources { room: room.clone(), source };
        let socket = plan::ts_socket(self.directory.path()).map_err(resources)?;
        let url = plan::room_url(self.server, &plan.room).map_err(resources)?;
        let (state_in, state) = watch::channel(BridgeState::new(&plan.room));
        let (viewing, seen) = Viewing::new(plan.files(socket), state);
        let supervisor = supervisor::Supervisor {
            plan,
            url,
            files: viewing.files().clone(),
            config: self.config.clone(),
            state: state_in,
            seen,
            stop: self.cancel.child_token(),
        };
        self.supervisors.spawn(supervisor.run());
        self.bridges.insert(room, viewing.clone());
        Ok(viewing)
    }
}

/// The process of a bridge, while it runs.
fn process(viewing: &Viewing) -> Option<u32> {
    viewing.state().borrow().process
}
