//! Logging to stderr, above the status block when there is one.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::prelude::*;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object per line.
    Json,
}

/// What is logged when RUST_LOG is not set: our own lifecycle, and of the WebRTC stack only what is wrong.
const DEFAULT_FILTER: &str = "warn,roomcast=info,rtc=error,webrtc=error,gstreamer=error";

/// The same on a terminal, where the status block shows the lifecycle.
const TERMINAL_FILTER: &str = "warn,rtc=error,webrtc=error,gstreamer=error";

static STATUS: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Starts logging to stderr. A second call changes nothing.
pub fn start(format: LogFormat) {
    let terminal = std::io::stderr().is_terminal();
    let default = if terminal { TERMINAL_FILTER } else { DEFAULT_FILTER };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Lines).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    let started = match format {
        LogFormat::Pretty => registry.with(lines.with_ansi(colours)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

/// From now on log lines stand above this block instead of tearing it.
pub fn draw_above(block: &ProgressBar) {
    *STATUS.lock().unwrap_or_else(PoisonError::into_inner) = Some(block.clone());
}

/// Stderr, below which a status block may stand. Each write is one whole line.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let status = STATUS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match status {
            Some(block) => block.suspend(|| std::io::stderr().write(bytes)),
            None => std::io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
