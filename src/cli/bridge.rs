//! `roomcast bridge`: join one room, run its outputs until the end.

mod codecs;
mod lines;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use roomcast::bridge::{
    self, BridgeConfig, BridgeError, Event, Record, Snapshot, Summary, Verdict, Verified, Verify, When,
};
use roomcast::media::encoder::EncoderChoice;
use roomcast::media::layout::{Layout, Size};
use roomcast::media::mixer::Canvas;
use roomcast::output::OutputSpec;
use roomcast::sandbox::{self, Confinement, Needs};
use roomcast::terms::{Codec, IceServer};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::codecs::{CodecChoice, codecs, parse_codec};
use self::lines::describe;
use super::network::NetworkOptions;
use super::parse::{bitrate, bytes, ice_server, room_url, seconds, size};
use super::status::Status;
use super::{Context, Exit, Failure, Pipelines, control, print_line};

/// Events that wait for stdout; a reader that stops reading holds the bridge back no longer than this many events.
const EVENTS: usize = 256;

/// Commands that may wait.
const CONTROLS: usize = 16;

/// Options of `roomcast bridge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roomcast bridge 'mesh+ws://127.0.0.1:8080/ws?room=demo' -o 'rtp://127.0.0.1:5004?sdp=call.sdp' -o hls:www -o call.mkv
  roomcast bridge 'mesh+ws://127.0.0.1:8080/ws?room=demo' -o 'rtp://239.1.2.3:5004?sdp=call.sdp&video=copy&audio=copy'
  roomcast bridge 'mesh+wss://calls.example.org/ws?room=weekly' -o weekly.mp4 --exit-when-empty 60
  roomcast bridge 'mesh+ws://127.0.0.1:8080/ws?room=demo' -o call.mkv --udp-port 40000 --public-ip 198.51.100.7
  roomcast bridge 'mesh+ws://127.0.0.1:8080/ws?room=demo' -o 'hls:www?format=ll&renditions=720p,360p,audio'
  roomcast bridge 'mesh+ws://127.0.0.1:8080/ws?room=demo' -o 'rec/{participant}.mkv'
  roomcast bridge gst+ws://127.0.0.1:8080/gst/demo -o call.mkv
  roomcast bridge 'gst+wss://127.0.0.1:8443/?call=camera&insecure=1' -o camera.mkv
  roomcast bridge notify+ws://127.0.0.1:8080/call/1234 -o call.mkv
  roomcast bridge 'simplevoice+http://127.0.0.1:8080/sv?room=demo' -o call.mkv
  roomcast bridge 'rmc+https://calls.example.org/?room=weekly' -o weekly.mkv
  roomcast bridge gstrs+ws://127.0.0.1:8443 -o cameras.mkv
  roomcast bridge 'whep+http://127.0.0.1:8080/whep/demo' -o stream.mkv
  roomcast bridge 'mesh+ws://127.0.0.1:8080/ws?room=demo' -o 'whip+https://live.example.org/whip/stage?token=TOKEN'")]
