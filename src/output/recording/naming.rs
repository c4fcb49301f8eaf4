//! What the files of a recording are called. None is ever overwritten.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::super::OutputError;
use super::super::names;
use super::super::spec::{FileDestination, parent};

/// Names that are tried one after the other.
const ATTEMPTS: u32 = 1_000_000;

#[derive(Debug)]
pub(super) struct Naming {
    pattern: String,
    room: String,
    /// Whether files are told apart by their number: `{index}`, or `.partN`.
    indexed: bool,
    timed: bool,
    /// Whether even the first file has its number.
    split: bool,
    /// Whether what has the name of an unnumbered file is moved aside; otherwise that is part 1, and numbers go on after it.
    aside: bool,
    next: u32,
}

impl Naming {
    /// `aside` says whether what has the name of an unnumbered file is moved aside; otherwise that is part 1.
    pub(super) fn new(file: &FileDestination, room: &str, aside: bool) -> Self {
        let pattern = file.path.to_string_lossy().into_owned();
        let has = |key| names::keys(&pattern).contains(&key);
        let (indexed, timed) = (has("index"), has("time"));
        Self { pattern, room: room.to_owned(), indexed, timed, split: file.split.is_some(), aside, next: 1 }
    }

    /// Makes the next file, empty, for a part that begins at `start`. Numbers go on after those of earlier recordings; what has
    /// the name of an unnumbered file is moved aside, unless it is to be gone on with.
    pub(super) fn create(&mut self, start: Timestamp) -> Result<PathBuf, OutputError> {
        for number in self.next..=self.next.saturating_add(ATTEMPTS) {
            let path = self.name(start, number);
            std::fs::create_dir_all(parent(&path)).map_err(OutputError::io(parent(&path)))?;
            if self.aside
                && number == 1
                && !self.indexed
                && !self.timed
                && !self.split
                && let Some(kept) = keep_existing(&path).map_err(OutputError::io(&path))?
            {
                tracing::info!(file = %path.display(), kept = %kept.display(), "an earlier recording was kept");
            }
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(_) => {
                    self.next = number.saturating_add(1);
                    return Ok(path);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(OutputError::io(&path)(error)),
            }
        }
        Err(OutputError::io(self.name(start, self.next))(ErrorKind::AlreadyExists.into()))
    }

    fn name(&self, start: Timestamp, number: u32) -> PathBuf {
        let (time, index) = (start.strftime("%Y%m%dT%H%M%SZ").to_string(), format!("{number:04}"));
        let path = names::fill(&self.pattern, &[("room", &self.room), ("time", &time), ("index", &index)]);
        let told_apart = self.indexed || self.timed;
        // A time names a part as well as a number does, until two begin in one second.
        let taken = || self.timed && !self.indexed && std::fs::symlink_metadata(&path).is_ok();
        if (!told_apart && (self.split || number > 1)) || taken() {
            with_stem(&path, |stem| format!("{stem}.part{number}"))
        } else {
            path
        }
    }
}

/// Moves an existing file aside as `name.1.ext`, `name.2.ext` …
fn keep_existing(path: &Path) -> std::io::Result<Option<PathBuf>> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    let free = (1u32..)
        .map(|number| with_stem(path, |stem| format!("{stem}.{number}")))
        .find(|candidate| std::fs::symlink_metadata(candidate).is_err());
    let Some(kept) = free else { return Ok(None) };
    std::fs::rename(path, &kept)?;
    Ok(Some(kept))
}

/// The path with another name in front of its ending.
pub(super) fn with_stem(path: &Path, rename: impl FnOnce(&str) -> String) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{}.{ending}", rename(&stem)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::spec::{Destination, OutputSpec};

    fn naming(directory: &Path, output: &str, room: &str) -> Naming {
        let spec: OutputSpec = format!("{}/{output}", directory.display()).parse().unwrap();
        let Destination::File(file) = spec.destination else { panic!() };
        Naming::new(&file, room, true)
    }

    fn names(directory: &Path, output: &str, room: &str, seconds: &[i64]) -> Vec<String> {
        let mut naming = naming(directory, output, room);
        let create = |second: &i64| {
            let path = naming.create(Timestamp::from_second(1_700_000_000 + second).unwrap()).unwrap();
            path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned()
        };
        seconds.iter().map(create).collect()
    }

    #[test]
    fn a_recording_never_overwrites_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("call.mkv");
        for text in ["first", "second", "third"] {
            assert_eq!(names(directory.path(), "call.mkv", "r", &[0]), ["call.mkv"]);
            std::fs::write(&path, text).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(
            (read("call.1.mkv"), read("call.2.mkv"), read("call.mkv")),
            ("first".into(), "second".into(), "third".into())
        );
    }

    #[test]
    fn further_files_are_parts_and_numbers_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        assert_eq!(names(directory, "a.mp4", "r", &[0, 1]), ["a.mp4", "a.part2.mp4"]);
        assert_eq!(names(directory, "b.mp4?split=1s", "r", &[0, 1]), ["b.part1.mp4", "b.part2.mp4"]);
        assert_eq!(names(directory, "b.mp4?split=1s", "r", &[0]), ["b.part3.mp4"]);
        assert_eq!(names(directory, "c-{index}.mp4", "r", &[0, 1]), ["c-0001.mp4", "c-0002.mp4"]);
        assert_eq!(names(directory, "c-{index}.mp4", "r", &[0]), ["c-0003.mp4"]);
        assert_eq!(
            names(directory, "{room}/{time}.mkv", "weekly", &[0, 0, 1]),
            ["weekly/20231114T221320Z.mkv", "weekly/20231114T221320Z.part2.mkv", "weekly/20231114T221321Z.mkv"]
        );
    }

    #[test]
    fn what_a_killed_bridge_has_left_is_the_part_before() {
        let directory = tempfile::tempdir().unwrap();
        for (output, expected) in
            [("a.mkv", "a.part2.mkv"), ("b-{index}.mkv", "b-0002.mkv"), ("c.mp4?split=1s", "c.part2.mp4")]
        {
            let first = names(directory.path(), output, "r", &[0]).remove(0);
            std::fs::write(directory.path().join(&first), "first").unwrap();
            let mut next = naming(directory.path(), output, "r");
            next.aside = false;
            let path = next.create(Timestamp::from_second(1_700_000_001).unwrap()).unwrap();
            assert_eq!(path, directory.path().join(expected));
            assert_eq!(std::fs::read_to_string(directory.path().join(first)).unwrap(), "first");
        }
    }

    #[test]
    fn a_room_cannot_name_a_file_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let name = &names(directory.path(), "{room}.mkv", "../../etc/x", &[0])[0];
        assert!(!name.contains('/') && name.ends_with(".mkv"), "{name}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let mut naming = naming(Path::new("/proc/none"), "a.mkv", "r");
        let error = naming.create(Timestamp::UNIX_EPOCH).unwrap_err().to_string();
        assert!(error.contains("/proc/none"), "{error}");
    }
}
