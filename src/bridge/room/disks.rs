//! Disks that recordings fill: earlier ones go if that is wished, or the new ones end.

use std::path::Path;

use tokio::task::JoinHandle;

use super::super::disk::{DiskState, Pruned, make_room};
use super::super::events::Event;
use super::Room;

/// Earlier recordings are deleted on a thread of its own: a large file takes its time.
#[derive(Debug, Default)]
pub(super) struct Pruning {
    task: Option<JoinHandle<Vec<Pruned>>>,
    /// The last one found nothing to delete.
    exhausted: bool,
}

impl Pruning {
    /// Has room made on a full disk; false when there is nothing left to delete. Called again until there is room.
    fn makes_room(&mut self, directory: &Path, own: Option<&Path>, floor: u64) -> bool {
        if self.task.is_none() && !std::mem::take(&mut self.exhausted) {
            let (directory, own) = (directory.to_owned(), own.map(Path::to_owned));
            self.task = Some(tokio::task::spawn_blocking(move || make_room(&directory, own.as_deref(), floor)));
        }
        self.task.is_some()
    }

    async fn done(&mut self) -> Vec<Pruned> {
        let Some(task) = self.task.take_if(|task| task.is_finished()) else { return Vec::new() };
        let pruned = task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the thread that deletes earlier recordings failed");
            Vec::new()
        });
        self.exhausted = pruned.is_empty();
        pruned
    }
}

impl Room {
    async fn tell_pruned(&mut self) {
        for Pruned { file, bytes, start } in self.pruning.done().await {
            self.tell(Event::RecordingPruned { file, bytes, start }).await;
        }
    }

    /// Looks at the disks of recordings, and ends those whose disk is nearly full.
    pub(super) async fn watch_disks(&mut self) -> Vec<DiskState> {
        self.tell_pruned().await;
        let Some((outputs, _)) = &self.outputs else { return Vec::new() };
        let own = self.chronicle.as_ref().map(|chronicle| chronicle.path());
        let floor = self.config.disk_floor;
        let (mut states, mut ended) = (Vec::<DiskState>::new(), Vec::new());
        for spec in outputs.running() {
            let Some(directory) = spec.recording_directory() else { continue };
            let known = states.iter().find(|state| state.directory == directory).cloned();
            let Some(state) = known.clone().or_else(|| self.disks.look(directory, floor)) else { continue };
            let full = state.free < floor;
            if full && !(self.config.prune && self.pruning.makes_room(directory, own, floor)) {
                let error = format!(
                    "{} has only {} MB left, fewer than --disk-floor {} MB: the recording was ended",
                    directory.display(),
                    state.free / 1_000_000,
                    floor / 1_000_000
                );
                ended.extend(outputs.end(spec, &error).then(|| (spec.to_string(), error)));
            }
            if known.is_none() {
                states.push(state);
            }
        }
        for (output, error) in ended {
            let participant = self.instances.participant(&output);
            self.tell(Event::OutputFailed { output, participant, error, retry_in: None }).await;
        }
        states
    }
}
