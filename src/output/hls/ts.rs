//! HLS with MPEG-TS segments: the playlist and the files are `hlssink2`'s.

use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;

use super::super::OutputError;
use super::super::attached::Attached;
use super::super::players::Play;
use super::super::spec::{HlsDestination, Stream, Tracks};
use super::super::streams::Forms;
use super::super::tail::Tail;
use super::directory::{Directory, INDEX};
use super::keyframes;
use crate::media::producer::Patience;
use crate::probe::{self, Source, Wanted};

/// `hlssink2` ends a segment in front of the last keyframe before the target's length: the one that it asks for has to be there by
/// then, or the segment ends with whatever keyframe came before, halfway through. A request, a picture's time and the way back take less.
const LEAD: gst::ClockTime = gst::ClockTime::from_mseconds(250);

#[derive(Debug)]
pub(crate) struct TsTail {
    destination: HlsDestination,
    tracks: Tracks,
}

impl TsTail {
    pub(crate) fn new(destination: HlsDestination, tracks: Tracks) -> Self {
        Self { destination, tracks }
    }
}

#[async_trait]
impl Tail for TsTail {
    fn template(&self) -> &'static str {
        "hls"
    }

    fn patience(&self) -> Patience {
        Patience::Disk
    }

    fn accept(&self, forms: &Forms) -> Result<(), OutputError> {
        let remedy = "let it send H.264 with --codecs h264, or use format=fmp4 for VP9 and AV1";
        forms.only(&["video/x-h264", "audio/mpeg"], "HLS of MPEG-TS", remedy)
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let HlsDestination { directory, segment, list, .. } = &self.destination;
        Directory(directory.clone()).clear().map_err(|(path, error)| OutputError::io(path)(error))?;
        let sink = attached.element("sink")?;
        // The pattern is printf's: a percent sign in the directory's name would be read as one of its own.
        let escaped = directory.to_string_lossy().replace('%', "%%");
        sink.set_property("location", format!("{escaped}/segment%05d.ts"));
        sink.set_property("playlist-location", directory.join(INDEX).to_string_lossy().as_ref());
        sink.set_property("target-duration", segment);
        sink.set_property("playlist-length", list);
        // A player that has just read the playlist still finds the segments that have left it.
        sink.set_property("max-files", list + 4);
        if self.tracks.video == Some(Stream::CopiedVideo) {
            keyframes::ask_in_time(attached, LEAD)?;
        }
        Ok(())
    }

    async fn verify(&self, _: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let playlist = self.destination.directory.join(INDEX);
        let patience = Duration::from_secs(10 + 3 * u64::from(self.destination.segment));
        probe::first_frames(Source::File(playlist.clone()), wanted, patience).await?;
        Ok(Play::file(&playlist))
    }
}
