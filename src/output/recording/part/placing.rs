//! A file that was begun beside another takes its name, when the disk has as much of it.

use std::path::{Path, PathBuf};

use super::super::super::OutputError;
use super::super::syncing;
use super::Part;

impl Part {
    /// It is to have this name in the end, which another file has as yet.
    pub(in super::super) fn call(&mut self, name: PathBuf) {
        self.name = Some(name);
    }

    /// The name that it does not have yet.
    pub(in super::super) fn name(&self) -> Option<&Path> {
        self.name.as_deref()
    }

    /// Has it take the place of the file with its name as soon as the disk has what was written. False when not all that was given was
    /// written yet.
    pub(in super::super) fn place(&mut self) -> bool {
        let inputs = [&self.video, &self.audio].into_iter().flatten();
        let behind = inputs.filter_map(|input| input.appsrc.current_level_time()).any(|level| !level.is_zero());
        if let (Some(name), None, false) = (&self.name, &self.placing, behind) {
            // Nothing looks for it where it was while it moves.
            self.syncing = None;
            self.placing = Some(syncing::move_to(&self.path, name));
        }
        !behind
    }

    /// It has its name now, or never.
    pub(super) fn placed(
        &mut self,
        moved: Result<std::io::Result<()>, tokio::task::JoinError>,
    ) -> Result<(), OutputError> {
        self.placing = None;
        moved.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(OutputError::io(&self.path))?;
        self.path = self.name.take().unwrap_or_default();
        Ok(())
    }

    /// Waits until it has its name, when everything is written.
    pub(super) async fn settle(&mut self) -> Result<(), OutputError> {
        let Some(name) = &self.name else { return Ok(()) };
        self.syncing = None;
        let moving = self.placing.take().unwrap_or_else(|| syncing::move_to(&self.path, name));
        let moved = moving.await;
        self.placed(moved)
    }
}
