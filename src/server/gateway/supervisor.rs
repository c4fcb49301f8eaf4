//! One bridge process: start it, listen to it, start it again after a crash, stop it.
//!
//! A bridge ends when its standard input ends. So it ends too when this process is killed: no orphan stays.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::sync::CancellationToken;

use super::GatewayConfig;
use super::plan::{BridgePlan, LiveFiles};
use super::state::{BridgeState, BridgeStatus};

/// The longest line of a bridge.
const LINE: usize = 256 * 1024;
/// What is left in a dead process's pipes is read for so long.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The longest wait before a bridge that crashes again and again is started again.
const LONGEST: Duration = Duration::from_secs(30);
/// A bridge that has run for so long has earned a quick restart.
const STABLE: Duration = Duration::from_secs(60);
/// The exit code of bad arguments: starting again would change nothing.
const BAD_ARGUMENTS: i32 = 2;

/// What somebody who watches holds on to.
#[derive(Clone, Debug)]
pub struct Viewing {
    files: Arc<LiveFiles>,
    state: watch::Receiver<BridgeState>,
    seen: Arc<watch::Sender<Instant>>,
}

impl Viewing {
    pub(super) fn new(files: LiveFiles, state: watch::Receiver<BridgeState>) -> (Self, watch::Receiver<Instant>) {
        let (seen, seen_out) = watch::channel(Instant::now());
        (Self { files: Arc::new(files), state, seen: Arc::new(seen) }, seen_out)
    }

    /// Says that somebody is watching; a bridge that nobody watches ends.
    pub(crate) fn touch(&self) {
        self.seen.send_replace(Instant::now());
    }

    /// The bridge's state, as it changes.
    pub fn state(&self) -> &watch::Receiver<BridgeState> {
        &self.state
    }

    /// Where the media are.
    pub fn files(&self) -> &Arc<LiveFiles> {
        &self.files
    }

    /// Whether the supervisor is gone, and with it the bridge.
    pub(super) fn has_ended(&self) -> bool {
        self.state.has_changed().is_err()
    }
}

pub(super) struct Supervisor {
    pub(super) plan: BridgePlan,
    pub(super) url: String,
    pub(super) files: Arc<LiveFiles>,
    pub(super) config: GatewayConfig,
    pub(super) state: watch::Sender<BridgeState>,
    pub(super) seen: watch::Receiver<Instant>,
    pub(super) stop: CancellationToken,
}

/// How one process ended.
enum Outcome {
    /// As we wished.
    Stopped,
    /// By itself and content: the room was empty.
    Done,
    /// It makes no sense to try again.
    Hopeless(String),
    Crashed(String),
}

impl Supervisor {
    pub(super) async fn run(mut self) {
        let room = self.plan.room.clone();
        let mut backoff = self.backoff();
        let mut resume = false;
        loop {
            let started = Instant::now();
            let outcome = self.run_once(std::mem::replace(&mut resume, true)).await;
            if started.elapsed() >= STABLE {
                backoff = self.backoff();
            }
            let reason = match outcome {
                Outcome::Stopped => break,
                Outcome::Done if !self.plan.stays => break,
                Outcome::Done => "it ended by itself".to_owned(),
                Outcome::Hopeless(reason) => {
                    tracing::error!(room, reason, "the bridge cannot work");
                    self.state.send_modify(|state| state.status = BridgeStatus::Failed { reason });
                    return self.clean_up();
                }
                Outcome::Crashed(reason) => reason,
            };
            let wait = backoff.next().unwrap_or(self.config.restart);
            tracing::warn!(room, reason, ?wait, "the bridge ended unexpectedly and is started again");
            self.state.send_modify(|state| {
                state.start_over();
                state.restarts += 1;
                state.status = BridgeStatus::Restarting { reason };
            });
            tokio::select! {
                () = sleep(wait) => {}
                () = self.stop.cancelled() => break,
                () = idle(&mut self.seen, &self.config, self.plan.stays || self.plan.records) => break,
            }
        }
        self.state.send_modify(|state| state.status = BridgeStatus::Stopped);
        tracing::info!(room, "the bridge has stopped");
        self.clean_up();
    }

