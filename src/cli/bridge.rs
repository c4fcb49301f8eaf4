//! `roomcast bridge`: join one room, run its outputs until the end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use roomcast::bridge::{self, BridgeConfig, BridgeError, Event, Record, Snapshot, Summary};
use roomcast::media::encoder::EncoderChoice;
use roomcast::media::layout::{Layout, Size};
use roomcast::media::mixer::Canvas;
use roomcast::output::{OutputSpec, OutputSummary};
use roomcast::signaling::RoomUrl;
use roomcast::terms::{Codec, IceServer};
use tokio::io::AsyncBufReadExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::status::Status;
use super::{Context, Exit, Failure, print_line};

/// Events that wait for stdout; a reader that stops reading holds the bridge back no longer than this many events.
const EVENTS: usize = 256;

/// Options of `roomcast bridge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roomcast bridge 'mesh+ws://127.0.0.1:8080/ws?room=demo' -o 'rtp://127.0.0.1:5004?sdp=call.sdp' -o hls:www -o call.mkv
  roomcast bridge 'mesh+wss://calls.example.org/ws?room=weekly' -o weekly.mp4 --exit-when-empty 60")]
pub(crate) struct Options {
    /// The room: mesh+ws://HOST:PORT/ws?room=ROOM, mesh+wss://…
    room_url: String,
    /// Where the mix goes: rtp://HOST:PORT?sdp=FILE, hls:DIR, or a file (.mkv, .mp4, .webm); may be repeated.
    #[arg(short, long = "output", value_name = "URL", required = true)]
    outputs: Vec<String>,
    /// Size of the picture.
    #[arg(long, default_value = "1280x720", value_parser = parse_size)]
    size: Size,
    /// Pictures per second.
    #[arg(long, default_value_t = 30)]
    fps: i32,
    /// Video bits per second; k and M are understood.
    #[arg(long, default_value = "2M", value_parser = parse_bitrate)]
    video_bitrate: u32,
    /// Sound bits per second.
    #[arg(long, default_value = "128k", value_parser = parse_bitrate)]
    audio_bitrate: u32,
    /// H.264 encoder: auto takes the first that works on this machine.
    #[arg(long, default_value = "auto")]
    encoder: EncoderChoice,
    /// Speed against quality, in x264's words.
    #[arg(long, default_value = "superfast", value_parser = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"])]
    preset: String,
    /// Seconds from one keyframe to the next.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    gop: f64,
    /// How participants share the picture.
    #[arg(long, value_enum, default_value_t = LayoutName::Grid)]
    layout: LayoutName,
    /// Codecs to offer, most wanted first.
    #[arg(long, value_delimiter = ',', default_value = "vp8,h264,vp9,av1,opus", value_parser = parse_codec)]
    codecs: Vec<Codec>,
    /// How long a lost packet may take to arrive again.
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=5000))]
    jitter_latency: u64,
    /// End after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    duration: Option<Duration>,
    /// End when nobody else was in the room for this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    exit_when_empty: Option<Duration>,
    /// Seconds that outputs may take to write their end.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = parse_seconds)]
    stop_timeout: Duration,
    /// Our name in the room; by default one that is recognised as a bridge.
    #[arg(long)]
    name: Option<String>,
    /// A STUN or TURN server besides those of the room: stun:HOST or turn:USER:PASSWORD@HOST; may be repeated.
    #[arg(long = "ice-server", value_name = "URL", value_parser = parse_ice_server)]
    ice_servers: Vec<IceServer>,
    /// A local address for media; by default those of the real network interfaces. May be repeated.
    #[arg(long = "bind", value_name = "ADDRESS", env = "ROOMCAST_BIND", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// Write what the run was like to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Read commands from stdin, one JSON object per line ({"command":"stop"}); its end stops the bridge.
    #[arg(long, hide = true)]
    control: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LayoutName {
    /// All alike; one participant fills the picture.
    Grid,
    /// The first participant large.
    Speaker,
    /// Only the first participant.
    Single,
}

