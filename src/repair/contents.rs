//! What is in a recording, as far as it can be read.

use std::path::Path;
use std::time::Duration;

use gst_pbutils::prelude::*;
use gstreamer as gst;
use gstreamer_pbutils as gst_pbutils;

use super::RepairError;
use crate::media::template::{Ends, Parser};

/// How long a file may take to say what it is.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(15);

/// What is in a recording.
#[derive(Debug)]
pub(super) struct Contents {
    /// Its streams, for the template that copies them.
    pub(super) ends: Ends,
    /// Its length, when it says one.
    pub(super) duration: Option<Duration>,
}

impl Contents {
    pub(super) async fn read(path: &Path) -> Result<Self, RepairError> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || discover(&path))
            .await
            .unwrap_or_else(|error| Err(RepairError::Unreadable(error.to_string())))
    }
}

fn discover(path: &Path) -> Result<Contents, RepairError> {
    let unreadable = |reason: String| RepairError::Unreadable(reason);
    let uri =
        gst::glib::filename_to_uri(std::path::absolute(path)?, None).map_err(|error| unreadable(error.to_string()))?;
    let info = gst_pbutils::Discoverer::new(PATIENCE)
        .and_then(|discoverer| discoverer.discover_uri(&uri))
        .map_err(|error| unreadable(error.to_string()))?;
    let parser = |stream: Option<gst_pbutils::DiscovererStreamInfo>| {
        stream.and_then(|stream| stream.caps()).as_ref().and_then(Parser::for_caps)
    };
    let ends = Ends {
        video: parser(info.video_streams().into_iter().next().map(Cast::upcast)),
        audio: parser(info.audio_streams().into_iter().next().map(Cast::upcast)),
        lower: 0,
    };
    if ends == Ends::default() {
        return Err(unreadable(format!("{:?}: no stream of a form that is recorded here", info.result())));
    }
    Ok(Contents { ends, duration: info.duration().map(Duration::from) })
}
