//! `report.json`: what is known of the recordings in its directory. Bridges and runs share it; the newest word on a file counts.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::Verified;

/// Its name.
pub(crate) const NAME: &str = "report.json";

/// The version of its form.
const FORMAT: u32 = 1;

/// The oldest good files are forgotten first.
pub(super) const MOST_FILES: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Report {
    format: u32,
    files: Vec<Verified>,
}

/// Takes one file's verdict in. What is there and is no such report is left alone: an error of kind `AlreadyExists`.
pub(super) fn add(directory: &Path, verified: &Verified) -> io::Result<()> {
    let path = directory.join(NAME);
    // Other bridges may write to the same directory. Freed when the descriptor is closed.
    let lock = File::open(directory)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let mut report = match std::fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice::<Report>(&bytes).ok().filter(|report| report.format == FORMAT).ok_or_else(|| {
                io::Error::new(io::ErrorKind::AlreadyExists, "there is another file of this name, which is left alone")
            })?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Report { format: FORMAT, files: Vec::new() },
        Err(error) => return Err(error),
    };
    let mut verified = verified.clone();
    verified.file = verified.file.file_name().map(Into::into).unwrap_or(verified.file);
    report.files.retain(|known| known.file != verified.file);
    report.files.push(verified);
    shorten(&mut report.files);
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    let mut file = tempfile::Builder::new().prefix(".report").suffix(".json").tempfile_in(directory)?;
    // A temporary file is for its owner alone; a report is for whoever may read the recording.
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

/// Keeps as many as there is room for, and whatever is wrong rather than what is good.
pub(super) fn shorten(files: &mut Vec<Verified>) {
    while files.len() > MOST_FILES {
        let oldest_good = files.iter().position(|file| file.faults.is_empty()).unwrap_or(0);
        files.remove(oldest_good);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::verdict::Fault;
    use super::*;

    fn verified(name: &str, faults: usize) -> Verified {
        let fault = Fault { fault: "gaps".into(), text: "a gap".into() };
        Verified {
            file: Path::new("/somewhere").join(name),
            output: name.into(),
            room: "r".into(),
            started: "2026-01-02T03:04:05Z".parse().unwrap(),
            wall: 10.0,
            complete: true,
            verified: "2026-01-02T03:05:05Z".parse().unwrap(),
            verdict: if faults == 0 { Verdict::Ok } else { Verdict::Fault },
            skipped: None,
            faults: vec![fault; faults],
            announced: Default::default(),
            probe: None,
        }
    }

    fn read(directory: &Path) -> Vec<(String, usize)> {
        let report: Report = serde_json::from_slice(&std::fs::read(directory.join(NAME)).unwrap()).unwrap();
        report.files.iter().map(|file| (file.file.display().to_string(), file.faults.len())).collect()
    }

    #[test]
    fn files_of_several_runs_share_a_report_and_the_newest_word_on_each_counts() {
        let directory = tempfile::tempdir().unwrap();
        for (name, faults) in [("a.mkv", 1), ("b.mkv", 0), ("a.mkv", 0)] {
            add(directory.path(), &verified(name, faults)).unwrap();
        }
        assert_eq!(read(directory.path()), [("b.mkv".into(), 0), ("a.mkv".into(), 0)]);
        let entries = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(entries, 1, "nothing else stays behind");
    }

    #[test]
    fn bridges_that_write_at_the_same_time_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let directory = directory.path();
                scope.spawn(move || {
                    for file in 0..5 {
                        add(directory, &verified(&format!("{thread}-{file}.mkv"), 0)).unwrap();
                    }
                });
            }
        });
        assert_eq!(read(directory.path()).len(), 20);
    }

    #[test]
    fn what_somebody_else_wrote_stays() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["{\"room\":\"r\"}", "my own notes", "{\"format\":2,\"files\":[]}"] {
            std::fs::write(directory.path().join(NAME), text).unwrap();
            let error = add(directory.path(), &verified("a.mkv", 0)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read_to_string(directory.path().join(NAME)).unwrap(), text);
        }
    }

    #[test]
    fn a_long_list_forgets_good_files_and_keeps_bad_ones() {
        let mut files = vec![verified("bad.mkv", 1)];
        files.extend((0..MOST_FILES + 5).map(|number| verified(&format!("{number}.mkv"), 0)));
        shorten(&mut files);
        assert_eq!(files.len(), MOST_FILES);
        assert!(files[0].file.ends_with("bad.mkv") && files[1].file.ends_with("6.mkv"), "{:?}", files[1].file);
    }
}