impl Options {
    fn config(&self) -> Result<BridgeConfig, Failure> {
        let mut room_url = self.room_url.clone();
        if let Some(name) = &self.name {
            let separator = if room_url.contains('?') { '&' } else { '?' };
            let id: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
            room_url = format!("{room_url}{separator}id={id}");
        }
        let room: RoomUrl = room_url.parse().map_err(Failure::bad_arguments)?;
        let outputs = self
            .outputs
            .iter()
            .map(|output| output.parse::<OutputSpec>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::bad_arguments)?;
        let mut codecs = self.codecs.clone();
        if !codecs.contains(&Codec::Opus) {
            // Browsers send no other sound that we take: a list of video codecs means their order alone.
            codecs.push(Codec::Opus);
        }
        Ok(BridgeConfig {
            canvas: Canvas { size: self.size, fps: self.fps },
            layout: match self.layout {
                LayoutName::Grid => Layout::Grid,
                LayoutName::Speaker => Layout::Speaker,
                LayoutName::Single => Layout::Single,
            },
            encoder: self.encoder,
            video_bitrate: self.video_bitrate,
            audio_bitrate: self.audio_bitrate,
            preset: self.preset.clone(),
            gop: self.gop,
            codecs,
            jitter_latency: Duration::from_millis(self.jitter_latency),
            duration: self.duration,
            exit_when_empty: self.exit_when_empty,
            stop_timeout: self.stop_timeout,
            ice_servers: self.ice_servers.clone(),
            ice_addresses: self.bind.clone(),
            report: self.report.clone(),
            ..BridgeConfig::new(room, outputs)
        })
    }
}

pub(crate) async fn run(options: Options, context: Context) -> Result<Exit, Failure> {
    let config = options.config()?;
    let stop = context.shutdown.token().child_token();
    if options.control {
        tokio::spawn(obey_stdin(stop.clone()));
    }
    let (events, mut receiver) = mpsc::channel::<Record>(EVENTS);
    let (snapshots, snapshot_receiver) = watch::channel(Snapshot::default());
    let status = if context.json { None } else { Status::start(&config, snapshot_receiver) };
    let json = context.json;
    let printing = tokio::spawn(async move {
        let mut stopped = None;
        while let Some(record) = receiver.recv().await {
            if json {
                if let Ok(line) = serde_json::to_string(&record) {
                    print_line(line);
                }
            } else if let Some(text) = describe(&record.event) {
                match &status {
                    Some(status) => status.print(&text),
                    None => print_line(text),
                }
            }
            if let Event::Stopped { summary, .. } = record.event {
                stopped = Some(summary);
            }
        }
        stopped
    });
    let ended = bridge::run(config, events, Some(snapshots), stop).await;
    let stopped = printing.await.context("the event printer failed")?;
    if let (Some(path), Some(summary)) = (&options.report, &stopped) {
        write_report(path, &serde_json::to_string_pretty(summary).context("the report")?)?;
    }
    let summary = ended.map_err(failure)?;
    Ok(exit(&summary.outputs))
}

/// The exit code that an error means.
fn failure(error: BridgeError) -> Failure {
    let exit = match &error {
        BridgeError::Config(_) | BridgeError::Output(_) => Exit::BadArguments,
        BridgeError::Room(_) => Exit::RoomUnreachable,
        // An element that is missing or refuses its settings is known before the room is joined.
        BridgeError::Media(_) => Exit::BadArguments,
        BridgeError::Stage { .. } => Exit::Internal,
    };
    Failure::new(exit, error)
}

fn exit(outputs: &[OutputSummary]) -> Exit {
    if outputs.iter().all(|output| output.ok) { Exit::Done } else { Exit::OutputFailed }
}

/// Stops the bridge when stdin says so or ends: a server that dies leaves no bridge behind.
async fn obey_stdin(stop: CancellationToken) {
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let command = serde_json::from_str::<serde_json::Value>(&line).ok();
        match command.as_ref().and_then(|command| command.get("command")?.as_str()) {
            Some("stop") => break,
            _ => tracing::warn!(line, "unknown command on stdin: known is {{\"command\":\"stop\"}}"),
        }
    }
    stop.cancel();
}

fn write_report(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("--report {}: cannot be written", path.display()))
}

/// An event as a line for people; `None` for what only programs need.
fn describe(event: &Event) -> Option<String> {
    Some(match event {
        Event::Joined { room, me } => format!("joined room {room} as {me}"),
        Event::ParticipantJoined { participant } => format!("+ {participant}"),
        Event::TrackStarted { participant, kind, codec, .. } => format!("  {participant} sends {kind} ({codec})"),
        Event::TrackStalled { participant, kind } => format!("  {participant} sends no {kind}"),
        Event::TrackResumed { participant, kind } => format!("  {participant} sends {kind} again"),
        Event::ParticipantLeft { participant, reason } => format!("- {participant} ({reason})"),
        Event::OutputReady { output, play } => {
            let mut text = format!("ready: {output}");
            for (player, command) in [
                ("ffplay", &play.ffplay),
                ("VLC (Debian)", &play.vlc),
                ("VLC (VideoLAN)", &play.vlc_videolan),
                ("GStreamer", &play.gst),
            ] {
                if !command.is_empty() {
                    text += &format!("\n  {player:<15} {command}");
                }
            }
            text
        }
        Event::OutputFailed { output, error, retry_in } => match retry_in {
            Some(pause) => format!("failed: {output}: {error}; next attempt in {pause:.0} s"),
            None => format!("failed: {output}: {error}"),
        },
        Event::Reconnecting { what, attempt, reason, .. } => {
            format!("reconnecting to {what} (attempt {attempt}): {reason}")
        }
        Event::Stats(_) => return None,
        Event::Stopped { summary, .. } => describe_end(summary),
    })
}

