//! What a probe measured, as programs read it (JSON) and as [`super::judge()`] reads it. Times are seconds.

use serde::{Deserialize, Serialize};

use crate::terms::MediaKind;

/// The result of decoding a source for a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was probed, as it was given; for an SDP its ports.
    pub source: String,
    /// From the outside in: `HLS / MPEG-TS`, `MP4`, `RTP` …
    pub container: Option<String>,
    /// From the start of the probe to the first decoded frame of any stream.
    pub first_frame: Option<f64>,
    /// How long the probe took.
    pub elapsed: f64,
    /// In the order in which the streams appeared.
    pub streams: Vec<StreamReport>,
    /// Present when flashes and beeps were found that belong together.
    pub skew: Option<Skew>,
    /// What the source or its elements complained about, and what was missing.
    pub problems: Vec<String>,
}

impl Report {
    /// The streams of one kind.
    pub fn streams_of(&self, kind: MediaKind) -> impl Iterator<Item = &StreamReport> {
        self.streams.iter().filter(move |stream| stream.kind == kind)
    }
}

/// One elementary stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Sound or picture.
    pub kind: MediaKind,
    /// `h264`, `vp8`, `aac`, `opus` …
    pub codec: String,
    /// Buffers that came out of the decoder: pictures, or blocks of sound.
    pub frames: u64,
    /// What the decoder complained about: error lines, and pictures it marked as damaged.
    pub decode_errors: u64,
    /// The first of the decoder's complaints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_error: Option<String>,
    /// From the start of the probe to this stream's first frame.
    pub first_frame: Option<f64>,
    /// Of its first frame: above 0 when it starts later than another stream.
    pub start: f64,
    /// From the start of the first frame to the end of the last one.
    pub duration: f64,
    /// Where nothing was decoded.
    pub gaps: Gaps,
    /// How often a timestamp was lower than the one before it.
    pub regressions: u64,
    /// What only pictures or only sound has.
    #[serde(flatten)]
    pub shape: Shape,
}

/// What only pictures or only sound has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Shape {
    /// Pictures.
    Video {
        /// Pixels, of the last frame.
        width: u32,
        /// Pixels, of the last frame.
        height: u32,
        /// Frames per second, measured.
        fps: f64,
        /// How often the size changed.
        size_changes: u64,
    },
    /// Sound.
    Audio {
        /// 1 is mono.
        channels: u32,
        /// Samples per second.
        rate: u32,
    },
}

/// The holes in a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gaps {
    /// How many there are.
    pub count: usize,
    /// All of them together.
    pub total: f64,
    /// The first few.
    pub first: Vec<Gap>,
}

/// One hole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// When it begins, counted from the first frame of the source.
    pub at: f64,
    /// How long it lasts.
    pub length: f64,
}

/// How far sound and picture are apart, in milliseconds: positive is sound that comes late.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skew {
    /// How many flashes had a beep.
    pub count: usize,
    /// Half of them are below.
    pub median_ms: f64,
    /// The one that is furthest from zero.
    pub worst_ms: f64,
}
