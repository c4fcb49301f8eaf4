//! Which earlier recordings may be deleted for new ones: files that a manifest names, those that are complete first, and the oldest of
//! them first; then what a crash has left without an end.
//!
//! Nothing else is ever touched: a file must be below the directory that is recorded to, after links are resolved, must be a recording by
//! its name, and a manifest in that directory, or the one that is being written, must name it. What has no end must have no writer
//! ([`writers`]) either, and have been left alone for a while: a writer on a file system without locks is not seen otherwise.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};

use super::manifest::Manifest;
use crate::writers;

/// What a recording's name ends in.
const ENDINGS: [&str; 7] = ["mkv", "mp4", "webm", "m4a", "ogg", "opus", "wav"];

/// A picture belongs to a recording when it was made while that ran, give or take this.
const ABOUT: SignedDuration = SignedDuration::from_secs(2);

/// What has no end, and was not written to for this long, is written by nobody.
const QUIET: Duration = Duration::from_secs(60);

/// An earlier recording. Those that may go sooner are less.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Earlier {
    /// It has no end: it may have been repaired, or can be.
    pub cut_off: bool,
    /// When it was begun.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// The file.
    pub file: PathBuf,
}

/// The recordings below a directory that nobody writes, by the manifests in it and in its directories, and by `own`: the complete
/// ones first, and the oldest first. What cannot be read is passed over.
pub fn earlier(directory: &Path, own: Option<&Path>) -> Vec<Earlier> {
    let Ok(directory) = directory.canonicalize() else { return Vec::new() };
    let mut manifests = manifests(&directory, 1);
    manifests.extend(own.and_then(|own| own.canonicalize().ok()));
    manifests.sort();
    manifests.dedup();
    let mut found: Vec<_> = manifests.iter().flat_map(|manifest| named(manifest, &directory)).collect();
    found.sort();
    found.dedup();
    found
}

/// Manifests in a directory and in those below it.
fn manifests(directory: &Path, deeper: u8) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && deeper > 0 => found.extend(manifests(&entry.path(), deeper - 1)),
            Ok(kind) if kind.is_file() && is_manifest(&name) => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// `session.json`, `ROOM.session.json`, and the same with a number: `session.1.json`.
fn is_manifest(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".json").filter(|_| !name.starts_with('.')) else { return false };
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = stem.rsplit_once('.').filter(|(_, last)| number(last)).map_or(stem, |(stem, _)| stem);
    stem == "session" || stem.ends_with(".session")
}

fn named(manifest: &Path, directory: &Path) -> Vec<Earlier> {
    let (Ok(session), Some(place)) = (Manifest::read(manifest), manifest.parent()) else { return Vec::new() };
    let files = session.files.iter().map(|part| (&part.path, part.offset, part.duration, part.complete));
    let mixes = session.mixes.iter().map(|part| (&part.path, part.offset, part.duration, part.complete));
    let earlier = |(path, offset, duration, complete): (&PathBuf, f64, Option<f64>, bool)| {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        // A link would lead to what is not ours; where it is, is asked after all links in its path were followed.
        let file = place.join(path).canonicalize().ok().filter(|file| file.starts_with(directory))?;
        let is_link = std::fs::symlink_metadata(place.join(path)).ok()?.is_symlink();
        let start = session.started.checked_add(SignedDuration::try_from_secs_f64(offset).ok()?).ok()?;
        if !ENDINGS.contains(&ending.as_str()) || !file.is_file() || is_link {
            return None;
        }
        let end = match duration {
            Some(duration) => start.checked_add(SignedDuration::try_from_secs_f64(duration).ok()?).ok()?,
            None => changed(&std::fs::metadata(&file).ok()?)?,
        };
        let cut_off = !complete;
        (complete || is_left(&file)).then_some(Earlier { cut_off, start, end, file })
    };
    files.chain(mixes).filter_map(earlier).collect()
}

/// Whether nobody writes it any more.
fn is_left(file: &Path) -> bool {
    let changed = std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    let quiet = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
    quiet.is_some_and(|quiet| quiet >= QUIET) && writers::has_none(file)
}

/// When a file was written to.
fn changed(metadata: &std::fs::Metadata) -> Option<Timestamp> {
    let since = metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::UNIX_EPOCH.checked_add(since).ok()
}

impl Earlier {
    /// Deletes it and its pictures. Returns its size.
    ///
    /// # Errors
    /// What the file system says.
    pub fn delete(&self) -> io::Result<u64> {
        let bytes = std::fs::metadata(&self.file)?.len();
        std::fs::remove_file(&self.file)?;
        for picture in self.pictures() {
            if let Err(error) = std::fs::remove_file(&picture) {
                tracing::debug!(picture = %picture.display(), %error, "could not be deleted");
            }
        }
        Ok(bytes)
    }

