//! From the RTP of one codec to raw media: which elements, with which settings, and why.

use gstreamer as gst;

use super::MediaError;
use crate::terms::Codec;

/// Lets a stream be taken as it came, by whoever links to it later.
const TEE: &str = "tee name=encoded allow-not-linked=true";

/// Raw sound as the mixer takes it.
pub(crate) const RAW_AUDIO: &str = "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved";

/// What a second of [`RAW_AUDIO`] has: two channels of 16 bits.
pub(crate) const BYTES_PER_SECOND: u64 = 48_000 * 2 * 2;

/// A bin with one RTP sink pad and one raw source pad. The depayloader is named `depay`, a video decoder `decoder`; what
/// the depayloader gives passes the tee `encoded`, where it can be taken as it came.
pub(crate) fn bin(codec: Codec) -> Result<gst::Bin, MediaError> {
    // A depayloader that waits for a keyframe never hands torn pictures to the decoder, and asks for the keyframe.
    let video = |depay: &str, decode: &str| {
        format!("{depay} name=depay request-keyframe=true wait-for-keyframe=true ! {TEE} ! {decode}")
    };
    let text = match codec {
        // VP8 knows no other colours than those of BT.601 (RFC 6386, section 9.2); GStreamer guesses BT.709 from 720 lines on,
        // and the mixer would convert every pixel.
        Codec::Vp8 => video(
            "rtpvp8depay",
            "vp8dec name=decoder threads=1 ! capssetter caps=video/x-raw,colorimetry=bt601,chroma-site=mpeg2",
        ),
        // Frame threads would hold back one picture per thread: one thread decodes 1080p in real time.
        Codec::H264 if exists("avdec_h264") => {
            video("rtph264depay", "h264parse ! avdec_h264 name=decoder max-threads=1")
        }
        Codec::H264 => video("rtph264depay", "h264parse ! openh264dec name=decoder"),
        Codec::Vp9 => video("rtpvp9depay", "vp9dec name=decoder"),
        Codec::Av1 => {
            format!(
                "rtpav1depay name=depay request-keyframe=true wait-for-keyframe=true ! {TEE} ! av1parse ! {} name=decoder",
                av1()
            )
        }
        // Browsers never retransmit sound: what is lost is taken from the next packet's redundancy, or concealed.
        Codec::Opus => format!(
            "rtpopusdepay name=depay ! {TEE} ! opusdec plc=true use-inband-fec=true ! audioconvert ! audioresample ! \
             capsfilter caps={RAW_AUDIO}"
        ),
    };
    gst::parse::bin_from_description(&text, true)
        .map_err(|error| MediaError::Element { element: text, reason: error.to_string() })
}

/// Whether this machine can decode a codec.
pub fn can_decode(codec: Codec) -> bool {
    match codec {
        Codec::Vp8 => exists("rtpvp8depay") && exists("vp8dec"),
        Codec::H264 => exists("rtph264depay") && (exists("avdec_h264") || exists("openh264dec")),
        Codec::Vp9 => exists("rtpvp9depay") && exists("vp9dec"),
        Codec::Av1 => exists("rtpav1depay") && exists("av1parse") && (exists("dav1ddec") || exists("av1dec")),
        Codec::Opus => exists("rtpopusdepay") && exists("opusdec"),
    }
}

fn av1() -> &'static str {
    if exists("dav1ddec") { "dav1ddec" } else { "av1dec" }
}

fn exists(factory: &str) -> bool {
    gst::ElementFactory::find(factory).is_some()
}

/// The caps that describe a codec's RTP to `rtpbin`.
pub(crate) fn rtp_caps(codec: Codec, payload_type: u8) -> gst::Caps {
    let caps = gst::Caps::builder("application/x-rtp")
        .field("media", codec.kind().to_string())
        .field("clock-rate", i32::try_from(codec.clock_rate()).unwrap_or_default())
        .field("encoding-name", codec.encoding_name().to_ascii_uppercase())
        .field("payload", i32::from(payload_type));
    match codec {
        Codec::Opus => caps.build(),
        // Without it a keyframe request would end at rtpbin instead of going up to the peer.
        _ => caps.field("rtcp-fb-nack-pli", true).build(),
    }
}
