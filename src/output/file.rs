//! Recordings: Matroska, MP4 and WebM.
//!
//! What is on the disk is playable at every moment, whatever ends the process. An MP4 is written in fragments and made
//! into a plain seekable file after a clean stop. A recording never overwrites another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::spec::{Container, FileDestination};
use super::tail::Tail;
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::media::pipeline::LivePipeline;
use crate::media::template;
use crate::probe::{self, Source, Wanted};

/// How long the first fragment may take.
const FIRST_FRAGMENT: Duration = Duration::from_secs(15);

/// How long making an MP4 seekable may take; a disk that is slower leaves the fragmented file, which plays as well.
const REMUX: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct FileTail {
    path: PathBuf,
    container: Container,
}

impl FileTail {
    /// Chooses the file's name: attempts after the first write a further part, and an existing file is moved aside.
    pub(crate) fn prepare(destination: FileDestination, attempt: u32) -> Result<Self, OutputError> {
        let FileDestination { path, container } = destination;
        let path = if attempt == 0 { path } else { part(&path, attempt + 1) };
        if let Some(kept) = keep_existing(&path).map_err(OutputError::io(&path))? {
            tracing::info!(file = %path.display(), kept = %kept.display(), "an earlier recording was kept");
        }
        Ok(Self { path, container })
    }
}

#[async_trait]
impl Tail for FileTail {
    fn template(&self) -> &'static str {
        match self.container {
            Container::Matroska => "mkv",
            Container::Mp4 => "fmp4",
            Container::WebM => "webm",
        }
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        attached.element("sink")?.set_property("location", self.path.to_string_lossy().as_ref());
        Ok(())
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn verify(&self, _: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let source = Source::File(self.path.clone());
        probe::first_frames(source, wanted, FIRST_FRAGMENT).await?;
        Ok(Play::file(&self.path))
    }

    async fn finish(&self) -> Result<(), OutputError> {
        if self.container == Container::Mp4 {
            let plain = with_stem(&self.path, |stem| format!(".{stem}.seekable"));
            let made = remux(&self.path, &plain).await;
            let replaced = match made {
                Ok(()) => std::fs::rename(&plain, &self.path).map_err(OutputError::io(&self.path)),
                Err(error) => Err(error),
            };
            if let Err(error) = replaced {
                // The fragmented file is complete: it stays, and only seeking is slower.
                tracing::warn!(file = %self.path.display(), %error, "could not be made seekable: it stays fragmented");
                std::fs::remove_file(&plain).ok();
            }
        }
        Ok(())
    }
}

/// Copies the streams of a fragmented MP4 into a plain one, index first.
async fn remux(from: &Path, to: &Path) -> Result<(), OutputError> {
    let mut live = LivePipeline::new(template::build("remux-mp4", "remux")?, &MediaClock::start())?;
    live.element("source")?.set_property("location", from.to_string_lossy().as_ref());
    live.element("sink")?.set_property("location", to.to_string_lossy().as_ref());
    let run = async {
        live.play().await?;
        loop {
            match live.next_event().await {
                Some(BusEvent::Eos) => return Ok(()),
                Some(BusEvent::Error(fault)) => return Err(OutputError::Pipeline(fault)),
                Some(BusEvent::Warning(_)) => {}
                None => return Err(OutputError::Ended),
            }
        }
    };
    let result = tokio::time::timeout(REMUX, run).await.unwrap_or_else(|_| {
        Err(OutputError::NotReady { what: "the seekable copy was not finished".into(), waited: REMUX })
    });
    live.stop().await;
    result
}

/// The first further part with this number or a higher one that does not exist yet: none is moved while it is written.
fn part(path: &Path, from: u32) -> PathBuf {
    let part = |number: u32| with_stem(path, |stem| format!("{stem}.part{number}"));
    (from..).map(part).find(|part| std::fs::symlink_metadata(part).is_err()).unwrap_or_else(|| part(from))
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

fn with_stem(path: &Path, rename: impl FnOnce(&str) -> String) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{}.{ending}", rename(&stem)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_never_overwrites_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("call.mkv");
        for text in ["first", "second", "third"] {
            let tail =
                FileTail::prepare(FileDestination { path: path.clone(), container: Container::Matroska }, 0).unwrap();
            assert_eq!(tail.path, path);
            std::fs::write(&path, text).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(
            (read("call.1.mkv"), read("call.2.mkv"), read("call.mkv")),
            ("first".into(), "second".into(), "third".into())
        );
    }

    #[test]
    fn a_second_attempt_writes_a_further_part() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("call.mp4");
        std::fs::write(&path, "first part").unwrap();
        let tail = FileTail::prepare(FileDestination { path: path.clone(), container: Container::Mp4 }, 1).unwrap();
        assert_eq!(tail.path, directory.path().join("call.part2.mp4"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first part");
    }
}
