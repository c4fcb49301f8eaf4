//! Which GStreamer elements each job needs, and the Debian package that brings each of them.
//!
//! `roomcast doctor` shows the whole table; a bridge asks [`missing_for`] before it joins a room, so that a missing package is an
//! error on the command line and not a black picture later. Nothing here builds a pipeline.

use std::fmt;
use std::sync::OnceLock;

use gst::prelude::*;
use gstreamer as gst;

use crate::terms::Codec;

/// GStreamer could not start.
#[derive(Clone, Debug, thiserror::Error)]
#[error("GStreamer could not start: {0}")]
pub struct InitError(String);

/// Starts GStreamer and registers the elements that are linked into this binary: fragmented MP4, and RTP for AV1. Calling it
/// again changes nothing.
pub fn init() -> Result<(), InitError> {
    static OUTCOME: OnceLock<Result<(), InitError>> = OnceLock::new();
    let start = || {
        gst::init().map_err(|error| error.to_string())?;
        gstfmp4::plugin_register_static().map_err(|error| error.to_string())?;
        gstrsrtp::plugin_register_static().map_err(|error| error.to_string())?;
        keep_out_of_autoplugging();
        Ok(())
    };
    OUTCOME.get_or_init(|| start().map_err(InitError)).clone()
}

/// The Rust RTP plugin brings a payloader and depayloader for every codec. Only AV1's has no counterpart in GStreamer 1.22: the
/// others must never be chosen by a decodebin.
fn keep_out_of_autoplugging() {
    for feature in gst::Registry::get().features_by_plugin("rsrtp") {
        if !feature.name().starts_with("rtpav1") {
            feature.set_rank(gst::Rank::NONE);
        }
    }
}

/// Something that roomcast does with GStreamer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    /// Take RTP from peers.
    Receive,
    /// Decode what peers send.
    Decode(Codec),
    /// Make one picture and one sound of all participants.
    Mix,
    /// Encode the picture as H.264.
    EncodeVideo,
    /// Encode the sound as AAC.
    EncodeAudio,
    /// Send RTP with an SDP.
    Rtp,
    /// Write HLS with MPEG-TS segments.
    Hls,
    /// Write HLS with fragmented MP4, and with low latency.
    HlsFragments,
    /// Record Matroska.
    Mkv,
    /// Record fragmented MP4, and make it seekable.
    Mp4,
    /// Record WebM.
    Webm,
    /// Record Ogg with Opus.
    Ogg,
    /// Record WAV.
    Wav,
    /// Make thumbnails.
    Thumbs,
    /// Send MPEG-TS.
    Ts,
    /// Push to a WHIP endpoint.
    Whip,
    /// Send MPEG-TS over UDP.
    TsUdp,
    /// Send MPEG-TS over SRT.
    Srt,
    /// Send to RTMP servers.
    Rtmp,
    /// Serve players over RTSP.
    RtspServe,
    /// Publish to an RTSP server.
    RtspPush,
    /// Be a test participant.
    Pattern,
    /// Check results as a player would.
    Probe,
}

impl Job {
    /// Every job, in the order of the way that media takes.
    pub const ALL: [Self; 27] = [
        Self::Receive,
        Self::Decode(Codec::Vp8),
        Self::Decode(Codec::H264),
        Self::Decode(Codec::Vp9),
        Self::Decode(Codec::Av1),
        Self::Decode(Codec::Opus),
        Self::Mix,
        Self::EncodeVideo,
        Self::EncodeAudio,
        Self::Rtp,
        Self::Hls,
        Self::HlsFragments,
        Self::Mkv,
        Self::Mp4,
        Self::Webm,
        Self::Ogg,
        Self::Wav,
        Self::Thumbs,
        Self::Ts,
        Self::Whip,
        Self::TsUdp,
        Self::Srt,
        Self::Rtmp,
        Self::RtspServe,
        Self::RtspPush,
        Self::Pattern,
        Self::Probe,
    ];

