//! HLS: a playlist with MPEG-TS segments in a directory.

use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::spec::HlsDestination;
use super::tail::Tail;
use crate::probe::{self, Source, Wanted};

const PLAYLIST: &str = "index.m3u8";

#[derive(Debug)]
pub(crate) struct HlsTail {
    destination: HlsDestination,
}

impl HlsTail {
    pub(crate) fn new(destination: HlsDestination) -> Self {
        Self { destination }
    }

    /// A playlist of an earlier run would be taken for ours, and its segments for never-ending ones.
    fn clear(&self) -> Result<(), OutputError> {
        let directory = &self.destination.directory;
        std::fs::create_dir_all(directory).map_err(OutputError::io(directory))?;
        for entry in std::fs::read_dir(directory).map_err(OutputError::io(directory))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let segment = name.strip_prefix("segment").and_then(|rest| rest.strip_suffix(".ts"));
            let ours = name == PLAYLIST
                || segment.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
            if ours {
                std::fs::remove_file(entry.path()).map_err(OutputError::io(entry.path()))?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Tail for HlsTail {
    fn template(&self) -> &'static str {
        "hls"
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        self.clear()?;
        let HlsDestination { directory, segment, list } = &self.destination;
        let sink = attached.element("sink")?;
        // The pattern is printf's: a percent sign in the directory's name would be read as one of its own.
        let escaped = directory.to_string_lossy().replace('%', "%%");
        sink.set_property("location", format!("{escaped}/segment%05d.ts"));
        sink.set_property("playlist-location", directory.join(PLAYLIST).to_string_lossy().as_ref());
        sink.set_property("target-duration", segment);
        sink.set_property("playlist-length", list);
        // A player that has just read the playlist still finds the segments that have left it.
        sink.set_property("max-files", list + 4);
        Ok(())
    }

    async fn verify(&self, _: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let playlist = self.destination.directory.join(PLAYLIST);
        let patience = Duration::from_secs(10 + 3 * u64::from(self.destination.segment));
        probe::first_frames(Source::File(playlist.clone()), wanted, patience).await?;
        Ok(Play::file(&playlist))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_files_of_an_earlier_run_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["index.m3u8", "segment00001.ts", "segment.ts", "holiday.ts", "notes.txt"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let tail = HlsTail::new(HlsDestination { directory: directory.path().into(), segment: 2, list: 6 });
        tail.clear().unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["holiday.ts", "notes.txt", "segment.ts"]);
    }
}
