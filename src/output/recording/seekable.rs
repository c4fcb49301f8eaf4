//! A fragmented MP4 made into a plain one, index first: its streams are copied, and the file changes its form in one moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::super::OutputError;
use super::naming::with_stem;
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::media::pipeline::LivePipeline;
use crate::media::template::{self, Ends};

/// How long it may take; a disk that is slower leaves the fragmented file, which plays as well.
const REMUX: Duration = Duration::from_secs(120);

/// The copy, which is removed unless it takes the original's place.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Makes the file seekable, or leaves it as it is and says why.
pub(super) async fn make(path: &Path, ends: Ends) {
    let copy = Copy(with_stem(path, |stem| format!(".{stem}.seekable")));
    let replaced = match remux(path, &copy.0, ends).await {
        Ok(()) => std::fs::rename(&copy.0, path).map_err(OutputError::io(path)),
        Err(error) => Err(error),
    };
    if let Err(error) = replaced {
        tracing::warn!(file = %path.display(), %error, "could not be made seekable: it stays fragmented");
    }
}

async fn remux(from: &Path, to: &Path, ends: Ends) -> Result<(), OutputError> {
    let mut live = LivePipeline::new(template::build_with("remux-mp4", "remux", ends)?, &MediaClock::start())?;
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
