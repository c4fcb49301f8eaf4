//! The roomcast binary under test: its JSON events, its signals, its end.

use std::collections::HashMap;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::ports::free_tcp_port;
use super::process::Running;

/// A running roomcast. Dropping it kills it and the bridges it started.
pub(crate) struct Roomcast {
    running: Running,
    events: watch::Receiver<Vec<Value>>,
    log: Arc<Mutex<Vec<String>>>,
    seen: HashMap<String, usize>,
}

impl Roomcast {
    /// Starts `roomcast ARGS --json`.
    pub(crate) fn start<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_roomcast")), args)
    }

    /// Starts `roomcast ARGS --json` by a command that runs it elsewhere.
    pub(crate) fn start_as<A: AsRef<std::ffi::OsStr>>(mut command: Command, args: impl IntoIterator<Item = A>) -> Self {
        command.args(args).arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(command, "roomcast");
        let stdout = running.child.stdout.take().expect("stdout is piped");
        let stderr = running.child.stderr.take().expect("stderr is piped");
        let (sender, events) = watch::channel(Vec::new());
        tokio::spawn(read_lines(stdout, move |line| {
            // A line that is not JSON breaks the contract of --json: keep it where a test will trip over it.
            let event = serde_json::from_str(&line)
                .unwrap_or_else(|_| serde_json::json!({ "event": "not_json", "line": line }));
            sender.send_modify(|events| events.push(event));
        }));
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&log);
        tokio::spawn(read_lines(stderr, move |line| sink.lock().unwrap_or_else(PoisonError::into_inner).push(line)));
        Self { running, events, log, seen: HashMap::new() }
    }

    /// Starts `roomcast serve` on a free port of loopback; returns it and its base URL once it accepts connections.
    pub(crate) async fn serve(args: &[&str]) -> (Self, String) {
        let port = free_tcp_port();
        (Self::serve_on(port, args).await, format!("http://127.0.0.1:{port}"))
    }

    /// Starts `roomcast serve` on a certain port, for a server that comes back.
    pub(crate) async fn serve_on(port: u16, args: &[&str]) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let mut server = Self::start(["serve", "--listen", &listen].iter().chain(args));
        for _ in 0..500 {
            if TcpStream::connect(&listen).await.is_ok() {
                return server;
            }
            if let Ok(Some(status)) = server.running.child.try_wait() {
                panic!("roomcast serve ended at once: {status}\n{}", server.log());
            }
            // A socket that another process opens has no event of its own.
            sleep(Duration::from_millis(20)).await;
        }
        panic!("roomcast serve does not accept connections on {listen}\n{}", server.log());
    }

    /// The next event of this name that no earlier call returned.
    pub(crate) async fn wait_event(&mut self, name: &str, within: Duration) -> Value {
        let from = self.seen.get(name).copied().unwrap_or(0);
        let mut events = self.events.clone();
        let position =
            |events: &[Value]| events.iter().skip(from).position(|event| event["event"] == name).map(|at| at + from);
        let found = timeout(within, events.wait_for(|events| position(events).is_some())).await;
        let found = match found {
            Ok(Ok(events)) => position(&events).map(|at| (at, events[at].clone())),
            _ => None,
        };
        let Some((at, event)) = found else {
            panic!("no event {name:?} within {within:?}; events: {:#?}\nlog:\n{}", self.events(), self.log());
        };
        self.seen.insert(name.to_owned(), at + 1);
        event
    }

    /// Waits until a participant's sound and picture have begun.
    pub(crate) async fn wait_sound_and_picture(&mut self, within: Duration) {
        for _ in 0..2 {
            self.wait_event("track_started", within).await;
        }
    }

    /// Waits until the first participant's pictures have been decoded for another five seconds.
    pub(crate) async fn wait_pictures(&mut self, within: Duration) {
        while self.wait_event("stats", within).await["participants"][0]["fps"].as_f64() <= Some(0.0) {}
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.events.borrow().clone()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Its process id, for `/proc`.
    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }

    /// Its standard input: closing it stops a bridge that was started with `--control`.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.running.child.stdin.take()
    }

    /// Writes a command for a bridge that was started with `--control`.
    pub(crate) async fn command(&mut self, command: Value) {
        let stdin = self.running.child.stdin.as_mut().expect("stdin was not taken");
        stdin.write_all(format!("{command}\n").as_bytes()).await.expect("it reads its stdin");
    }

    /// Asks it to stop (SIGTERM) and waits for the end.
    pub(crate) async fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.running.signal(Signal::TERM);
        self.ended(within).await
    }

    /// Kills it without warning (SIGKILL) and waits for the end.
    pub(crate) async fn kill(&mut self) -> ExitStatus {
        self.running.signal(Signal::KILL);
        self.ended(Duration::from_secs(5)).await
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let status = self.running.ended(within).await;
        // Its last events may still be in the pipe.
        let mut events = self.events.clone();
        timeout(Duration::from_secs(2), async { while events.changed().await.is_ok() {} }).await.ok();
        if !status.success() {
            // Whoever expected success shows the log.
            let faults: Vec<_> = self.events().into_iter().map(|event| event["faults"].clone()).collect();
            let faults: Vec<_> = faults.iter().filter_map(Value::as_array).flatten().map(Value::to_string).collect();
            let line = format!("({status}; faults of recordings: [{}])", faults.join(", "));
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        status
    }
}

async fn read_lines(stream: impl AsyncRead + Unpin, mut each: impl FnMut(String)) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        each(line);
    }
}

/// What `roomcast probe SOURCE ARGS` reports.
pub(crate) async fn probe(source: &str, args: &[&str]) -> Value {
    let mut command = super::process::piped(env!("CARGO_BIN_EXE_roomcast"));
    let output = command.arg("probe").arg(source).args(args).arg("--json").output().await.expect("roomcast runs");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("probe {source}: {error}\n{}", String::from_utf8_lossy(&output.stderr)))
}