    fn backoff(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.config.restart)
            .with_max_delay(LONGEST)
            .without_max_times()
            .build()
    }

    /// Runs one process to its end.
    async fn run_once(&mut self, resume: bool) -> Outcome {
        let mut child = match self.spawn(resume) {
            Ok(child) => child,
            Err(error) => return Outcome::Crashed(format!("{} cannot be run: {error}", self.config.program.display())),
        };
        tracing::info!(room = self.plan.room, pid = child.id(), "a bridge starts");
        self.state.send_modify(|state| state.process = child.id());
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Outcome::Crashed("it has no pipes".to_owned());
        };
        let mut stdin = Some(stdin);
        let mut events = FramedRead::new(stdout, LinesCodec::new_with_max_length(LINE));
        let mut log = FramedRead::new(stderr, LinesCodec::new_with_max_length(LINE));
        let mut last_line = String::new();
        let mut kill_at = None;
        // Both pipes are read to their end even after the process has gone, but not for ever: a grandchild may hold them.
        let status = loop {
            tokio::select! {
                biased;
                Some(line) = events.next() => {
                    if let Ok(line) = line {
                        self.state.send_modify(|state| state.read(&line));
                    }
                }
                Some(line) = log.next() => {
                    if let Ok(line) = line {
                        pass_on(&self.plan.room, &line).await;
                        last_line = line;
                    }
                }
                status = child.wait() => break status,
                () = self.stop.cancelled(), if stdin.is_some() => {
                    stdin = None;
                    kill_at = Some(Instant::now() + self.config.stop_timeout);
                }
                () = idle(&mut self.seen, &self.config, self.plan.stays || self.plan.records), if stdin.is_some() => {
                    tracing::info!(room = self.plan.room, "nobody watches any more");
                    stdin = None;
                    kill_at = Some(Instant::now() + self.config.stop_timeout);
                }
                () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                    tracing::warn!(room = self.plan.room, "the bridge does not stop in time and is killed");
                    kill_at = None;
                    if let Err(error) = child.start_kill() {
                        tracing::debug!(%error, "the bridge has ended by itself at the last moment");
                    }
                }
            }
        };
        self.state.send_modify(|state| state.process = None);
        let rest = async {
            while let Some(line) = events.next().await {
                if let Ok(line) = line {
                    self.state.send_modify(|state| state.read(&line));
                }
            }
            while let Some(line) = log.next().await {
                if let Ok(line) = line {
                    pass_on(&self.plan.room, &line).await;
                    last_line = line;
                }
            }
        };
        if timeout(LAST_WORDS, rest).await.is_err() {
            tracing::debug!(room = self.plan.room, "somebody else holds the pipes of a bridge that has ended");
        }
        if stdin.is_none() { Outcome::Stopped } else { outcome(status, &last_line) }
    }

    fn spawn(&self, resume: bool) -> std::io::Result<Child> {
        let mut command = Command::new(&self.config.program);
        command.arg("bridge").arg(&self.url);
        for output in &self.plan.outputs {
            command.arg("-o").arg(output);
        }
        command.arg("-o").arg(format!("ts+unix:{}", self.files.ts_socket.display()));
        command.args(["--json", "--control"]);
        if let Some(manifest) = &self.plan.manifest {
            command.arg("--manifest").arg(manifest);
        }
        if resume {
            command.arg("--resume");
        }
        if !self.plan.stays {
            command.arg("--exit-when-empty").arg(self.config.exit_when_empty.as_secs().to_string());
        }
        command
            .args(&self.config.arguments)
            // What ends is killed after a while, and what is watched is no recording.
            .env("ROOMCAST_VERIFY", "never")
            .envs(self.config.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C in the terminal is for us; bridges are told by the end of their input.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Deletes what the bridge has left.
    fn clean_up(self) {
        std::fs::remove_file(&self.files.ts_socket).ok();
        if let Some(directory) = self.plan.directory
            && let Err(error) = directory.close()
        {
            tracing::warn!(%error, room = self.plan.room, "files of a bridge stay behind");
        }
    }
}

fn outcome(status: std::io::Result<ExitStatus>, last_line: &str) -> Outcome {
    match status {
        Ok(status) if status.success() => Outcome::Done,
        Ok(status) => {
            let reason = if last_line.is_empty() { status.to_string() } else { format!("{status}: {last_line}") };
            if status.code() == Some(BAD_ARGUMENTS) { Outcome::Hopeless(reason) } else { Outcome::Crashed(reason) }
        }
        Err(error) => Outcome::Crashed(error.to_string()),
    }
}

/// Ends when nobody has watched for the idle time.
async fn idle(seen: &mut watch::Receiver<Instant>, config: &GatewayConfig, unwatched: bool) {
    if unwatched {
        return std::future::pending().await;
    }
    loop {
        let until = *seen.borrow_and_update() + config.idle;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// A line of a bridge's log goes where ours goes, with its room in front.
async fn pass_on(room: &str, line: &str) {
    let line = format!("[{room}] {line}\n");
    // Nobody is left to tell when stderr itself is gone.
    tokio::io::stderr().write_all(line.as_bytes()).await.ok();
}
