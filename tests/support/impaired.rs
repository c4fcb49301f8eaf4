//! A bad piece of wire between two networks: loss, bursts, delay, jitter, copies, a narrow link.
//!
//! Made of a namespace in the middle and `impair.py`, which needs no netem of the kernel.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use super::netns::Namespace;
use super::process::Running;

const SOON: Duration = Duration::from_secs(10);

/// Two networks, `10.9.0.1` and `10.9.0.2`, with a bad wire between them.
pub(crate) struct BadWire {
    /// `10.9.0.1`.
    pub(crate) left: Namespace,
    /// `10.9.0.2`.
    pub(crate) right: Namespace,
    _middle: Namespace,
    impair: Running,
    lines: Lines<BufReader<ChildStdout>>,
}

impl BadWire {
    /// Puts up the wire with settings of `impair.py`, for example `loss=5 jitter=20`.
    pub(crate) async fn new(settings: &str) -> Self {
        Self::from(Namespace::new("left").await, settings).await
    }

    /// Puts up the wire with its left end in a network that exists.
    pub(crate) async fn from(left: Namespace, settings: &str) -> Self {
        let [middle, right] = [Namespace::new("mid").await, Namespace::new("right").await];
        let near = left.connect_raw("10.9.0.1/24", &middle).await;
        let far = right.connect_raw("10.9.0.2/24", &middle).await;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/impair.py");
        let mut command = middle.command("/usr/bin/python3");
        command.args([script, &near, &far]).args(settings.split_whitespace());
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut impair = Running::start(command, "python3");
        let stdout = impair.child.stdout.take().expect("stdout is piped");
        let mut wire = Self { left, right, _middle: middle, impair, lines: BufReader::new(stdout).lines() };
        assert_eq!(wire.line().await, "ready");
        wire
    }

    async fn line(&mut self) -> String {
        let line = timeout(SOON, self.lines.next_line()).await.expect("impair.py answers");
        line.expect("it writes UTF-8").expect("it still runs")
    }

    async fn tell(&mut self, words: &str) {
        let stdin = self.impair.child.stdin.as_mut().expect("stdin is piped");
        stdin.write_all(format!("{words}\n").as_bytes()).await.expect("impair.py reads");
    }

    async fn counts(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Changes settings while it runs.
    pub(crate) async fn change(&mut self, settings: &str) {
        self.tell(settings).await;
    }

    /// What it has done to each direction so far: from left to right, and back.
    pub(crate) async fn count(&mut self) -> Value {
        self.tell("count").await;
        self.counts().await
    }

    /// Takes the wire away, and returns what it did to each direction.
    pub(crate) async fn end(mut self) -> Value {
        drop(self.impair.child.stdin.take());
        self.counts().await
    }
}
