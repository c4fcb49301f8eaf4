//! Which earlier recordings may be deleted for new ones: files that a manifest names as complete, the oldest first.
//!
//! Nothing else is ever touched: a file must be below the directory that is recorded to, after links are resolved, must be a recording by
//! its name, and a manifest in that directory, or the one that is being written, must say that it has its end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};

use super::manifest::Manifest;

/// What a recording's name ends in.
const ENDINGS: [&str; 7] = ["mkv", "mp4", "webm", "m4a", "ogg", "opus", "wav"];

/// A picture belongs to a recording when it was made while that ran, give or take this.
const ABOUT: SignedDuration = SignedDuration::from_secs(2);

/// An earlier recording.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Earlier {
    /// When it was begun.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// The file.
    pub file: PathBuf,
}

/// The complete recordings below a directory, the oldest first, by the manifests in it and in its directories, and by `own`. What cannot be read
/// is passed over.
pub fn earlier(directory: &Path, own: Option<&Path>) -> Vec<Earlier> {
    let Ok(directory) = directory.canonicalize() else { return Vec::new() };
    let mut manifests = manifests(&directory, 1);
    manifests.extend(own.and_then(|own| own.canonicalize().ok()));
    manifests.sort();
    manifests.dedup();
    let mut found: Vec<_> = manifests.iter().flat_map(|manifest| complete(manifest, &directory)).collect();
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

fn complete(manifest: &Path, directory: &Path) -> Vec<Earlier> {
    let (Ok(session), Some(place)) = (Manifest::read(manifest), manifest.parent()) else { return Vec::new() };
    let files = session.files.iter().filter(|part| part.complete);
    let mixes = session.mixes.iter().filter(|part| part.complete);
    let files = files.map(|part| (&part.path, part.offset, part.duration));
    let all = files.chain(mixes.map(|part| (&part.path, part.offset, part.duration)));
    let earlier = |(path, offset, duration): (&PathBuf, f64, Option<f64>)| {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        // A link would lead to what is not ours; where it is, is asked after all links in its path were followed.
        let file = place.join(path).canonicalize().ok().filter(|file| file.starts_with(directory))?;
        let is_link = std::fs::symlink_metadata(place.join(path)).ok()?.is_symlink();
        let start = session.started.checked_add(SignedDuration::try_from_secs_f64(offset).ok()?).ok()?;
        let end = start.checked_add(SignedDuration::try_from_secs_f64(duration.unwrap_or_default()).ok()?).ok()?;
        (ENDINGS.contains(&ending.as_str()) && file.is_file() && !is_link).then_some(Earlier { start, end, file })
    };
    all.filter_map(earlier).collect()
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
            let made = metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            let made = Timestamp::UNIX_EPOCH.checked_add(made).ok()?;
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
        let past = SystemTime::now() - std::time::Duration::from_secs(3600);
        std::fs::File::options().write(true).open(path("call.0002.jpg")).unwrap().set_modified(past).unwrap();
        let now = Timestamp::now();
        assert_eq!(Earlier { start: now, end: now, file: path("call.part2.mkv") }.delete().unwrap(), 3);
        let mut left: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".0001.jpg", "call.0002.jpg", "call.1.jpg", "call.jpg", "caller.0001.jpg"]);
    }
}
