//! A growing file reaches the disk while it grows: a power cut takes seconds of a recording, and not the half minute that the kernel
//! may keep in memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::super::OutputError;
use crate::durable;

/// From one sync to the next. With what the muxer holds and the sync itself less than five seconds are ever missing.
const EVERY: Duration = Duration::from_millis(1500);

/// How long the last sync of a file may be waited for; after that the kernel goes on with it alone.
const LAST: Duration = Duration::from_secs(30);

/// Syncs one file, until it is dropped.
#[derive(Debug)]
pub(super) struct Syncing {
    task: JoinHandle<OutputError>,
}

impl Syncing {
    /// Starts with the file's name. Must be called on a Tokio runtime.
    pub(super) fn start(path: &Path) -> Self {
        Self { task: tokio::spawn(run(path.to_owned())) }
    }

    /// Ends when the disk did not take what was written.
    pub(super) async fn failed(&mut self) -> OutputError {
        match (&mut self.task).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(path: PathBuf) -> OutputError {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_named = false;
    loop {
        tick.tick().await;
        let (file, named) = (path.clone(), is_named);
        let synced = tokio::task::spawn_blocking(move || {
            let file = file.as_path();
            if named { durable::data(file) } else { durable::name(file) }
        });
        match synced.await {
            Ok(Ok(())) => is_named = true,
            Ok(Err(error)) => return OutputError::io(&path)(error),
            Err(error) => tracing::error!(%error, "the thread that syncs a recording failed"),
        }
    }
}

/// Puts a file in the place of another when the disk has what was written to it: a power cut leaves one or the other.
pub(super) fn move_to(from: &Path, to: &Path) -> JoinHandle<std::io::Result<()>> {
    let (from, to) = (from.to_owned(), to.to_owned());
    tokio::task::spawn_blocking(move || durable::data(&from).and_then(|()| std::fs::rename(&from, &to)))
}

/// Waits until the disk has all of a file that is complete, and its name.
pub(super) async fn complete(path: &Path) -> Result<(), OutputError> {
    let file = path.to_owned();
    let synced = tokio::task::spawn_blocking(move || durable::data(&file).and_then(|()| durable::name(&file)));
    match tokio::time::timeout(LAST, synced).await {
        Ok(Ok(synced)) => synced.map_err(OutputError::io(path)),
        Ok(Err(error)) => {
            tracing::error!(%error, "the thread that syncs a recording failed");
            Ok(())
        }
        Err(_) => {
            tracing::warn!(file = %path.display(), "the disk did not take all of it within {LAST:?}");
            Ok(())
        }
    }
}
