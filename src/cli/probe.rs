//! `roomcast probe`.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use roomcast::probe::{self, Expectations, Fault, ProbeError, ProbeOptions, Progress, Report, Shape, Source};
use roomcast::terms::MediaKind;
use serde::Serialize;
use tokio::sync::watch;

use super::{Context, Exit, Failure, print_line};

/// How much nicer than others: a tenth of their share of a busy machine.
const BACKGROUND: i32 = 10;

/// Options of `roomcast probe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// An SDP, HLS playlist, MPEG-TS, MKV, MP4 or WebM as a path or URL; `udp://`, `rtsp://`, `unix:/path`.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Seconds of media to measure [default: the whole of a file, 10 of what has no end].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Seconds to wait for the first frame, and for the next.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    timeout: Duration,
    /// What must be there: a missing kind is a fault.
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    expect: Vec<Kind>,
    /// How many milliseconds sound and picture may be apart, measured from flashes with beeps.
    #[arg(long, value_name = "MS")]
    max_skew: Option<u64>,
    /// Leave the machine to whoever else wants it.
    #[arg(long)]
    background: bool,
}

impl Options {
    /// Lowers the priority of this thread and those that it starts, if that is wanted.
    pub(crate) fn take_priority(&self) {
        if self.background
            && let Err(error) = rustix::process::nice(BACKGROUND)
        {
            tracing::debug!(%error, "the priority stays as it is");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Video,
    Audio,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Verdict<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// Empty when nothing is wrong.
    faults: Vec<FaultLine<'a>>,
}

/// A fault for programs, with the words for people.
#[derive(Serialize)]
struct FaultLine<'a> {
    #[serde(flatten)]
    fault: &'a Fault,
    text: String,
}

pub(crate) async fn run(options: Options, context: Context) -> Result<Exit, Failure> {
    roomcast::media::elements::init().map_err(Failure::bad_arguments)?;
    let source: Source = options.source.parse().map_err(Failure::bad_arguments)?;
    let expectations = Expectations {
        video: options.expect.contains(&Kind::Video),
        audio: options.expect.contains(&Kind::Audio),
        max_skew: options.max_skew.map(Duration::from_millis),
    };
    let (progress, on_progress) = watch::channel(Progress::default());
    let probe_options = ProbeOptions { duration: options.duration, timeout: options.timeout, progress: Some(progress) };
    let stop = context.shutdown.token();
    let report = tokio::select! {
        report = probe::run(source, probe_options) => report.map_err(failure)?,
        () = show(on_progress) => return Ok(Exit::Internal),
        () = stop.cancelled() => return Err(Failure::new(Exit::FaultFound, ProbeError::Cancelled)),
    };
    let faults = probe::judge(&report, expectations);
    if context.json {
        let faults = faults.iter().map(|fault| FaultLine { fault, text: fault.to_string() }).collect();
        print_line(serde_json::to_string(&Verdict { report: &report, faults })?);
    } else {
        print_line(text(&report, &faults));
    }
    Ok(if faults.is_empty() { Exit::Done } else { Exit::FaultFound })
}

/// What cannot be understood is the caller's; what cannot be reached is the source's.
fn failure(error: ProbeError) -> Failure {
    let exit = match &error {
        ProbeError::BadSource { .. }
        | ProbeError::File { .. }
        | ProbeError::BadSdp { .. }
        | ProbeError::MissingElement { .. } => Exit::BadArguments,
        ProbeError::Fetch { .. } | ProbeError::Port { .. } | ProbeError::NotPlayable { .. } | ProbeError::Cancelled => {
            Exit::FaultFound
        }
        ProbeError::Gstreamer(_) => Exit::Internal,
    };
    Failure::new(exit, error)
}

/// Shows the progress on a terminal, for as long as it is polled.
async fn show(mut progress: watch::Receiver<Progress>) {
    if std::io::stderr().is_terminal() {
        let line = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            line.set_style(style);
        }
        while progress.changed().await.is_ok() {
            let Progress { seconds, video, audio } = *progress.borrow_and_update();
            line.set_message(format!("{seconds:.1} s decoded: {video} pictures, {audio} blocks of sound"));
            line.tick();
        }
        line.finish_and_clear();
    }
    std::future::pending::<()>().await;
}

/// The report for people.
fn text(report: &Report, faults: &[Fault]) -> String {
    let mut lines = vec![report.source.clone()];
    if let Some(container) = &report.container {
        lines.push(format!("  {container}"));
    }
    if !report.streams.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "codec", "form", "frames", "errors", "gaps", "back", "first at", "starts", "length"]);
        for stream in &report.streams {
            let form = match stream.shape {
                Shape::Video { width, height, fps, .. } => format!("{width}×{height} {fps:.2} fps"),
                Shape::Audio { channels, rate } => format!("{rate} Hz × {channels}"),
            };
            table.add_row([
                stream.kind.to_string(),
                stream.codec.clone(),
                form,
                stream.frames.to_string(),
                stream.decode_errors.to_string(),
                stream.gaps.count.to_string(),
                stream.regressions.to_string(),
                stream.first_frame.map_or_else(|| "never".into(), |first| format!("{first:.3} s")),
                format!("{:.3} s", stream.start),
                format!("{:.3} s", stream.duration),
            ]);
        }
        lines.extend(table.lines().map(|line| format!("  {}", line.trim_end())));
    }
    for stream in &report.streams {
        for gap in &stream.gaps.first {
            lines.push(format!("  gap in {} at {:.3} s for {:.3} s", stream.kind, gap.at, gap.length));
        }
    }
    if let Some(skew) = report.skew {
        let side = if skew.median_ms < 0.0 { "before" } else { "after" };
        lines.push(format!(
            "  sound {:.0} ms {side} picture (median of {}, worst {:.0} ms)",
            skew.median_ms.abs(),
            skew.count,
            skew.worst_ms
        ));
    }
    if faults.is_empty() {
        let has = |kind| report.streams_of(kind).next().is_some();
        let only = match (has(MediaKind::Video), has(MediaKind::Audio)) {
            (true, false) => " (no sound in it)",
            (false, true) => " (no picture in it)",
            _ => "",
        };
        lines.push(format!("no fault found{only}"));
    }
    lines.extend(faults.iter().map(|fault| format!("fault: {fault}")));
    lines.join("\n")
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse().map(Duration::try_from_secs_f64) {
        Ok(Ok(duration)) if !duration.is_zero() => Ok(duration),
        _ => Err("give a number of seconds above 0, for example 2.5".into()),
    }
}
