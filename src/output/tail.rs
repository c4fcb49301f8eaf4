//! What each kind of output adds to the common life of an output: its template, its settings, its proof, its end.

use std::fmt;

use async_trait::async_trait;
use gstreamer as gst;

use super::OutputError;
use super::attached::Attached;
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

/// The tail for a destination; `attempt` counts from 0. A recording has none: it is more than one pipeline (`recording`).
pub(crate) fn tail(spec: &OutputSpec, session: &Session, attempt: u32) -> Option<Box<dyn Tail>> {
    Some(match &spec.destination {
        Destination::Rtp(rtp) => Box::new(RtpTail::new(rtp.clone(), session.clone(), attempt)),
        Destination::Hls(hls) => Box::new(HlsTail::new(hls.clone())),
        Destination::File(_) => return None,
        Destination::TsSocket(path) => Box::new(LiveTsTail::new(path.clone())),
    })
}

impl OutputSpec {
    /// The pipelines that it is made of: each must be buildable before the room is joined.
    pub fn templates(&self) -> Vec<&'static str> {
        match &self.destination {
            Destination::Rtp(_) => vec!["rtp"],
            Destination::Hls(_) => vec!["hls"],
            Destination::TsSocket(_) => vec!["ts"],
            Destination::File(file) => {
                let seekable = (file.container == Container::Mp4).then_some("remux-mp4");
                let thumbs = file.thumbs.map(|_| "thumbs");
                [Some(file.template()), seekable, thumbs].into_iter().flatten().collect()
            }
        }
    }

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
                Container::Ogg => Job::Ogg,
                Container::Wav => Job::Wav,
            },
        }];
        if matches!(&self.destination, Destination::File(file) if file.thumbs.is_some()) {
            jobs.push(Job::Thumbs);
        }
        if self.tracks.audio == Some(Stream::Aac) {
            jobs.push(Job::EncodeAudio);
        }
        jobs
    }
}