    /// Whether a bridge of a browser call can do without it: then a missing element costs one codec or one output.
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Decode(Codec::H264 | Codec::Vp9 | Codec::Av1)
                | Self::Webm
                | Self::Ogg
                | Self::Wav
                | Self::Thumbs
                | Self::Srt
                | Self::Rtmp
                | Self::RtspPush
                | Self::Whip
                | Self::Pattern
        )
    }

    /// What it takes: of each group at least one, the preferred one first.
    fn needs(self) -> &'static [&'static [Element]] {
        match self {
            Self::Receive => &[&[("appsrc", BASE)], &[("rtpbin", GOOD)]],
            Self::Decode(Codec::Vp8) => &[&[("rtpvp8depay", GOOD)], &[("vp8dec", GOOD)], &[("capssetter", GOOD)]],
            Self::Decode(Codec::H264) => &[&[("rtph264depay", GOOD)], &[("avdec_h264", LIBAV), ("openh264dec", BAD)]],
            Self::Decode(Codec::Vp9) => &[&[("rtpvp9depay", GOOD)], &[("vp9dec", GOOD)]],
            Self::Decode(Codec::Av1) => {
                &[&[("rtpav1depay", LINKED)], &[("av1parse", BAD)], &[("av1dec", BAD), ("dav1ddec", BAD)]]
            }
            Self::Decode(Codec::Opus) => &[&[("rtpopusdepay", GOOD)], &[("opusdec", BASE)]],
            Self::Mix => &[
                &[("compositor", BASE)],
                &[("audiomixer", BASE)],
                &[("videoconvertscale", BASE)],
                &[("audioconvert", BASE)],
                &[("audioresample", BASE)],
            ],
            Self::EncodeVideo => &[
                &[
                    ("x264enc", UGLY),
                    ("openh264enc", BAD),
                    ("vah264enc", BAD),
                    ("nvh264enc", BAD),
                    ("qsvh264enc", BAD),
                    ("v4l2h264enc", GOOD),
                ],
                &[("h264parse", BAD)],
            ],
            Self::EncodeAudio => {
                &[&[("avenc_aac", LIBAV), ("voaacenc", BAD), ("fdkaacenc", BAD)], &[("aacparse", GOOD)]]
            }
            Self::Rtp => &[
                &[("rtph264pay", GOOD)],
                &[("rtpmp4gpay", GOOD)],
                &[("rtpopuspay", GOOD)],
                &[("rtppcmupay", GOOD)],
                &[("mulawenc", GOOD)],
                &[("rtpbin", GOOD)],
                &[("udpsink", GOOD)],
                &[("srtpenc", BAD)],
            ],
            Self::Hls => &[&[("splitmuxsink", GOOD)], &[("mpegtsmux", BAD)]],
            Self::HlsFragments => &[&[("isofmp4mux", LINKED)], &[("qtdemux", GOOD)]],
            Self::Mkv => &[&[("matroskamux", GOOD)]],
            Self::Mp4 => &[&[("isofmp4mux", LINKED)], &[("mp4mux", GOOD)], &[("qtdemux", GOOD)]],
            Self::Webm => &[&[("webmmux", GOOD)], &[("vp8enc", GOOD)], &[("opusenc", BASE)], &[("opusparse", BAD)]],
            Self::Ogg => &[&[("oggmux", BASE)], &[("opusenc", BASE)], &[("opusparse", BAD)]],
            Self::Wav => &[&[("wavenc", GOOD)]],
            Self::Thumbs => &[&[("videoconvertscale", BASE)], &[("jpegenc", GOOD)]],
            Self::Ts => &[&[("mpegtsmux", BAD)]],
            Self::Whip => &[
                &[("rtph264pay", GOOD)],
                &[("rtpvp8pay", GOOD)],
                &[("vp8enc", GOOD)],
                &[("opusenc", BASE)],
                &[("opusparse", BAD)],
                &[("rtpopuspay", GOOD)],
            ],
            Self::TsUdp => &[&[("mpegtsmux", BAD)], &[("udpsink", GOOD)]],
            Self::Srt => &[&[("mpegtsmux", BAD)], &[("srtsink", BAD)], &[("srtsrc", BAD)]],
            Self::Rtmp => &[&[("flvmux", GOOD)], &[("rtmp2sink", BAD)]],
            Self::RtspServe => &[
                &[("rtph264pay", GOOD)],
                &[("rtpmp4gpay", GOOD)],
                &[("rtpbin", GOOD)],
                &[("multiudpsink", GOOD)],
                &[("appsink", BASE)],
            ],
            Self::RtspPush => &[&[("rtspclientsink", RTSP)], &[("rtph264pay", GOOD)], &[("rtpmp4gpay", GOOD)]],
            Self::Pattern => &[
                &[("videotestsrc", BASE)],
                &[("audiotestsrc", BASE)],
                &[("timeoverlay", PANGO)],
                &[("vp8enc", GOOD)],
                &[("opusenc", BASE)],
                &[("rtpvp8pay", GOOD)],
                &[("rtpopuspay", GOOD)],
            ],
            Self::Probe => &[
                &[("uridecodebin", BASE)],
                &[("udpsrc", GOOD)],
                &[("srtpdec", BAD)],
                &[("tsdemux", BAD)],
                &[("hlsdemux", BAD)],
                &[("matroskademux", GOOD)],
                &[("souphttpsrc", GOOD)],
                &[("avdec_h264", LIBAV), ("openh264dec", BAD)],
                &[("avdec_aac", LIBAV)],
            ],
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(codec) => write!(f, "decode {}", codec.encoding_name()),
            Self::Receive => f.write_str("receive RTP"),
            Self::Mix => f.write_str("mix participants"),
            Self::EncodeVideo => f.write_str("encode H.264"),
            Self::EncodeAudio => f.write_str("encode AAC"),
            Self::Rtp => f.write_str("output RTP"),
            Self::Hls => f.write_str("output HLS"),
            Self::HlsFragments => f.write_str("output HLS in fragmented MP4"),
            Self::Mkv => f.write_str("record MKV"),
            Self::Mp4 => f.write_str("record MP4"),
            Self::Webm => f.write_str("record WebM"),
            Self::Ogg => f.write_str("record Ogg"),
            Self::Wav => f.write_str("record WAV"),
            Self::Thumbs => f.write_str("make thumbnails"),
            Self::Ts => f.write_str("output MPEG-TS"),
            Self::Whip => f.write_str("push to WHIP"),
            Self::TsUdp => f.write_str("output MPEG-TS over UDP"),
            Self::Srt => f.write_str("output SRT"),
            Self::Rtmp => f.write_str("output RTMP"),
            Self::RtspServe => f.write_str("serve RTSP"),
            Self::RtspPush => f.write_str("publish by RTSP"),
            Self::Pattern => f.write_str("publish a test pattern"),
            Self::Probe => f.write_str("probe results"),
        }
    }
}

