//! What each kind of output adds to the common life of an output: its template, its settings, its proof, its end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::OutputError;
use super::attached::Attached;
use super::hls::{FragmentsTail, TsTail};
use super::live_ts::LiveTsTail;
use super::players::Play;
use super::rtmp::RtmpTail;
use super::rtp::RtpTail;
use super::rtsp_push::RtspPushTail;
use super::rtsp_serve::RtspServeTail;
use super::spec::{Container, Destination, HlsFormat, OutputSpec, Stream, Tracks};
use super::srt::SrtTail;
use super::streams::{Forms, Streams};
use super::ts_udp::TsUdpTail;
use super::uplink::{Uplink, UplinkError};
use super::whip::WhipTail;
use crate::media::elements::Job;
use crate::media::producer::Patience;
use crate::probe::Wanted;
use crate::rtp::Protection;
use crate::terms::Codec;

/// What is the same for all outputs of a bridge.
#[derive(Clone, Debug)]
pub struct Session {
    /// The room's name.
    pub room: String,
    /// Pictures per second of the mix.
    pub fps: i32,
    /// Lines of the mix's picture.
    pub height: i32,
    /// Bits per second of video and of sound.
    pub bitrates: (u32, u32),
    /// Carries what goes out by WebRTC.
    pub uplink: Arc<dyn Uplink>,
    /// From one keyframe to the next.
    pub gop: Duration,
    /// An earlier bridge of this room was killed: what it has left goes on.
    pub resume: bool,
    /// A manifest names the files: none is moved.
    pub manifest: bool,
    /// The means to encrypt packets.
    pub protection: Protection,
}

/// One kind of output.
#[async_trait]
pub(crate) trait Tail: Send + Sync + fmt::Debug {
    /// The file in `pipelines/`.
    fn template(&self) -> &'static str;

    /// Refuses what a participant sends and this output cannot carry.
    fn accept(&self, _: &Forms) -> Result<(), OutputError> {
        Ok(())
    }

    /// Whether players join at any moment and nothing in its pipeline asks for keyframes: a copied picture is asked for one
    /// every `--gop` seconds then. An encoder makes them by itself.
    fn asks_for_keyframes(&self) -> bool {
        false
    }

    /// How far it may lag before something is left out.
    fn patience(&self) -> Patience {
        Patience::Output
    }

    /// Sets locations, hosts and ports on the built pipeline, before it plays.
    fn configure(&self, attached: &Attached) -> Result<(), OutputError>;

    /// Waits until roomcast itself could play the result as a player would.
    async fn verify(&self, pipeline: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError>;

    /// Waits until the output has failed by itself, where its pipeline does not notice.
    async fn failed(&self) -> OutputError {
        std::future::pending().await
    }

    /// Says what an error of this output's elements means; the default lets them speak for themselves.
    fn explain(&self, error: OutputError) -> OutputError {
        error
    }

    /// What has to be done while it runs and is ready; returns when that fails.
    async fn tend(&self, _pipeline: &gst::Pipeline) -> OutputError {
        std::future::pending().await
    }

    /// What was sent past the pipeline, and what of it was lost.
    fn counters(&self) -> (u64, u64) {
        (0, 0)
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

/// Asks the encoder for a keyframe: a proof would otherwise wait for the next one, two seconds by default. The template's
/// parser of pictures is called `parser`.
pub(super) fn ask_for_keyframe(pipeline: &gst::Pipeline) {
    if let Some(pad) = pipeline.by_name("parser").and_then(|parser| parser.static_pad("sink")) {
        pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
    }
}

/// The tail for a destination; `attempt` counts from 0. A recording has none: it is more than one pipeline (`recording`).
pub(crate) fn tail(
    spec: &OutputSpec,
    session: &Session,
    streams: &Streams,
    attempt: u32,
) -> Result<Option<Box<dyn Tail>>, OutputError> {
    Ok(Some(match &spec.destination {
        Destination::Rtp(rtp) => {
            Box::new(RtpTail::new((**rtp).clone(), spec.tracks, session.clone(), streams, attempt)?)
        }
        Destination::Hls(hls) if hls.format == HlsFormat::Ts => {
            Box::new(TsTail::new(hls.clone(), spec.tracks, attempt > 0 || session.resume))
        }
        Destination::Hls(hls) => Box::new(FragmentsTail::new(hls.clone(), spec.tracks, session.clone(), attempt)),
        Destination::File(_) => return Ok(None),
        Destination::TsSocket(path) => Box::new(LiveTsTail::new(path.clone())),
        Destination::Whip(whip) => Box::new(WhipTail::new(whip.endpoint.clone(), Arc::clone(&session.uplink))),
        Destination::TsUdp(ts) => Box::new(TsUdpTail::new(ts.clone())),
        Destination::Srt(srt) => Box::new(SrtTail::new(srt.clone())),
        Destination::Rtmp(rtmp) => Box::new(RtmpTail::new(rtmp.clone())),
        Destination::RtspServe(rtsp) => Box::new(RtspServeTail::new(rtsp.clone())),
        Destination::RtspPush(rtsp) => Box::new(RtspPushTail::new(rtsp.clone())),
    }))
}

impl OutputSpec {
    /// What to feed it with instead, when its destination does not take the codec it was fed with.
    pub(crate) fn otherwise(&self, error: &OutputError) -> Option<Tracks> {
        match (&self.destination, error) {
            (Destination::Whip(whip), OutputError::Uplink(UplinkError::CodecRefused { codec: Codec::H264, .. })) => {
                whip.otherwise.filter(|_| self.tracks.video == Some(Stream::H264))
            }
            _ => None,
        }
    }

    /// The pipelines that it is made of: each must be buildable before the room is joined.
    pub fn templates(&self) -> Vec<&'static str> {
        match &self.destination {
            Destination::Rtp(_) => vec!["rtp"],
            Destination::Hls(hls) if hls.format == HlsFormat::Ts => vec!["hls"],
            Destination::Hls(_) => vec!["hls-fmp4"],
            Destination::Whip(_) => vec!["whip"],
            Destination::TsUdp(_) => vec!["ts-udp"],
            Destination::Srt(_) => vec!["srt"],
            Destination::Rtmp(_) => vec!["rtmp"],
            Destination::RtspServe(_) => vec!["rtsp-serve"],
            Destination::RtspPush(_) => vec!["rtsp-push"],
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
            Destination::Hls(hls) if hls.format == HlsFormat::Ts => Job::Hls,
            Destination::Hls(_) => Job::HlsFragments,
            Destination::TsSocket(_) => Job::Ts,
            Destination::Whip(_) => Job::Whip,
            Destination::TsUdp(_) => Job::TsUdp,
            Destination::Srt(_) => Job::Srt,
            Destination::Rtmp(_) => Job::Rtmp,
            Destination::RtspServe(_) => Job::RtspServe,
            Destination::RtspPush(_) => Job::RtspPush,
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