fn describe_end(summary: &Summary) -> String {
    let mut text = format!(
        "stopped after {:.1} s: {} participants, {} pictures",
        summary.duration, summary.participants, summary.frames
    );
    for output in &summary.outputs {
        let state = if output.ok { "complete" } else { "FAILED" };
        text += &format!("\n  {state}: {}", output.output);
        if let Some(error) = output.error.as_ref().filter(|_| !output.ok) {
            text += &format!(": {error}");
        }
    }
    text
}

fn parse_size(text: &str) -> Result<Size, String> {
    let parsed = text
        .split_once('x')
        .and_then(|(width, height)| Some(Size { width: width.parse().ok()?, height: height.parse().ok()? }));
    parsed.ok_or_else(|| format!("`{text}` is not a size: write 1280x720"))
}

fn parse_bitrate(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.trim_end_matches(['k', 'K', 'm', 'M']) {
        digits if digits.len() == text.len() => (digits, 1.0),
        digits if text.ends_with(['k', 'K']) => (digits, 1e3),
        digits => (digits, 1e6),
    };
    let bits = digits.parse::<f64>().ok().map(|number| number * factor);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    bits.filter(|bits| (8_000.0..=1e8).contains(bits))
        .map(|bits| bits as u32)
        .ok_or_else(|| format!("`{text}` is not a bit rate: write 2M or 128k (8k to 100M)"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.trim_end_matches('s').parse::<f64>().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("`{text}` is not a number of seconds"))
}

fn parse_codec(text: &str) -> Result<Codec, String> {
    Codec::from_encoding_name(text).ok_or_else(|| {
        let known: Vec<_> = Codec::ALL.iter().map(ToString::to_string).collect();
        format!("unknown codec `{text}`: use {}", known.join(", "))
    })
}

/// `stun:HOST[:PORT]`, `turn:USER:PASSWORD@HOST[:PORT]`.
pub(crate) fn parse_ice_server(text: &str) -> Result<IceServer, String> {
    let wrong = || format!("`{text}` is not an ICE server: write stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT");
    let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
    match (scheme, rest.rsplit_once('@')) {
        ("stun" | "stuns", None) if !rest.is_empty() => {
            Ok(IceServer { urls: vec![text.to_owned()], username: None, credential: None })
        }
        ("turn" | "turns", Some((login, host))) if !host.is_empty() => {
            let (user, password) = login.split_once(':').ok_or_else(wrong)?;
            Ok(IceServer {
                urls: vec![format!("{scheme}:{host}")],
                username: Some(user.to_owned()),
                credential: Some(password.to_owned()),
            })
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_rates_take_k_and_m() {
        for (text, bits) in [("2M", 2_000_000), ("128k", 128_000), ("1.5m", 1_500_000), ("64000", 64_000)] {
            assert_eq!(parse_bitrate(text), Ok(bits), "{text}");
        }
        for text in ["", "fast", "0", "-1k", "1G", "999M"] {
            assert!(parse_bitrate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_seconds_are_read() {
        assert_eq!(parse_size("640x360"), Ok(Size { width: 640, height: 360 }));
        assert!(parse_size("big").is_err());
        assert_eq!(parse_seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_seconds("10s"), Ok(Duration::from_secs(10)));
        assert!(parse_seconds("-1").is_err());
    }

    #[test]
    fn a_turn_server_has_its_login_in_front() {
        let server = parse_ice_server("turn:me:p@ss@turn.example.org:3478").unwrap();
        assert_eq!(server.urls, ["turn:turn.example.org:3478"]);
        assert_eq!((server.username.as_deref(), server.credential.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(parse_ice_server("stun:a:3478").unwrap().urls, ["stun:a:3478"]);
        for text in ["turn:host", "http://x", "stun:", ""] {
            assert!(parse_ice_server(text).is_err(), "{text}");
        }
    }
}
