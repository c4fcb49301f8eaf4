//! `roomcast demo`: a server, a test participant and a bridge of its room, and how to watch it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::{Timestamp, Zoned};
use roomcast::media::layout::Size;
use roomcast::output::free_rtp_ports;
use roomcast::server::{
    BridgePlan, BridgeState, BridgeStatus, GatewayConfig, ListenAddress, ListenError, RtcConfig, Server, ServerConfig,
    rtp_output, serve,
};
use roomcast::signaling::RoomUrl;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use url::Url;

use super::network::PORT_VARIABLES;
use super::parse::size;
use super::serve::room_page;
use super::{Context, Exit, Failure, print_line};

/// Where RTP goes if nobody is there already: the port of RFC 3551's examples, which players and guides use too.
const RTP_PORT: u16 = 5004;
/// How long the test participant may take to leave.
const FAREWELL: Duration = Duration::from_secs(5);
/// What children say when RUST_LOG does not ask for more: the demo's own lines are the story.
const QUIET: &str = "warn,rtc=error,webrtc=error,gstreamer=error";

/// Options of `roomcast demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to listen [default: 127.0.0.1:8080, or a free port when that is taken].
    #[arg(long, env = "ADDR", value_name = "ADDRESS")]
    listen: Option<ListenAddress>,
    /// The room's name.
    #[arg(long, default_value = "demo")]
    room: String,
    /// Where the SDP file, the HLS directory and the recording go.
    #[arg(long, default_value = "roomcast-demo", value_name = "DIRECTORY")]
    dir: PathBuf,
    /// Size of the picture.
    #[arg(long, default_value = "1280x720", value_name = "WIDTHxHEIGHT", value_parser = size)]
    size: Size,
    /// The page's RTCConfiguration as JSON; by default no STUN server as long as we listen on this machine only.
    #[arg(long, env = "RTC_CONFIG_JSON", hide_env_values = true, value_name = "JSON")]
    rtc_config: Option<RtcConfig>,
}

pub(crate) async fn run(options: Options, context: Context) -> Result<Exit, Failure> {
    let dir = directory(&options.dir).map_err(Failure::bad_arguments)?;
    let stop = context.shutdown.token().child_token();
    let server = start_server(&options, stop.clone()).await?;
    let room_url = room_url(&server, &options.room)?;
    let story = Story::new(&server, &room_url, context.json);
    story.listening();

    let recording = dir.join(format!("recording-{}.mkv", Zoned::now().strftime("%Y%m%d-%H%M%S")));
    let (sdp, hls) = (dir.join("call.sdp"), dir.join("www"));
    let outputs = vec![
        rtp_output(free_rtp_ports(RTP_PORT)?, &sdp),
        format!("hls:{}", hls.display()),
        recording.display().to_string(),
    ];
    let gateway = server.gateway().context("the demo's server runs bridges")?;
    let viewing = gateway.keep(BridgePlan::new(room_url.room(), outputs, hls, sdp)).await?;
    let mut participant = start_participant(&room_url, options.size)?;
    // Waiting for a child closes its input, which would end this one: it is held until we end, however we end.
    let alive = participant.stdin.take();

    let ended = tell(story, viewing.state().clone(), &mut participant, &stop).await;
    stop.cancel();
    drop(alive);
    stop_participant(participant).await;
    server.closed().await;
    say_where(&recording, context.json);
    ended
}

/// Tells what happens until the demo is stopped or cannot go on.
async fn tell(
    mut story: Story,
    mut state: tokio::sync::watch::Receiver<BridgeState>,
    participant: &mut Child,
    stop: &tokio_util::sync::CancellationToken,
) -> Result<Exit, Failure> {
    let mut participates = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(Exit::Done),
            changed = state.changed() => {
                let now = state.borrow_and_update().clone();
                story.update(&now);
                if let BridgeStatus::Failed { reason } = now.status {
                    return Err(Failure::new(Exit::BadArguments, anyhow!("the bridge cannot work: {reason}")));
                }
                if changed.is_err() && !stop.is_cancelled() {
                    return Err(anyhow!("the bridge has ended").into());
                }
            }
            status = participant.wait(), if participates => {
                participates = false;
                story.participant_ended(&status?);
            }
        }
    }
}

/// Makes the directory and finds out now whether it can be written to.
fn directory(path: &Path) -> anyhow::Result<PathBuf> {
    let refused = || format!("--dir {}: the directory cannot be written; choose another", path.display());
    std::fs::create_dir_all(path).with_context(refused)?;
    tempfile::tempfile_in(path).with_context(refused)?;
    path.canonicalize().with_context(refused)
}

