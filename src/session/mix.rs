//! One film of a session: everybody's files put together again, by what the manifest says about their times.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::film;
use super::manifest::{Manifest, ManifestError, Part};
use super::plan::{Found, Plan};
use crate::durable;
use crate::media::MediaError;
use crate::media::bus::{BusEvent, ElementFault};
use crate::media::elements::{self, Job};
use crate::media::layout::{Layout, Size};
use crate::media::pipeline::LivePipeline;
use crate::probe::{self, ProbeError, ProbeOptions, Source};
use crate::terms::MediaKind;

/// How often progress is told.
const LOOK: Duration = Duration::from_millis(250);

/// A film that does not move for this long never will.
const STUCK: Duration = Duration::from_secs(60);

/// The form of a film.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Matroska with H.264 and AAC.
    Matroska,
    /// Seekable MP4 with H.264 and AAC.
    Mp4,
    /// WebM with VP8 and Opus.
    WebM,
}

impl Form {
    /// The form that a path's ending says.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        [("mkv", Self::Matroska), ("mp4", Self::Mp4), ("webm", Self::WebM)]
            .into_iter()
            .find_map(|(known, form)| (known == ending).then_some(form))
    }

    /// The file in `pipelines/`.
    pub(super) fn template(self) -> &'static str {
        match self {
            Self::Matroska => "film-mkv",
            Self::Mp4 => "film-mp4",
            Self::WebM => "film-webm",
        }
    }

    /// What this machine's GStreamer must be able to do for it.
    fn jobs(self) -> &'static [Job] {
        match self {
            Self::Matroska => &[Job::Mix, Job::Probe, Job::EncodeVideo, Job::EncodeAudio, Job::Mkv],
            Self::Mp4 => &[Job::Mix, Job::Probe, Job::EncodeVideo, Job::EncodeAudio, Job::Mp4],
            Self::WebM => &[Job::Mix, Job::Probe, Job::Webm],
        }
    }
}

/// How the film is to be.
#[derive(Clone, Debug)]
pub struct MixOptions {
    /// The film; it must not exist yet.
    pub output: PathBuf,
    /// Its form.
    pub form: Form,
    /// Size of the picture.
    pub size: Size,
    /// Pictures per second.
    pub fps: i32,
    /// How participants share the picture.
    pub layout: Layout,
    /// Bits per second of video.
    pub video_bitrate: u32,
    /// Bits per second of sound.
    pub audio_bitrate: u32,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct MixReport {
    /// The film.
    pub output: PathBuf,
    /// Its length in seconds.
    pub duration: f64,
    /// How many files are in it.
    pub files: usize,
    /// Those that are not, and why.
    pub left_out: Vec<LeftOut>,
}

/// A file that is not in the film.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub reason: String,
}

/// Why there is no film.
#[derive(Debug, thiserror::Error)]
pub enum MixError {
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The film cannot be written.
    #[error("{}: {reason}", path.display())]
    Output {
        /// The film.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// None of the files can be used.
    #[error("no file of the session can be used{}", list(.0))]
    NoFiles(Vec<LeftOut>),
    /// An element is not installed.
    #[error(transparent)]
    Missing(elements::Missing),
    /// GStreamer refused something.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// It failed while it was made.
    #[error("{what}: {fault}")]
    Failed {
        /// The file at fault, or the film.
        what: String,
        /// What the element said.
        fault: ElementFault,
    },
    /// Nothing moved for a minute.
    #[error(
        "the film did not get on at {at:.1} s: one of the files may be damaged there; `roomcast probe` finds out which"
    )]
    Stuck {
        /// Seconds.
        at: f64,
    },
    /// The caller wants no more.
    #[error("the mix was cancelled: nothing was written")]
    Cancelled,
}

fn list(files: &[LeftOut]) -> String {
    let lines = files.iter().map(|file| format!("\n  {}: {}", file.path.display(), file.reason));
    if files.is_empty() { ": it has none".into() } else { lines.collect() }
}