/// An element and the Debian package that it is in.
type Element = (&'static str, Package);

/// `None` is linked into this binary.
type Package = Option<&'static str>;

const BASE: Package = Some("gstreamer1.0-plugins-base");
const GOOD: Package = Some("gstreamer1.0-plugins-good");
const BAD: Package = Some("gstreamer1.0-plugins-bad");
const UGLY: Package = Some("gstreamer1.0-plugins-ugly");
const LIBAV: Package = Some("gstreamer1.0-libav");
const RTSP: Package = Some("gstreamer1.0-rtsp");
/// Text on pictures.
const PANGO: Package = Some("gstreamer1.0-x");
const LINKED: Package = None;

/// A group of elements of which a job needs one, and none is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("cannot {job}: the element {element} is missing: {}", remedy(*package))]
pub struct Missing {
    /// What cannot be done.
    #[serde(serialize_with = "as_text")]
    pub job: Job,
    /// The preferred element of the group.
    pub element: &'static str,
    /// The Debian package that brings it; `None` when it should have been linked into this binary.
    pub package: Option<&'static str>,
}

fn remedy(package: Option<&str>) -> String {
    package.map_or_else(|| "this build lacks it".into(), |package| format!("apt install {package}"))
}

fn as_text<S: serde::Serializer>(job: &Job, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(job)
}

/// Everything that a job needs and this machine lacks. [`init`] must have been called.
pub fn missing(job: Job) -> Vec<Missing> {
    lacking(job, |name| gst::ElementFactory::find(name).is_some())
}

/// The first thing that keeps a job from being done.
pub fn missing_for(job: Job) -> Option<Missing> {
    missing(job).into_iter().next()
}

/// The Debian package of an element that some job needs; `None` when it is linked into this binary or not known here.
pub fn package_of(element: &str) -> Option<&'static str> {
    let needs = Job::ALL.into_iter().flat_map(Job::needs).flat_map(|group| group.iter());
    needs.into_iter().find(|(name, _)| *name == element).and_then(|(_, package)| *package)
}

/// Which element of each group does a job on this machine.
pub fn found(job: Job) -> Vec<&'static str> {
    let exists = |name: &&str| gst::ElementFactory::find(name).is_some();
    job.needs().iter().filter_map(|group| group.iter().map(|(name, _)| *name).find(exists)).collect()
}

fn lacking(job: Job, exists: impl Fn(&str) -> bool) -> Vec<Missing> {
    job.needs()
        .iter()
        .filter(|group| !group.iter().any(|(name, _)| exists(name)))
        .filter_map(|group| group.first())
        .map(|(element, package)| Missing { job, element, package: *package })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_element_is_named_with_its_package_and_an_alternative_will_do() {
        let lacks = |absent: &'static [&'static str]| move |name: &str| !absent.contains(&name);
        assert_eq!(lacking(Job::EncodeVideo, lacks(&["x264enc"])), [], "openh264enc will do");
        let missing = lacking(Job::Hls, lacks(&["mpegtsmux"]));
        assert_eq!(
            missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["cannot output HLS: the element mpegtsmux is missing: apt install gstreamer1.0-plugins-bad"]
        );
        let nothing_there = lacking(Job::EncodeVideo, |_| false);
        assert_eq!(nothing_there.iter().map(|missing| missing.element).collect::<Vec<_>>(), ["x264enc", "h264parse"]);
    }

    #[test]
    fn elements_linked_into_the_binary_are_registered_once_and_starting_again_is_harmless() {
        init().unwrap();
        init().unwrap();
        for name in ["isofmp4mux", "rtpav1depay", "rtpav1pay"] {
            assert!(gst::ElementFactory::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn rust_elements_never_displace_those_of_gstreamer() {
        init().unwrap();
        let rank = |name: &str| gst::ElementFactory::find(name).map(|factory| factory.rank());
        for (of_gstreamer, of_rust) in [("rtpvp8depay", "rtpvp8depay2"), ("rtpopusdepay", "rtpopusdepay2")] {
            assert_eq!(rank(of_rust), Some(gst::Rank::NONE), "{of_rust}");
            assert!(rank(of_gstreamer) > rank(of_rust), "{of_gstreamer}");
        }
        assert_eq!(rank("rtpav1depay"), Some(gst::Rank::MARGINAL));
    }

    #[test]
    fn what_ci_installs_is_enough_for_every_job() {
        init().unwrap();
        assert_eq!(Job::ALL.into_iter().flat_map(missing).collect::<Vec<_>>(), []);
    }
}