async fn start_server(options: &Options, stop: tokio_util::sync::CancellationToken) -> Result<Server, Failure> {
    let listen = options.listen.clone().unwrap_or_default();
    let mut bridges = GatewayConfig::of_this_program()?;
    bridges.arguments = vec!["--size".into(), options.size.to_string()];
    bridges.environment = vec![("RUST_LOG".into(), log_filter())];
    let local = match &listen {
        ListenAddress::Tcp { host, .. } => {
            host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        ListenAddress::Unix(_) => false,
    };
    let config = ServerConfig {
        rtc_config: options
            .rtc_config
            .clone()
            .unwrap_or_else(|| if local { RtcConfig::without_servers() } else { RtcConfig::default() }),
        listen,
        bridges: Some(bridges),
        ..ServerConfig::default()
    };
    match serve(config.clone(), stop.clone()).await {
        Err(ListenError::InUse { .. }) if options.listen.is_none() => {
            let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
            serve(ServerConfig { listen, ..config }, stop).await
        }
        started => started,
    }
    .map_err(Failure::bad_arguments)
}

fn log_filter() -> String {
    std::env::var("RUST_LOG").unwrap_or_else(|_| QUIET.to_owned())
}

fn room_url(server: &Server, room: &str) -> Result<RoomUrl, Failure> {
    let mut url = Url::parse(&format!("{}/ws", server.base_url())).context("our own address")?;
    url.query_pairs_mut().append_pair("room", room);
    let url = url.as_str().replacen("http:", "mesh+ws:", 1);
    url.parse().map_err(|error| Failure::bad_arguments(anyhow!("--room: {error}")))
}

/// Starts the test participant: this program too, in a process of its own as a browser would be.
fn start_participant(room: &RoomUrl, size: Size) -> anyhow::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("publish")
        .arg(room.to_string())
        .args(["--size", &size.to_string()])
        // Its end ends the participant: a demo that is killed leaves nobody in a room.
        .arg("--control")
        .env("RUST_LOG", log_filter())
        // A fixed port is the bridge's: two processes cannot have it.
        .env_remove(PORT_VARIABLES[0])
        .env_remove(PORT_VARIABLES[1])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // A Ctrl-C in the terminal is for us, who then end everything in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("the test participant cannot be started")
}

async fn stop_participant(mut participant: Child) {
    let Some(pid) = participant.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) else { return };
    if let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM) {
        tracing::debug!(%error, "the test participant has ended already");
    }
    if timeout(FAREWELL, participant.wait()).await.is_err() {
        tracing::warn!("the test participant does not leave in time and is killed");
        participant.kill().await.ok();
    }
}

fn say_where(recording: &Path, json: bool) {
    let size = recording.metadata().map(|metadata| metadata.len()).unwrap_or(0);
    if json {
        print_line(json!({ "event": "stopped", "time": Timestamp::now(), "recording": recording, "bytes": size }));
    } else if size > 0 {
        print_line(format_args!("recording   {} ({:.1} MB)", recording.display(), size as f64 / 1e6));
    } else {
        print_line("stopped before there was anything to record");
    }
}

/// What the demo says, once each.
struct Story {
    call: String,
    watch: String,
    live_ts: String,
    json: bool,
    told: BTreeSet<String>,
}

impl Story {
    fn new(server: &Server, room: &RoomUrl, json: bool) -> Self {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("room", room.room()).finish();
        let call = format!("{}?{query}", room_page(server, &[]));
        Self {
            call,
            watch: room_page(server, &["watch", room.room()]),
            live_ts: room_page(server, &["rooms", room.room(), "live.ts"]),
            json,
            told: BTreeSet::new(),
        }
    }

    fn listening(&self) {
        if self.json {
            print_line(
                json!({ "event": "listening", "time": Timestamp::now(), "url": self.call, "watch": self.watch }),
            );
        } else {
            print_line(format_args!("call page   {}   (open it to join the picture; Ctrl-C ends the demo)", self.call));
            print_line("starting the test participant and the outputs ...");
        }
    }

    fn participant_ended(&self, status: &ExitStatus) {
        if self.json {
            print_line(
                json!({ "event": "participant_failed", "time": Timestamp::now(), "reason": status.to_string() }),
            );
        } else {
            print_line(format_args!("the test participant has ended ({status}); the room and its outputs go on"));
        }
    }

    fn update(&mut self, state: &BridgeState) {
        for (output, output_state) in &state.outputs {
            if output_state.ready && self.told.insert(output.clone()) {
                self.ready(output, output_state.play.as_ref().unwrap_or(&Value::Null));
            }
            if let Some(error) = &output_state.error
                && self.told.insert(format!("{output} {error}"))
            {
                self.failed(output, error);
            }
        }
    }

    fn ready(&self, output: &str, play: &Value) {
        let live_ts = output.starts_with("ts+unix:").then(|| {
            let url = &self.live_ts;
            let vlc = format!("vlc {url}");
            json!({ "url": url, "ffplay": format!("ffplay {url}"), "vlc": vlc, "vlc_videolan": vlc,
                "gst": format!("gst-play-1.0 {url}") })
        });
        let play = live_ts.as_ref().unwrap_or(play);
        let output = if live_ts.is_some() { self.live_ts.as_str() } else { output };
        if self.json {
            print_line(json!({ "event": "output_ready", "time": Timestamp::now(), "output": output, "play": play }));
            return;
        }
        let text = |key: &str| play[key].as_str().unwrap_or_default();
        let name = match output.split_once(':') {
            Some(("rtp", _)) => "RTP + SDP",
            Some(("hls", _)) => "HLS",
            Some(("http", _)) => "live.ts",
            _ => "recording",
        };
        if name == "HLS" {
            print_line(format_args!("watch page  {}", self.watch));
        }
        print_line(format_args!("{name:<11} {}", if text("url").is_empty() { output } else { text("url") }));
        let players =
            [("ffplay", "ffplay"), ("vlc", "VLC (Debian)"), ("vlc_videolan", "VLC (VideoLAN)"), ("gst", "GStreamer")];
        for (key, player) in players.into_iter().filter(|(key, _)| !text(key).is_empty()) {
            print_line(format_args!("    {player:<15} {}", text(key)));
        }
    }

    fn failed(&self, output: &str, error: &str) {
        if self.json {
            print_line(json!({ "event": "output_failed", "time": Timestamp::now(), "output": output, "error": error }));
        } else {
            print_line(format_args!("failed      {output}: {error}"));
        }
    }
}
