//! The originals that npm and PyPI bring: servers and clients that run beside the tests, libraries for pages in a browser.
//! `scripts/setup test` installs them into `target/npm` and `target/venv`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gst_plugin_webrtc_signalling::handlers::Handler;
use gst_plugin_webrtc_signalling::server::Server;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::process::{Running, piped};
use super::roomcast::probe;

/// A file of an installed package.
fn installed(file: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/npm/node_modules").join(file);
    assert!(path.exists(), "{} is not installed: run `scripts/setup test`", path.display());
    path
}

/// The text of a library, for `BrowserOptions::before_load`.
pub(crate) fn library(file: &str) -> String {
    std::fs::read_to_string(installed(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Asserts that a recording decodes, and that a page of [`super::flash_and_beep_js`] was in it for seconds. Whether each output
/// is without a gap is the matter of other tests.
pub(crate) async fn assert_shows_flash_and_beep(recording: &str) {
    let report = probe(recording, &[]).await;
    assert_eq!(report["problems"], serde_json::json!([]), "{report:#}");
    let streams = report["streams"].as_array().cloned().unwrap_or_default();
    assert_eq!(streams.len(), 2, "{report:#}");
    assert!(streams.iter().all(|stream| stream["decode_errors"] == 0), "{report:#}");
    // Once a second in at least ten seconds; a busy machine loses some.
    assert!(report["skew"]["count"].as_u64().unwrap_or(0) >= 4, "{report:#}");
}

/// The original RTCMultiConnection server. Dropping it kills it, as a crash would.
pub(crate) struct RmcServer {
    running: Running,
    /// It writes a log into the directory it runs in.
    directory: TempDir,
}

impl RmcServer {
    /// Starts it on a port of loopback and returns when it accepts connections.
    pub(crate) async fn start(port: u16) -> Self {
        let directory = TempDir::with_prefix("roomcast-rmc-").expect("a temporary directory");
        let mut command = piped("node");
        command.arg(installed("rtcmulticonnection-server/server.js")).current_dir(directory.path());
        command.env("PORT", port.to_string()).env("IP", "127.0.0.1").stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Running::start(command, "nodejs");
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Self { running, directory };
            }
            if let Ok(Some(status)) = running.child.try_wait() {
                panic!("the RTCMultiConnection server ended at once: {status}");
            }
            // A socket that another process opens has no event of its own.
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the RTCMultiConnection server does not accept connections on port {port}");
    }
}

/// The original server of gst-plugins-rs signalling, in this process. Dropping it closes its port.
pub(crate) struct OriginalGstrsServer {
    _accepting: JoinSet<()>,
}

impl OriginalGstrsServer {
    /// Starts it on a port of loopback.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.unwrap_or_else(|error| panic!("port {port}: {error}"));
        let mut server = Server::spawn(Handler::new);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.accept_async(stream).await.ok();
            }
        });
        Self { _accepting: accepting }
    }
}

/// A WHIP publisher on aiortc. Dropping it ends it as a crash would.
pub(crate) struct AiortcPublisher {
    running: Running,
    said: Lines<BufReader<ChildStdout>>,
}

impl AiortcPublisher {
    /// Starts it, and waits until its media flows.
    pub(crate) async fn start(url: &str, token: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/venv/bin/python");
        assert!(python.exists(), "{} is not installed: run `scripts/setup test`", python.display());
        let mut command = Command::new(python);
        command.arg(root.join("tests/support/aiortc_whip.py")).args([url, token]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(command, "python3");
        let said = BufReader::new(running.child.stdout.take().expect("stdout is piped")).lines();
        let mut publisher = Self { running, said };
        assert_eq!(publisher.hear().await, "connected");
        publisher
    }

    /// Lets it leave as the RFC says, and returns the status that its DELETE got.
    pub(crate) async fn stop(&mut self) -> String {
        drop(self.running.child.stdin.take());
        self.hear().await
    }

    async fn hear(&mut self) -> String {
        let line =
            timeout(Duration::from_secs(30), self.said.next_line()).await.expect("aiortc says something in time");
        line.expect("aiortc writes UTF-8").expect("aiortc goes on; its own words are above")
    }
}