pub(crate) struct Options {
    /// The room: mesh+ws://HOST:PORT/ws?room=ROOM, gst+ws://HOST:PORT/PATH/ROOM, notify+ws://HOST:PORT/call/ID,
    /// simplevoice+http://HOST:PORT/sv?room=ROOM, rmc+http://HOST:PORT/?room=ROOM, gstrs+ws://HOST:PORT, or a stream:
    /// whep+https://HOST/PATH?token=TOKEN; with TLS mesh+wss:// and so on (insecure=1 in the URL accepts any certificate of this server).
    room_url: String,
    /// Where the mix goes: rtp://HOST:PORT?sdp=FILE, ts+udp://HOST:PORT, srt://HOST:PORT, srt://:PORT?mode=listener,
    /// rtsp://:PORT/NAME?mode=serve for players that come, rtsp://USER:PASSWORD@HOST/PATH to publish to a media server,
    /// rtmp://HOST/APP/KEY, rtmps://HOST/APP/KEY, whip+https://HOST/PATH?token=TOKEN,
    /// hls:DIR?format=ts|fmp4|ll&mode=live|event|vod&renditions=720p,360p,audio, or a file (.mkv, .mp4, .webm, .m4a, .ogg, .opus, .wav);
    /// may be repeated. With video=copy&audio=copy one participant's streams go there as they come. A file takes split=10m or
    /// split=500M, thumbs=10s, and {room}, {time} and {index} in its path. With {participant} in it there is one for each
    /// participant: rec/{participant}.mkv takes what they send as it is.
    #[arg(short, long = "output", value_name = "URL", required = true)]
    outputs: Vec<String>,
    /// Size of the picture.
    #[arg(long, default_value = "1280x720", value_parser = size)]
    size: Size,
    /// Pictures per second.
    #[arg(long, default_value_t = 30)]
    fps: i32,
    /// Video bits per second; k and M are understood.
    #[arg(long, default_value = "2M", value_parser = bitrate)]
    video_bitrate: u32,
    /// Sound bits per second.
    #[arg(long, default_value = "128k", value_parser = bitrate)]
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
    /// Codecs to offer, most wanted first, for example h264,vp8,opus. auto: VP8 first, or H.264 where an output copies it into
    /// a container that holds no VP8.
    #[arg(long, value_delimiter = ',', default_value = "auto", value_parser = parse_codec)]
    codecs: Vec<CodecChoice>,
    /// How long a lost packet may take to arrive again.
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=5000))]
    jitter_latency: u64,
    /// End after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// End when nobody else was in the room for this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    exit_when_empty: Option<Duration>,
    /// Seconds that outputs may take to write their end.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    stop_timeout: Duration,
    /// Participants that are let in; others are told, and called when one of them leaves.
    #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    max_participants: u16,
    /// Recordings end, whole, when their disk has less than this left; live outputs go on. Bytes; k, M and G are understood.
    #[arg(long, default_value = "500M", value_name = "BYTES", value_parser = bytes)]
    disk_floor: u64,
    /// Delete the oldest complete recordings when their disk reaches --disk-floor, instead of ending the new ones, and then what a crash has left
    /// and nobody writes: only files below the directory that is recorded to which a manifest there names, and their pictures. Writes a manifest like --manifest.
    #[arg(long)]
    prune: bool,
    /// Decode each finished recording once, write what was found to report.json beside it, and end with 5 when one is at fault. auto:
    /// when the machine has time for it, for at most a minute at the end; a signal skips it.
    #[arg(long, value_enum, default_value_t = VerifyWhen::Auto, env = "ROOMCAST_VERIFY", value_name = "WHEN")]
    verify: VerifyWhen,
    /// Our name in the room; by default one that is recognised as a bridge.
    #[arg(long)]
    name: Option<String>,
    /// A STUN or TURN server besides those of the room: stun:HOST or turn:USER:PASSWORD@HOST; may be repeated.
    #[arg(long = "ice-server", value_name = "URL", value_parser = ice_server)]
    ice_servers: Vec<IceServer>,
    /// Write what the run was like to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write who was there, when, and which files have it to this file [default: session.json beside the files of participants].
    /// A bridge that is started again with the manifest of one that was killed goes on with its clock.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Go on where a bridge that was killed has left off: its files stay, the next part follows (call.part2.mkv), and playlists of
    /// HLS go on with a discontinuity, however long ago that was. `serve` starts a bridge again in this way.
    #[arg(long)]
    resume: bool,
    /// Read commands from stdin, one JSON object per line: {"command":"attach","output":"URL"}, {"command":"detach","output":"URL"},
    /// {"command":"stop"}; its end stops the bridge.
    #[arg(long)]
    control: bool,
    /// Keep all rights of the user; otherwise the bridge gives up, where the kernel has Landlock, to start programs, to read people's
    /// files, and to write anywhere but where its outputs go (anywhere with --control).
    #[arg(long)]
    no_sandbox: bool,
    #[command(flatten)]
    pipelines: Pipelines,
    #[command(flatten)]
    network: NetworkOptions,
}

/// What `--layout` says.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LayoutName {
    /// All alike; one participant fills the picture.
    Grid,
    /// The first participant large.
    Speaker,
    /// Only the first participant.
    Single,
}

/// What `--verify` says.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum VerifyWhen {
    /// When the machine has time for it.
    Auto,
    /// However busy it is, and however long it takes.
    Always,
    /// Not at all.
    Never,
}

impl From<VerifyWhen> for When {
    fn from(when: VerifyWhen) -> Self {
        match when {
            VerifyWhen::Auto => Self::Auto,
            VerifyWhen::Always => Self::Always,
            VerifyWhen::Never => Self::Never,
        }
    }
}

impl From<LayoutName> for Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::Grid => Self::Grid,
            LayoutName::Speaker => Self::Speaker,
            LayoutName::Single => Self::Single,
        }
    }
}

