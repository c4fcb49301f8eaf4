//! `roomcast repair`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use roomcast::repair::{self, Outcome};
use serde::Serialize;

use super::{Context, Exit, Failure, print_line};

/// Options of `roomcast repair`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roomcast repair call.mp4
  roomcast repair /srv/recordings")]
pub(crate) struct Options {
    /// Recordings (.mkv, .mp4, .webm), or directories with recordings in them.
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<PathBuf>,
    /// Repair what was written to a moment ago, too.
    #[arg(long)]
    force: bool,
}

/// What `--json` prints for each recording.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Complete { file: &'a Path },
    Repaired { file: &'a Path, duration: f64 },
    RepairFailed { file: &'a Path, error: String },
}

pub(crate) async fn run(options: Options, context: Context) -> Result<Exit, Failure> {
    roomcast::media::elements::init().map_err(Failure::bad_arguments)?;
    let mut files = Vec::new();
    for path in &options.paths {
        if path.is_dir() {
            let found = repair::recordings(path).with_context(|| path.display().to_string());
            files.extend(found.map_err(Failure::bad_arguments)?);
        } else {
            std::fs::metadata(path).with_context(|| path.display().to_string()).map_err(Failure::bad_arguments)?;
            files.push(path.clone());
        }
    }
    let stop = context.shutdown.token();
    let mut exit = Exit::Done;
    for file in &files {
        let bar = progress_bar(file);
        let outcome = tokio::select! {
            outcome = repair::repair(file, options.force, |read| bar.set_position(read)) => outcome,
            // The copy is dropped, the recording is as it was.
            () = stop.cancelled() => return Ok(Exit::FaultFound),
        };
        bar.finish_and_clear();
        let event = match outcome {
            Ok(Outcome::Complete) => Event::Complete { file },
            Ok(Outcome::Repaired { duration }) => Event::Repaired { file, duration: duration.as_secs_f64() },
            Err(error) => {
                exit = Exit::FaultFound;
                Event::RepairFailed { file, error: error.to_string() }
            }
        };
        if context.json {
            print_line(serde_json::to_string(&event)?);
        } else {
            print_line(describe(&event));
        }
    }
    if files.is_empty() && !context.json {
        print_line("no recordings there: nothing to repair");
    }
    Ok(exit)
}

fn describe(event: &Event<'_>) -> String {
    match event {
        Event::Complete { file } => format!("complete already: {}", file.display()),
        Event::Repaired { file, duration } => format!("repaired, {duration:.1} s: {}", file.display()),
        Event::RepairFailed { file, error } => format!("FAILED: {}: {error}", file.display()),
    }
}

/// How much of a recording was read; indicatif draws it on terminals only.
fn progress_bar(file: &Path) -> ProgressBar {
    let length = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(file.display().to_string());
    bar
}
