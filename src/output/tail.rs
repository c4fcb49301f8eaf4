//! What each kind of output adds to the common life of an output: its template, its settings, its proof, its end.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use gstreamer as gst;

use super::attached::Attached;
use super::file::FileTail;
use super::hls::HlsTail;
use super::live_ts::LiveTsTail;
use super::players::Play;
use super::rtp::RtpTail;
use super::spec::{Container, Destination, OutputSpec, WhipVideo};
use super::uplink::Uplink;
use super::whip::WhipTail;
use super::{OutputError, Streams};
use crate::media::elements::Job;
use crate::media::producer::Producer;

/// What is the same for all outputs of a bridge.
#[derive(Clone, Debug)]
pub struct Session {
    /// The room's name.
    pub room: String,
    /// Pictures per second of the mix.
    pub fps: i32,
    /// Bits per second of video and of sound.
    pub bitrates: (u32, u32),
    /// Carries what goes out by WebRTC.
    pub uplink: Arc<dyn Uplink>,
}

/// One kind of output.
#[async_trait]
pub(crate) trait Tail: Send + Sync + fmt::Debug {
    /// The file in `pipelines/`.
    fn template(&self) -> &'static str;

    /// Sets locations, hosts and ports on the built pipeline, before it plays.
    fn configure(&self, attached: &Attached) -> Result<(), OutputError>;

    /// Waits until roomcast itself could play the result as a player would.
    async fn verify(&self, pipeline: &gst::Pipeline) -> Result<Play, OutputError>;

    /// Waits until the output has failed by itself, where its pipeline does not notice.
    async fn failed(&self) -> OutputError {
        std::future::pending().await
    }

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
        Destination::Whip(whip) => Box::new(WhipTail::new(whip.clone(), Arc::clone(&session.uplink))),
    })
}

/// The streams that a destination takes.
pub(crate) fn streams<'a>(
    spec: &OutputSpec,
    streams: &'a Streams,
) -> Result<(&'a Producer, &'a Producer), OutputError> {
    let (video, audio) = match spec.codecs() {
        Codecs::H264Aac => (streams.h264.as_ref(), streams.aac.as_ref()),
        Codecs::Vp8Opus => (streams.vp8.as_ref(), streams.opus.as_ref()),
        Codecs::H264Opus => (streams.h264.as_ref(), streams.opus.as_ref()),
        Codecs::Copied => (streams.copied_video.as_ref(), streams.copied_audio.as_ref()),
    };
    Ok((video.ok_or(OutputError::NoStream("video"))?, audio.ok_or(OutputError::NoStream("audio"))?))
}

/// Which streams an output takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codecs {
    /// The mix as H.264 and AAC.
    H264Aac,
    /// The mix as VP8 and Opus.
    Vp8Opus,
    /// The mix as H.264 and Opus.
    H264Opus,
    /// One participant's own VP8 and Opus.
    Copied,
}

impl OutputSpec {
    /// What this machine's GStreamer must be able to do for it.
    pub fn jobs(&self) -> &'static [Job] {
        match &self.destination {
            Destination::Rtp(_) => &[Job::Rtp, Job::EncodeAudio],
            Destination::Hls(_) => &[Job::Hls, Job::EncodeAudio],
            Destination::TsSocket(_) => &[Job::Ts, Job::EncodeAudio],
            Destination::Whip(_) => &[Job::Whip],
            Destination::File(file) => match file.container {
                Container::Matroska => &[Job::Mkv, Job::EncodeAudio],
                Container::Mp4 => &[Job::Mp4, Job::EncodeAudio],
                Container::WebM => &[Job::Webm],
            },
        }
    }

    /// Which streams this output takes.
    pub fn codecs(&self) -> Codecs {
        match &self.destination {
            Destination::File(file) if file.copy => Codecs::Copied,
            Destination::File(file) if file.container == Container::WebM => Codecs::Vp8Opus,
            Destination::Whip(whip) => match whip.video {
                WhipVideo::H264 => Codecs::H264Opus,
                WhipVideo::Vp8 => Codecs::Vp8Opus,
            },
            _ => Codecs::H264Aac,
        }
    }
}
