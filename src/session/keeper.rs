//! Keeps a manifest on the disk: whole at every moment, whatever ends the process. The newest state wins.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::manifest::{Manifest, ManifestError};
use crate::durable;

/// Writes one manifest after every change, from a task of its own: a slow disk holds up nobody.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    newest: watch::Sender<Option<Manifest>>,
    writing: JoinHandle<()>,
}

impl Keeper {
    /// Starts to keep `path`.
    pub fn start(path: PathBuf) -> Self {
        let (newest, changes) = watch::channel(None);
        let writing = tokio::spawn(keep(path.clone(), changes));
        Self { path, newest, writing }
    }

    /// The manifest's place.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has this written soon.
    pub fn keep(&self, manifest: &Manifest) {
        self.newest.send_replace(Some(manifest.clone()));
    }

    /// Waits until the last change is on the disk.
    pub async fn finish(self) {
        drop(self.newest);
        if let Err(error) = self.writing.await {
            tracing::error!(%error, "the manifest's writer failed");
        }
    }
}

async fn keep(path: PathBuf, mut changes: watch::Receiver<Option<Manifest>>) {
    // The last change is seen even when its sender is gone already.
    while changes.changed().await.is_ok() {
        let manifest = changes.borrow_and_update().clone();
        let to = path.clone();
        let written = tokio::task::spawn_blocking(move || manifest.map_or(Ok(()), |manifest| write(&to, &manifest)));
        if let Ok(Err(error)) = written.await {
            tracing::error!(manifest = %path.display(), %error, "the manifest cannot be written");
        }
    }
}

/// Replaces the manifest in one step. It has one writer: what a kill has left of a change has the name that the next change takes.
fn write(path: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(manifest)?;
    text.push('\n');
    let unfinished = unfinished(path);
    // A file of its own: what has this name may be a link.
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create_new(&unfinished)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&unfinished, path)) {
        std::fs::remove_file(&unfinished).ok();
        return Err(error);
    }
    durable::name(path)
}

/// `.session.json.new`
fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// What an earlier run left at this place: its session goes on when it was killed; one that ended stays, as `session.1.json`.
pub(super) fn take_up(path: &Path, room: &str) -> Result<Option<Manifest>, ManifestError> {
    if !path.exists() {
        return Ok(None);
    }
    let earlier = Manifest::read(path).ok().filter(|earlier| earlier.ended.is_none() && earlier.room == room);
    if earlier.is_some() {
        return Ok(earlier);
    }
    let kept = (1u32..).map(|number| path.with_extension(format!("{number}.json"))).find(|kept| !kept.exists());
    let failed = |error| ManifestError::File { path: path.to_owned(), error };
    kept.map_or(Ok(()), |kept| std::fs::rename(path, kept)).map_err(failed)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_state_is_on_the_disk_when_it_finishes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.json");
        let keeper = Keeper::start(path.clone());
        let mut manifest = Manifest::new("r", "2026-01-02T03:04:05Z".parse().unwrap());
        for second in 0..50 {
            manifest.restarts.push(f64::from(second));
            keeper.keep(&manifest);
        }
        keeper.finish().await;
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn what_a_kill_has_left_of_a_change_goes_with_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (directory.path().join("weekly.session.json"), directory.path().join("elsewhere"));
        std::fs::write(&elsewhere, "not ours").unwrap();
        let manifest = Manifest::new("r", "2026-01-02T03:04:05Z".parse().unwrap());
        std::fs::write(unfinished(&path), "{ \"roo").unwrap();
        write(&path, &manifest).unwrap();
        std::os::unix::fs::symlink(&elsewhere, unfinished(&path)).unwrap();
        write(&path, &manifest).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["elsewhere", "weekly.session.json"]);
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
        assert_eq!(std::fs::read_to_string(elsewhere).unwrap(), "not ours");
        assert!(write(&directory.path().join("gone/session.json"), &manifest).is_err());
    }

    #[test]
    fn a_session_that_was_killed_goes_on_and_one_that_ended_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.json");
        assert_eq!(take_up(&path, "r").unwrap(), None);
        let mut manifest = Manifest::new("r", "2026-01-02T03:04:05Z".parse().unwrap());
        write(&path, &manifest).unwrap();
        assert_eq!(take_up(&path, "r").unwrap().as_ref(), Some(&manifest));
        assert_eq!(take_up(&path, "another room").unwrap(), None);
        assert!(directory.path().join("session.1.json").exists() && !path.exists());
        manifest.ended = Some(1.0);
        write(&path, &manifest).unwrap();
        assert_eq!(take_up(&path, "r").unwrap(), None);
        assert!(directory.path().join("session.2.json").exists());
    }
}
