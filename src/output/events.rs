//! What outputs tell the bridge while they live, and what is left of them at the end.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::players::Play;
use super::spec::Tracks;
use super::streams::Streams;

/// What an output tells the bridge.
#[derive(Clone, Debug)]
pub enum OutputEvent {
    /// roomcast has decoded its result as a player would.
    Ready {
        /// The output as it was asked for.
        output: String,
        /// How to play it.
        play: Play,
    },
    /// It failed and is tried again.
    Failed {
        /// The output as it was asked for.
        output: String,
        /// Why.
        error: String,
        /// When it is tried again; `None` when the bridge is ending.
        retry_in: Option<Duration>,
    },
    /// How it does, once a second.
    Counted {
        /// The output as it was asked for.
        output: String,
        /// Access units handed over since it started.
        pushed: u64,
        /// Access units lost because it was too slow.
        dropped: u64,
        /// Access units that wait to be taken.
        waiting: u64,
    },
    /// A file of a recording has its first picture, or its first sound where it has no pictures.
    FileBegan {
        /// The output as it was asked for.
        output: String,
        /// The file.
        path: PathBuf,
        /// When, on the bridge's clock: the zero of the file's own time.
        at: Duration,
    },
    /// Nothing more is written to a file that has begun.
    FileEnded {
        /// The file.
        path: PathBuf,
        /// From its first buffer to the end of its last.
        length: Duration,
        /// When it had to end, on the bridge's clock: the next file began, or the output was stopped.
        until: Duration,
        /// Whether its end was written.
        complete: bool,
    },
    /// A file of a recording is complete.
    PartFinished {
        /// The output as it was asked for.
        output: String,
        /// The file.
        file: PathBuf,
        /// When its first picture or sound was taken.
        start: jiff::Timestamp,
        /// From there to its last.
        duration: Duration,
        /// Its size.
        bytes: u64,
    },
    /// Its destination does not take what it is fed with; it waits for something else.
    Wants {
        /// The output as it was asked for.
        output: String,
        /// What it wants to be fed with from now on.
        tracks: Tracks,
        /// Where the streams go when they are made; dropping it refuses.
        streams: mpsc::Sender<Streams>,
    },
    /// It has ended; nothing follows.
    Ended {
        /// The output as it was asked for.
        output: String,
        /// Whether what it wrote is complete.
        complete: bool,
    },
}

/// How an output ended.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OutputSummary {
    /// The output as it was asked for.
    pub output: String,
    /// Whether it worked to its end.
    pub ok: bool,
    /// Whether it was ever ready.
    pub was_ready: bool,
    /// How often it failed.
    pub failures: u32,
    /// The last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
