//! The files of an HLS directory: what they are called, how they appear, and which of them are ours to delete.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::OutputError;

/// What players open.
pub(super) const INDEX: &str = "index.m3u8";

/// A directory that we write to.
#[derive(Clone, Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes it.
    pub(super) fn create(&self) -> Result<(), (PathBuf, io::Error)> {
        fs::create_dir_all(&self.0).map_err(|error| (self.0.clone(), error))
    }

    /// Lets a file appear or change as a whole: whoever reads sees the old one or the new one.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), (PathBuf, io::Error)> {
        let (path, unfinished) = (self.path(name), self.path(&format!(".{name}.new")));
        let written = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, &path));
        written.map_err(|error| {
            fs::remove_file(&unfinished).ok();
            (path, error)
        })
    }

    /// Deletes a file that has served its time; it does no harm when it stays.
    pub(super) fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.path(name)) {
            tracing::debug!(name, %error, "an old file of an HLS directory could not be deleted");
        }
    }

    /// Deletes what an earlier run has left, but for `kept`: its playlist would be taken for ours, and its segments would stay for ever.
    pub(super) fn sweep(&self, kept: &BTreeSet<String>) -> Result<(), (PathBuf, io::Error)> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        self.create()?;
        for entry in fs::read_dir(&self.0).map_err(at(&self.0))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if is_ours(&name) && !kept.contains(&*name) {
                fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
            }
        }
        Ok(())
    }
}

/// What could not be read or written ends the output, in words that name the file.
pub(super) fn at_path((path, error): (PathBuf, io::Error)) -> OutputError {
    OutputError::io(path)(error)
}

/// Whether a name is one that an HLS output gives: `index.m3u8`, `segment5.ts`, `360p-segment5-part0.m4s`, `init0.mp4` …
pub(super) fn is_ours(name: &str) -> bool {
    let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")).unwrap_or(name);
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rendition = |text: &str| text == "audio" || text.strip_suffix('p').is_some_and(number);
    let plain = stem.split_once('-').filter(|(prefix, _)| rendition(prefix)).map_or(stem, |(_, plain)| plain);
    let after = |word: &str| plain.strip_prefix(word);
    match ending {
        "m3u8" => name == INDEX || rendition(stem),
        "unfinished" => stem == INDEX || stem.strip_suffix(".m3u8").is_some_and(rendition),
        "ts" => stem.strip_prefix("segment").is_some_and(number),
        "mp4" => after("init").is_some_and(number),
        "m4s" => after("segment").is_some_and(|rest| match rest.split_once("-part") {
            Some((segment, part)) => number(segment) && number(part),
            None => number(rest),
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_files_of_an_earlier_run_that_no_playlist_has_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let kept = [
            "call.m3u8",
            "holiday.ts",
            "init.mp4",
            "notes.txt",
            "segment.ts",
            "segment1-part.m4s",
            "segment8.m4s",
            "sp-init0.mp4",
        ];
        let ours = [
            "index.m3u8",
            ".index.m3u8.new",
            "index.m3u8.unfinished",
            "segment00001.ts",
            "segment7.m4s",
            "segment7-part12.m4s",
            "init0.mp4",
            "720p.m3u8",
            "audio.m3u8",
            "720p-segment7.m4s",
            "audio-segment7-part0.m4s",
            "360p-init2.mp4",
        ];
        for name in kept.iter().chain(&ours) {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        Directory(directory.path().into()).sweep(&BTreeSet::from(["segment8.m4s".to_owned()])).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, kept);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let (path, _) = Directory("/proc/none".into()).write("index.m3u8", b"").unwrap_err();
        assert_eq!(path, Path::new("/proc/none/index.m3u8"));
    }
}