/// Makes the film of the session in `manifest`. `progress` is from 0 to 1. Nothing is left behind when it fails.
///
/// # Errors
/// The manifest or all of its files cannot be read, or the film cannot be written. A file that cannot be read is left out and is in
/// the report.
pub async fn mix(
    manifest: &Path,
    options: MixOptions,
    progress: watch::Sender<f64>,
    cancel: CancellationToken,
) -> Result<MixReport, MixError> {
    let session = Manifest::read(manifest)?;
    elements::init().map_err(|error| MediaError::Init(error.to_string()))?;
    if let Some(missing) = options.form.jobs().iter().copied().find_map(elements::missing_for) {
        return Err(MixError::Missing(missing));
    }
    let cannot = |reason: String| MixError::Output { path: options.output.clone(), reason };
    if std::fs::symlink_metadata(&options.output).is_ok() {
        return Err(cannot("there is such a file already: choose another name".into()));
    }
    let here = durable::parent(manifest);
    let written = tempfile::Builder::new()
        .prefix(".mix")
        .suffix(".part")
        .tempfile_in(durable::parent(&options.output))
        .map_err(|error| cannot(format!("cannot be written: {error}")))?
        .into_temp_path();
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for part in &session.files {
        let path = here.join(&part.path);
        let looked = tokio::select! {
            looked = look(&path, part) => looked,
            () = cancel.cancelled() => return Err(MixError::Cancelled),
        };
        match looked {
            Ok(is) => found.push((part, path, is)),
            Err(reason) => left_out.push(LeftOut { path, reason }),
        }
    }
    if found.is_empty() {
        return Err(MixError::NoFiles(left_out));
    }
    let files = found.len();
    let plan = Plan::new(&session, found);
    let mut film = film::build(&plan, &options, &written)?;
    film.play().await?;
    let made = tokio::select! {
        made = run(&mut film, &plan, &progress) => made,
        () = cancel.cancelled() => Err(MixError::Cancelled),
    };
    film.stop().await;
    made?;
    #[cfg(unix)]
    std::fs::set_permissions(&written, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .map_err(|error| cannot(error.to_string()))?;
    written.persist_noclobber(&options.output).map_err(|error| cannot(error.error.to_string()))?;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let duration = plan.length as f64 / 1e9;
    Ok(MixReport { output: options.output, duration, files, left_out })
}

/// What a file has. It is decoded as a whole: a film that fails in the last minute is of no use, and the length that a killed bridge
/// left behind is not written anywhere.
async fn look(path: &Path, part: &Part) -> Result<Found, String> {
    let options = ProbeOptions { timeout: Duration::from_secs(5), ..ProbeOptions::default() };
    let without_path = |error: ProbeError| match error {
        ProbeError::File { error, .. } => error.to_string(),
        error => error.to_string(),
    };
    let report = probe::run(Source::File(path.to_owned()), options).await.map_err(without_path)?;
    let has = |kind| report.streams_of(kind).any(|stream| stream.frames > 0);
    let length = report.streams.iter().map(|stream| stream.start + stream.duration).fold(0.0, f64::max);
    let found = Found {
        video: has(MediaKind::Video),
        audio: has(MediaKind::Audio),
        length: u64::try_from(Duration::try_from_secs_f64(length).unwrap_or_default().as_nanos()).unwrap_or(0),
    };
    if !found.video && !found.audio {
        let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
        return Err(format!("nothing in it can be decoded: {}", problems.join("; ")));
    }
    if part.complete && part.duration.is_some_and(|expected| length + 1.0 < expected) {
        tracing::warn!(file = %path.display(), length, expected = part.duration, "is shorter than it was");
    }
    Ok(found)
}

async fn run(film: &mut LivePipeline, plan: &Plan, progress: &watch::Sender<f64>) -> Result<(), MixError> {
    let mut tick = tokio::time::interval(LOOK);
    let (mut reached, mut moved) = (0, tokio::time::Instant::now());
    loop {
        tokio::select! {
            event = film.next_event() => match event {
                Some(BusEvent::Eos) => return Ok(()),
                Some(BusEvent::Warning(fault)) => tracing::warn!(%fault),
                Some(BusEvent::Error(fault)) => {
                    return Err(MixError::Failed { what: culprit(&fault.debug, plan), fault });
                }
                None => return Err(MixError::Stuck { at: 0.0 }),
            },
            _ = tick.tick() => {
                let position = film.pipeline().query_position::<gst::ClockTime>().map_or(0, gst::ClockTime::nseconds);
                if position != reached {
                    (reached, moved) = (position, tokio::time::Instant::now());
                }
                #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
                let (at, part) = (reached as f64 / 1e9, reached as f64 / plan.length.max(1) as f64);
                progress.send_replace(part.min(1.0));
                if moved.elapsed() > STUCK {
                    return Err(MixError::Stuck { at });
                }
            }
        }
    }
}

/// The file whose elements an error names.
fn culprit(fault: &str, plan: &Plan) -> String {
    let index =
        fault.split("scene-").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    let scene = index.and_then(|index| plan.scenes.get(index.parse::<usize>().ok()?));
    scene.map_or_else(|| "the film".into(), |scene| scene.path.display().to_string())
}
