//! GStreamer on the other side: programs that speak its text protocol, written from its specification in Python (a camera
//! behind webrtcbin, and the simple server), and its own sinks of gst-plugin-webrtc.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::process::{Running, piped};

const START_WITHIN: Duration = Duration::from_secs(20);
/// What the scripts import.
const PACKAGES: &str = "python3-gi python3-websockets gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice";
/// Debian's own, which finds Debian's modules.
const PYTHON: &str = "/usr/bin/python3";

/// A camera and a microphone behind webrtcbin, in a room or waiting to be called. Dropping it ends it as a crash would.
pub(crate) struct WebrtcbinPeer(#[expect(dead_code, reason = "runs until it is dropped")] Running);

impl WebrtcbinPeer {
    /// Starts it, and waits until it has registered as `id`.
    pub(crate) async fn start(url: &str, id: &str, room: Option<&str>) -> Self {
        let mut arguments = vec![url, id];
        arguments.extend(room.into_iter().flat_map(|room| ["--room", room]));
        let (running, said) = start("webrtcbin_peer.py", &arguments).await;
        assert_eq!(said, "registered", "{url}");
        Self(running)
    }
}

/// GStreamer's simple server with a certificate that it signed itself.
pub(crate) struct SimpleServer {
    _running: Running,
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
}

impl SimpleServer {
    /// Starts it. Its certificate and key are made in `directory`, in the way of its own script.
    pub(crate) async fn start(directory: &Path) -> Self {
        let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        let mut openssl = piped("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", "-subj", "/CN=example.com"]);
        let made = openssl.args(["-keyout", &key, "-out", &cert]).output().await.expect("apt-get install openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (running, port) = start("simple_server.py", &["--cert", &cert, "--key", &key]).await;
        Self { _running: running, host: format!("127.0.0.1:{port}") }
    }
}

/// Sound and picture that go into an element of gst-plugin-webrtc. Dropping it ends it as a crash would.
pub(crate) struct GstreamerSink(Running);

impl GstreamerSink {
    /// Starts an element, written as in a pipeline text.
    pub(crate) fn start(element: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/webrtcsink/debug/webrtcsink");
        assert!(program.exists(), "{} is not built: run `scripts/setup test`", program.display());
        let mut command = Command::new(program);
        command.arg(format!(
            "{element} name=out \
             videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=15/1 ! out. \
             audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=48000,channels=2 ! out."
        ));
        command.stdin(Stdio::piped());
        Self(Running::start(command, "gstreamer1.0-plugins-bad gstreamer1.0-nice"))
    }

    /// Lets it leave as its own protocol says.
    pub(crate) async fn stop(&mut self) {
        drop(self.0.child.stdin.take());
        let status = self.0.ended(START_WITHIN).await;
        assert!(status.success(), "{status}: its own words are above");
    }
}

/// Starts a script of ours, and waits for the first line that it prints.
async fn start(script: &str, arguments: &[&str]) -> (Running, String) {
    let mut command = piped(PYTHON);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(script)).args(arguments);
    command.stderr(Stdio::inherit());
    let mut running = Running::start(command, "python3");
    let stdout = running.child.stdout.take().expect("stdout is piped");
    let line = timeout(START_WITHIN, BufReader::new(stdout).lines().next_line()).await;
    match line {
        Ok(Ok(Some(line))) => (running, line),
        _ => panic!("{script} did not start: apt-get install {PACKAGES}"),
    }
}
