//! Decodes a result as a player would, and says what it has: streams, frame rate, decode errors, gaps, and how far sound and
//! picture are apart.
//!
//! Outputs call [`first_frames`] before they call themselves ready; `roomcast probe` calls [`run`] and [`judge()`]. Everything is
//! decoded in this process by GStreamer; a probe never changes what it looks at, but an SDP's ports are taken while it lasts.

mod decode_errors;
mod gaps;
mod judge;
mod measure;
mod observe;
mod pipeline;
mod report;
mod rtp;
mod skew;
mod source;
mod tracks;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use gstreamer::glib;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::terms::MediaKind;

pub use judge::{Expectations, Fault, judge};
pub use report::{Gap, Gaps, Report, Shape, Skew, StreamReport};
pub use source::Source;

/// How long a source without an end is measured when nobody says how long.
pub const LIVE_DURATION: Duration = Duration::from_secs(10);

/// How long the first frames of a file may take.
const FILE_ATTEMPT: Duration = Duration::from_secs(2);

/// How long a file that is being written gets to grow before it is opened again.
const RETRY: Duration = Duration::from_millis(250);

/// Why a source could not be probed at all. What is wrong *in* a source is a [`Fault`].
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It names nothing that can be opened.
    #[error("{source_text}: {reason}")]
    BadSource {
        /// As it was given.
        source_text: String,
        /// Why not, and what would do.
        reason: String,
    },
    /// A path that cannot be opened.
    #[error("{}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// An SDP that could not be fetched.
    #[error("{url} could not be fetched: {error}")]
    Fetch {
        /// From where.
        url: String,
        /// The HTTP client's reason.
        error: reqwest::Error,
    },
    /// An SDP that describes nothing that can be received.
    #[error("this SDP cannot be received: {reason}")]
    BadSdp {
        /// The line at fault.
        reason: String,
    },
    /// A port of an SDP is taken.
    #[error("UDP port {port} cannot be opened: {error}; another player may hold it")]
    Port {
        /// The port.
        port: u16,
        /// The system's reason.
        error: std::io::Error,
    },
    /// GStreamer lacks something.
    #[error("the element {element} is missing: apt install {package}")]
    MissingElement {
        /// Its name.
        element: &'static str,
        /// What brings it.
        package: &'static str,
    },
    /// GStreamer refused to do something that always works.
    #[error("GStreamer: {0}")]
    Gstreamer(String),
    /// [`first_frames`] did not see what it was asked for.
    #[error("not playable after {timeout:?}: {seen}")]
    NotPlayable {
        /// How long it tried.
        timeout: Duration,
        /// What there was, and what the elements said.
        seen: String,
    },
    /// The caller went away.
    #[error("the probe was cancelled")]
    Cancelled,
}

impl From<glib::BoolError> for ProbeError {
    fn from(error: glib::BoolError) -> Self {
        Self::Gstreamer(error.message.to_string())
    }
}

/// How [`run`] measures.
#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// How much media to measure; `None` is the whole of a file, and [`LIVE_DURATION`] of what has no end.
    pub duration: Option<Duration>,
    /// How long to wait for the first frame, and for the next.
    pub timeout: Duration,
    /// Where to tell how far the measurement is.
    pub progress: Option<watch::Sender<Progress>>,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { duration: None, timeout: Duration::from_secs(10), progress: None }
    }
}

/// How far a measurement is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Seconds of media decoded, of the stream that is furthest.
    pub seconds: f64,
    /// Pictures decoded.
    pub video: usize,
    /// Blocks of sound decoded.
    pub audio: usize,
}

impl Progress {
    fn of(tracks: &tracks::Tracks) -> Self {
        Self {
            seconds: tracks.iter().map(tracks::Track::covered).fold(0.0, f64::max),
            video: tracks.frames_of(MediaKind::Video),
            audio: tracks.frames_of(MediaKind::Audio),
        }
    }
}

/// What [`first_frames`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Three pictures.
    pub video: bool,
    /// Five blocks of sound.
    pub audio: bool,
}

/// What [`first_frames`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstFrames {
    /// Pictures decoded.
    pub video: usize,
    /// Blocks of sound decoded.
    pub audio: usize,
    /// Of the attempt that succeeded.
    pub elapsed: Duration,
}

/// Decodes `source` and measures it. Faults are in the report (see [`judge()`]); an error means that nothing could be opened.
///
/// Dropping the future ends the measurement within a few seconds.
pub async fn run(source: Source, options: ProbeOptions) -> Result<Report, ProbeError> {
    let input = source.resolve().await?;
    let (name, is_endless) = (source.to_string(), source.is_endless());
    on_thread(move |cancel| measure::measure(name, &input, is_endless, &options, cancel)).await
}

/// Returns as soon as some frames of each wanted kind were decoded without an error: the check behind an output's `ready`.
///
/// A source that is not there yet, ends too early or fails is opened again until `timeout`: it may be a file that grows. A
/// port that is taken is an error at once.
pub async fn first_frames(source: Source, wanted: Wanted, timeout: Duration) -> Result<FirstFrames, ProbeError> {
    let deadline = Instant::now() + timeout;
    loop {
        let seen = match attempt(&source, wanted, deadline).await {
            Ok(Ok(frames)) => return Ok(frames),
            Ok(Err(seen)) => seen,
            Err(error @ (ProbeError::File { .. } | ProbeError::Fetch { .. })) => error.to_string(),
            Err(error) => return Err(error),
        };
        if Instant::now() + RETRY >= deadline {
            return Err(ProbeError::NotPlayable { timeout, seen });
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn attempt(
    source: &Source,
    wanted: Wanted,
    deadline: Instant,
) -> Result<Result<FirstFrames, String>, ProbeError> {
    let input = source.resolve().await?;
    let mut left = deadline.saturating_duration_since(Instant::now());
    if !source.is_endless() {
        // A demuxer that meets the end of a file before its first stream says nothing at all.
        left = left.min(FILE_ATTEMPT);
    }
    on_thread(move |cancel| measure::first_frames(&input, wanted, left, cancel)).await
}

/// Runs a measurement where it may block; it is cancelled when the future is dropped.
async fn on_thread<T: Send + 'static>(
    measure: impl FnOnce(&CancellationToken) -> Result<T, ProbeError> + Send + 'static,
) -> Result<T, ProbeError> {
    let cancel = CancellationToken::new();
    let _cancel_on_drop = cancel.clone().drop_guard();
    let task = tokio::task::spawn_blocking(move || measure(&cancel));
    task.await.unwrap_or_else(|error| Err(ProbeError::Gstreamer(format!("the measuring thread failed: {error}"))))
}