    /// `NAME.0001.jpg` beside `NAME….mkv`, made while it was.
    fn pictures(&self) -> Vec<PathBuf> {
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let entries = self.file.parent().and_then(|directory| std::fs::read_dir(directory).ok());
        let is_one = |path: &PathBuf| {
            let name = path.file_name()?.to_str()?.strip_suffix(".jpg")?;
            let (base, number) = name.rsplit_once('.')?;
            let named = !base.is_empty() && stem.starts_with(base);
            let numbered = number.len() >= 4 && number.bytes().all(|byte| byte.is_ascii_digit());
            let metadata = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
            let made = changed(&metadata)?;
            let then = self.start.checked_sub(ABOUT).ok()? <= made && made <= self.end.checked_add(ABOUT).ok()?;
            (named && numbered && then).then_some(())
        };
        entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_one(path).is_some())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::MixPart;
    use super::*;

    fn part(path: &str, offset: f64, complete: bool) -> MixPart {
        let (duration, tracks) = (complete.then_some(5.0), Vec::new());
        MixPart { path: path.into(), output: "o".into(), part: 1, tracks, offset, duration, complete }
    }

    fn write(path: &Path, started: Timestamp, mixes: Vec<MixPart>) {
        let manifest = Manifest { mixes, ..Manifest::new("r", started) };
        std::fs::write(path, serde_json::to_string(&manifest).unwrap()).unwrap();
    }

    #[test]
    fn only_complete_files_of_manifests_below_the_directory_and_the_oldest_first() {
        let outer = tempfile::tempdir().unwrap();
        let directory = outer.path().join("rec");
        std::fs::create_dir_all(directory.join("room")).unwrap();
        for file in [
            "rec/new.mkv",
            "rec/old.mp4",
            "rec/growing.mkv",
            "rec/room/b.mkv",
            "rec/notes.txt",
            "rec/foreign.mkv",
            "else.mkv",
        ] {
            std::fs::write(outer.path().join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink(outer.path().join("else.mkv"), directory.join("link.mkv")).unwrap();
        std::os::unix::fs::symlink(directory.join("foreign.mkv"), directory.join("inner.mkv")).unwrap();
        let (early, late) = ("2026-01-02T03:04:05Z".parse().unwrap(), "2026-01-03T03:04:05Z".parse().unwrap());
        let all = ["../else.mkv", "link.mkv", "inner.mkv", "notes.txt", "gone.mkv", "/etc/passwd", "../rec/new.mkv"];
        let all = all.into_iter().map(|path| part(path, 0.0, true)).chain([part("growing.mkv", 9.0, false)]);
        write(&directory.join("session.json"), late, all.collect());
        write(&directory.join("r.session.2.json"), early, vec![part("old.mp4", 5.0, true)]);
        write(&directory.join("room/session.json"), early, vec![part("b.mkv", 4.0, true)]);
        write(&directory.join("other.json"), early, vec![part("foreign.mkv", 4.0, true)]);
        let found = earlier(&directory, None);
        let names: Vec<_> = found.iter().map(|earlier| earlier.file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["b.mkv", "old.mp4", "new.mkv"]);
        assert_eq!(earlier(&outer.path().join("nothing"), None), []);
    }

    /// Makes a file look as if nobody had written to it for an hour.
    fn age(path: &Path) {
        let past = SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
    }

    #[test]
    fn what_a_crash_has_left_comes_after_what_is_complete_and_what_is_written_never() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let names = ["whole.mkv", "left.mkv", "later.mp4", "fresh.mkv", "written.mkv"];
        for name in names {
            std::fs::write(path(name), "x").unwrap();
        }
        for name in ["left.mkv", "later.mp4", "written.mkv"] {
            age(&path(name));
        }
        let writer = writers::begin(&path("written.mkv")).unwrap();
        let started = "2026-01-02T03:04:05Z".parse().unwrap();
        let offsets = [9.0, 1.0, 2.0, 0.0, 0.0];
        let parts = names.into_iter().zip(offsets).map(|(name, offset)| part(name, offset, name == "whole.mkv"));
        write(&path("session.json"), started, parts.collect());
        let found = || {
            let found = earlier(directory.path(), None).into_iter();
            found.map(|it| it.file.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(), ["whole.mkv", "left.mkv", "later.mp4"]);
        drop(writer);
        assert_eq!(found(), ["whole.mkv", "written.mkv", "left.mkv", "later.mp4"], "its writer is gone");
    }

    #[test]
    fn pictures_that_were_made_meanwhile_go_with_their_recording() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in [
            "call.part2.mkv",
            "call.0001.jpg",
            "call.0002.jpg",
            "caller.0001.jpg",
            "call.jpg",
            "call.1.jpg",
            ".0001.jpg",
        ] {
            std::fs::write(path(name), "xyz").unwrap();
        }
        age(&path("call.0002.jpg"));
        let now = Timestamp::now();
        assert_eq!(Earlier { cut_off: false, start: now, end: now, file: path("call.part2.mkv") }.delete().unwrap(), 3);
        let mut left: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".0001.jpg", "call.0002.jpg", "call.1.jpg", "call.jpg", "caller.0001.jpg"]);
    }
}