impl Options {
    fn config(&self) -> Result<BridgeConfig, Failure> {
        let room = room_url(&self.room_url, self.name.as_deref()).map_err(Failure::bad_arguments)?;
        let outputs = self
            .outputs
            .iter()
            .map(|output| output.parse::<OutputSpec>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::bad_arguments)?;
        let mut codecs = codecs(&self.codecs, &outputs);
        if !codecs.contains(&Codec::Opus) {
            // Browsers send no other sound that we take: a list of video codecs means their order alone.
            codecs.push(Codec::Opus);
        }
        Ok(BridgeConfig {
            canvas: Canvas { size: self.size, fps: self.fps },
            layout: self.layout.into(),
            encoder: self.encoder,
            video_bitrate: self.video_bitrate,
            audio_bitrate: self.audio_bitrate,
            preset: self.preset.clone(),
            gop: self.gop,
            codecs,
            jitter_latency: Duration::from_millis(self.jitter_latency),
            duration: self.duration,
            exit_when_empty: self.exit_when_empty,
            max_participants: self.max_participants.into(),
            disk_floor: self.disk_floor,
            prune: self.prune,
            stop_timeout: self.stop_timeout,
            ice_servers: self.ice_servers.clone(),
            network: self.network.config(),
            report: self.report.clone(),
            resume: self.resume,
            manifest: self.manifest.clone(),
            verify: Some(Verify {
                when: self.verify.into(),
                program: std::env::current_exe().context("where this program is")?,
                skip: CancellationToken::new(),
            }),
            ..BridgeConfig::new(room, outputs)
        })
    }
}

/// Gives up the rights that this bridge does not need. To be called before there are other threads.
pub(crate) fn confine(options: &Options) -> Result<(), Failure> {
    if options.no_sandbox {
        return Ok(());
    }
    let outputs = options.outputs.iter().filter_map(|output| output.parse::<OutputSpec>().ok());
    let files = [&options.report, &options.manifest].into_iter().flatten();
    let files = files.map(|file| file.parent().map(Path::to_owned).unwrap_or_default());
    let write = (!options.control).then(|| outputs.flat_map(|output| output.writes()).chain(files).collect());
    let needs = Needs { write, read: options.pipelines.directory().into_iter().cloned().collect() };
    match sandbox::confine(&needs)? {
        Confinement::Full => tracing::debug!("the bridge has given up the rights that it does not need"),
        Confinement::Partial => tracing::debug!("the bridge has given up what this kernel lets it give up"),
        Confinement::None => tracing::info!("this kernel has no Landlock: the bridge keeps all rights of its user"),
    }
    Ok(())
}

pub(crate) async fn run(options: Options, context: Context) -> Result<Exit, Failure> {
    options.pipelines.take()?;
    let config = options.config()?;
    let stop = context.shutdown.token().child_token();
    let (controls, control_receiver) = mpsc::channel(CONTROLS);
    if options.control {
        tokio::spawn(control::obey_stdin(controls, stop.clone()));
    }
    let (events, mut receiver) = mpsc::channel::<Record>(EVENTS);
    let (snapshots, snapshot_receiver) = watch::channel(Snapshot::default());
    let status = if context.json { None } else { Status::start(&config, snapshot_receiver) };
    let (json, shutdown) = (context.json, context.shutdown.clone());
    let skip = config.verify.as_ref().map(|verify| verify.skip.clone()).unwrap_or_default();
    let printing = tokio::spawn(async move {
        let mut stopped = None;
        while let Some(record) = receiver.recv().await {
            if let Event::Verifying { .. } = record.event {
                shutdown.next_signal_ends(skip.clone());
            }
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
    let ended = bridge::run(config, events, Some(snapshots), control_receiver, stop).await;
    let stopped = printing.await.context("the event printer failed")?;
    if let (Some(path), Some(summary)) = (&options.report, &stopped) {
        write_report(path, &serde_json::to_string_pretty(summary).context("the report")?)?;
    }
    let summary = ended.map_err(failure)?;
    Ok(exit(&summary))
}

/// The exit code that an error means.
fn failure(error: BridgeError) -> Failure {
    let exit = match &error {
        BridgeError::Config(_) | BridgeError::Output(_) | BridgeError::Network(_) => Exit::BadArguments,
        BridgeError::Room(_) => Exit::RoomUnreachable,
        // An element that is missing or refuses its settings is known before the room is joined.
        BridgeError::Media(_) => Exit::BadArguments,
        BridgeError::Stage { .. } => Exit::Internal,
    };
    Failure::new(exit, error)
}

fn exit(summary: &Summary) -> Exit {
    let at_fault = |recording: &Verified| recording.verdict == Verdict::Fault;
    match summary.outputs.iter().all(|output| output.ok) {
        false => Exit::OutputFailed,
        true if summary.recordings.iter().any(at_fault) => Exit::FaultFound,
        true => Exit::Done,
    }
}

fn write_report(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("--report {}: cannot be written", path.display()))
}
