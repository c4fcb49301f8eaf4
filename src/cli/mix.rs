//! `roomcast mix`: one film of a session's files.

use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use roomcast::media::layout::Size;
use roomcast::session::{self, Form, MixError, MixOptions, MixReport};
use tokio::sync::watch;

use super::bridge::LayoutName;
use super::parse::{bitrate, size};
use super::{Context, Exit, Failure, print_line};

/// Options of `roomcast mix`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roomcast mix rec/session.json -o film.mp4
  roomcast mix rec/session.json -o film.webm --size 1920x1080 --layout speaker

A file that is missing or cannot be decoded is left out, named, and the exit code is 5.")]
pub(crate) struct Options {
    /// The manifest that a bridge wrote beside the files of participants.
    #[arg(value_name = "SESSION.json")]
    manifest: PathBuf,
    /// The film: .mkv, .mp4 or .webm; it must not exist yet.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Size of the picture.
    #[arg(long, default_value = "1280x720", value_parser = size)]
    size: Size,
    /// Pictures per second.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i32).range(1..=120))]
    fps: i32,
    /// Video bits per second; k and M are understood.
    #[arg(long, default_value = "2M", value_parser = bitrate)]
    video_bitrate: u32,
    /// Sound bits per second.
    #[arg(long, default_value = "128k", value_parser = bitrate)]
    audio_bitrate: u32,
    /// How participants share the picture.
    #[arg(long, value_enum, default_value_t = LayoutName::Grid)]
    layout: LayoutName,
}

pub(crate) async fn run(options: Options, context: Context) -> Result<Exit, Failure> {
    let form = Form::of(&options.output).ok_or_else(|| {
        let output = options.output.display();
        Failure::bad_arguments(anyhow::anyhow!("{output}: what this should be is not clear: use .mkv, .mp4 or .webm"))
    })?;
    let film = MixOptions {
        output: options.output,
        form,
        size: options.size,
        fps: options.fps,
        layout: options.layout.into(),
        video_bitrate: options.video_bitrate,
        audio_bitrate: options.audio_bitrate,
    };
    let (progress, on_progress) = watch::channel(0.0);
    let stop = context.shutdown.token().child_token();
    let report = tokio::select! {
        report = session::mix(&options.manifest, film, progress, stop) => report.map_err(failure)?,
        () = show(on_progress) => return Ok(Exit::Internal),
    };
    print_line(if context.json { serde_json::to_string(&report)? } else { text(&report) });
    Ok(if report.left_out.is_empty() { Exit::Done } else { Exit::FaultFound })
}

fn failure(error: MixError) -> Failure {
    let exit = match &error {
        MixError::Manifest(_) | MixError::Output { .. } | MixError::Missing(_) | MixError::Media(_) => {
            Exit::BadArguments
        }
        MixError::NoFiles(_) | MixError::Stuck { .. } => Exit::FaultFound,
        MixError::Failed { .. } | MixError::Cancelled => Exit::OutputFailed,
    };
    Failure::new(exit, error)
}

fn text(report: &MixReport) -> String {
    let mut text = format!("{}: {:.1} s of {} files", report.output.display(), report.duration, report.files);
    for file in &report.left_out {
        text += &format!("\n  left out: {}: {}", file.path.display(), file.reason);
    }
    text
}

/// Shows the progress on a terminal, for as long as it is polled.
async fn show(mut progress: watch::Receiver<f64>) {
    if std::io::stderr().is_terminal() {
        let bar = ProgressBar::new(1000);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent} % {eta} left") {
            bar.set_style(style);
        }
        while progress.changed().await.is_ok() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
            bar.set_position((*progress.borrow_and_update() * 1000.0) as u64);
        }
        bar.finish_and_clear();
    }
    std::future::pending::<()>().await;
}
