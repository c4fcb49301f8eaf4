//! `roomcast publish`: its options, and its events as text or JSON.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use roomcast::media::layout::Size;
use roomcast::publish::{PublishError, PublishEvent, PublishOptions, publish};
use roomcast::signaling::Scheme;
use roomcast::terms::{Codec, IceServer, MediaKind};
use tokio::sync::mpsc;

use super::network::NetworkOptions;
use super::parse::{bitrate, ice_server, room_url, seconds, size};
use super::{Context, Exit, Failure, control, print_line};

/// Options of `roomcast publish`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The room, e.g. mesh+ws://127.0.0.1:8080/ws?room=demo.
    room_url: String,
    /// The id to join with; by default test- and eight hex digits.
    #[arg(long, visible_alias = "id")]
    name: Option<String>,
    /// Width and height of the picture.
    #[arg(long, default_value = "1280x720", value_parser = size)]
    size: Size,
    /// Frames per second.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: u32,
    /// Video codec: vp8, h264 or vp9.
    #[arg(long, default_value = "vp8", value_parser = parse_codec)]
    codec: Codec,
    /// Bits per second of the video, k and M are understood; by default what suits its size.
    #[arg(long, value_parser = bitrate)]
    video_bitrate: Option<u32>,
    /// Publish a media file in a loop instead of the pattern.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Leave after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Send no sound.
    #[arg(long, conflicts_with = "no_video")]
    no_audio: bool,
    /// Send no picture.
    #[arg(long)]
    no_video: bool,
    /// A STUN or TURN server, e.g. stun:stun.example.org:3478 or turn:USER:PASSWORD@HOST; may be repeated.
    #[arg(long, value_name = "URL", value_parser = ice_server)]
    ice_server: Vec<IceServer>,
    /// Read commands from stdin, one JSON object per line ({"command":"stop"}); its end stops us.
    #[arg(long, hide = true)]
    control: bool,
    #[command(flatten)]
    network: NetworkOptions,
}

pub(crate) async fn run(options: Options, context: Context) -> Result<Exit, Failure> {
    let url = room_url(&options.room_url, options.name.as_deref()).map_err(Failure::bad_arguments)?;
    if url.scheme() == Scheme::Whep {
        return Err(Failure::bad_arguments(anyhow!("{url} is a stream to watch; nobody can publish there")));
    }
    let publishing = PublishOptions {
        size: options.size,
        fps: options.fps,
        video: (!options.no_video).then_some(options.codec),
        video_bitrate: options.video_bitrate,
        audio: !options.no_audio,
        file: options.file,
        duration: options.duration,
        ice_servers: options.ice_server,
        network: options.network.config(),
    };
    let (sender, mut events) = mpsc::channel(64);
    let printing = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            print_event(&event, context.json);
        }
    });
    let stop = context.shutdown.token().child_token();
    if options.control {
        tokio::spawn(control::obey_stdin(mpsc::channel(1).0, stop.clone()));
    }
    let outcome = publish(url, publishing, sender, stop).await;
    printing.await?;
    match outcome {
        Ok(()) => Ok(Exit::Done),
        Err(error @ PublishError::Signaling(_)) => Err(Failure::new(Exit::RoomUnreachable, error)),
        Err(error @ (PublishError::File { .. } | PublishError::Network(_))) => Err(Failure::bad_arguments(error)),
        Err(error) => Err(error.into()),
    }
}

fn print_event(event: &PublishEvent, json: bool) {
    if json {
        match serde_json::to_string(event) {
            Ok(line) => print_line(line),
            Err(error) => tracing::warn!(%error, "an event cannot be written"),
        }
        return;
    }
    match event {
        PublishEvent::Started { .. } => {}
        PublishEvent::Joined { participant } => print_line(format_args!("joined as {participant}")),
        PublishEvent::ParticipantJoined { participant } => print_line(format_args!("{participant}: connecting")),
        PublishEvent::Published { participant } => print_line(format_args!("{participant}: receives us")),
        PublishEvent::ParticipantLeft { participant, reason: None } => print_line(format_args!("{participant}: left")),
        PublishEvent::ParticipantLeft { participant, reason: Some(reason) } => {
            print_line(format_args!("{participant}: ended, {reason}"));
        }
        PublishEvent::Reconnecting { attempt, reason } => {
            print_line(format_args!("the room cannot be reached ({reason}): attempt {attempt}"));
        }
        PublishEvent::Stopped { reason, packets_dropped: 0 } => print_line(format_args!("stopped: {reason}")),
        PublishEvent::Stopped { reason, packets_dropped } => {
            print_line(format_args!("stopped: {reason}; {packets_dropped} packets were dropped for slow members"));
        }
    }
}

fn parse_codec(text: &str) -> anyhow::Result<Codec> {
    match Codec::from_encoding_name(text) {
        Some(codec) if codec.kind() == MediaKind::Video && codec != Codec::Av1 => Ok(codec),
        _ => Err(anyhow!("use vp8, h264 or vp9")),
    }
}
