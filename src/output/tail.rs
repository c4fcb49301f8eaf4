//! What each kind of output adds to the common life of an output: its template, its settings, its proof, its end.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use gstreamer as gst;

use super::OutputError;
use super::attached::Attached;
use super::file::FileTail;
use super::hls::HlsTail;
use super::live_ts::LiveTsTail;
use super::players::Play;
use super::rtp::RtpTail;
use super::spec::{Container, Destination, OutputSpec, Stream};
use crate::media::elements::Job;
use crate::probe::Wanted;

/// What is the same for all outputs of a bridge.
#[derive(Clone, Debug)]
pub struct Session {
    /// The room's name.
    pub room: String,
    /// Pictures per second of the mix.
    pub fps: i32,
    /// Bits per second of video and of sound.
    pub bitrates: (u32, u32),
}

/// One kind of output.
#[async_trait]
pub(crate) trait Tail: Send + Sync + fmt::Debug {
    /// The file in `pipelines/`.
    fn template(&self) -> &'static str;

    /// Sets locations, hosts and ports on the built pipeline, before it plays.
    fn configure(&self, attached: &Attached) -> Result<(), OutputError>;

    /// The file that it writes, when it is one.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Waits until roomcast itself could play the result as a player would.
    async fn verify(&self, pipeline: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError>;

    /// Whether what was written needs an end to be complete.
    fn has_end(&self) -> bool {
        true
    }

    /// After the end of the stream was written.
    async fn finish(&self) -> Result<(), OutputError> {
        Ok(())
    }
}

/// The tail for a destination; `attempt` counts from 0.
pub(crate) fn tail(spec: &OutputSpec, session: &Session, attempt: u32) -> Result<Box<dyn Tail>, OutputError> {
    Ok(match &spec.destination {
        Destination::Rtp(rtp) => Box::new(RtpTail::new(rtp.clone(), session.clone(), attempt)),
        Destination::Hls(hls) => Box::new(HlsTail::new(hls.clone())),
        Destination::File(file) => Box::new(FileTail::prepare(file.clone(), attempt)?),
        Destination::TsSocket(path) => Box::new(LiveTsTail::new(path.clone())),
    })
}

impl OutputSpec {
    /// What this machine's GStreamer must be able to do for it.
    pub fn jobs(&self) -> Vec<Job> {
        let mut jobs = vec![match &self.destination {
            Destination::Rtp(_) => Job::Rtp,
            Destination::Hls(_) => Job::Hls,
            Destination::TsSocket(_) => Job::Ts,
            Destination::File(file) => match file.container {
                Container::Matroska => Job::Mkv,
                Container::Mp4 => Job::Mp4,
                Container::WebM => Job::Webm,
            },
        }];
        if self.tracks.audio == Some(Stream::Aac) {
            jobs.push(Job::EncodeAudio);
        }
        jobs
    }
}
