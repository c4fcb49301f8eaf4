//! A WHIP endpoint on aiortc, another implementation than ours, that decodes what it is sent.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

use super::ports::free_tcp_port;
use super::process::Running;

const SOON: Duration = Duration::from_secs(30);

/// A running endpoint at `/whip` of its port.
pub(crate) struct AiortcEndpoint {
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
    _running: Running,
    said: Lines<BufReader<ChildStdout>>,
}

/// What it has decoded so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoded {
    pub(crate) frames: u64,
    pub(crate) flashes: u64,
    pub(crate) loud: u64,
    pub(crate) errors: u64,
}

impl AiortcEndpoint {
    /// Starts it; `codecs` are those of pictures that it takes.
    pub(crate) async fn start(token: &str, codecs: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/venv/bin/python");
        assert!(python.exists(), "{} is not installed: run `scripts/setup test`", python.display());
        let port = free_tcp_port();
        let mut command = Command::new(python);
        command.arg(root.join("tests/support/aiortc_whip_server.py")).args([&port.to_string(), token, codecs]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running::start(command, "python3");
        let said = BufReader::new(running.child.stdout.take().expect("stdout is piped")).lines();
        let mut endpoint = Self { base: format!("http://127.0.0.1:{port}"), _running: running, said };
        endpoint.wait_for("listening").await;
        endpoint
    }

    /// Waits until it says this.
    pub(crate) async fn wait_for(&mut self, word: &str) {
        while self.hear().await != word {}
    }

    /// Waits until what it has decoded is enough.
    pub(crate) async fn decoded(&mut self, enough: impl Fn(Decoded) -> bool) -> Decoded {
        loop {
            let line = self.hear().await;
            let numbers: Vec<u64> = line.split(' ').skip(1).filter_map(|number| number.parse().ok()).collect();
            if let [frames, flashes, _, loud, errors] = numbers[..]
                && enough(Decoded { frames, flashes, loud, errors })
            {
                return Decoded { frames, flashes, loud, errors };
            }
        }
    }

    async fn hear(&mut self) -> String {
        let line = timeout(SOON, self.said.next_line()).await.expect("aiortc says something in time");
        line.expect("aiortc writes UTF-8").expect("aiortc goes on; its own words are above")
    }
}
