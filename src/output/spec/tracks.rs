//! Which streams an output takes: `video=` and `audio=`.

use super::settings::Settings;
use crate::terms::MediaKind;

/// An elementary stream that outputs take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// The mixed picture as H.264 access units.
    H264,
    /// The mixed picture as VP8 frames.
    Vp8,
    /// The mixed picture made smaller, as H.264 access units.
    Rendition(Height),
    /// One participant's pictures as they came, in whatever codec.
    CopiedVideo,
    /// The mixed sound as AAC access units.
    Aac,
    /// The mixed sound as Opus packets.
    Opus,
    /// One participant's sound as it came.
    CopiedAudio,
    /// The mixed sound as G.711 µ-law.
    Pcmu,
    /// One participant's pictures as the RTP packets that they came in.
    VideoPackets,
    /// One participant's sound as the RTP packets that it came in.
    AudioPackets,
    /// The mixed picture as it is, I420.
    Pictures,
    /// The mixed sound as it is: S16LE, 48 kHz, stereo.
    Pcm,
}

/// The height of a rendition in pixels: even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Height(pub u16);

impl Height {
    /// Bits per second that look as good as `full` does at `canvas` lines: small pictures need more for each of their pixels.
    pub fn bitrate(self, full: u32, canvas: i32) -> u32 {
        let ratio = (f64::from(self.0) / f64::from(canvas.max(1))).min(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most `full`")]
        let bits = (f64::from(full) * ratio.powf(1.5)) as u32;
        bits.max(64_000).min(full.max(1))
    }
}

impl Stream {
    /// Sound or picture.
    pub fn kind(self) -> MediaKind {
        match self {
            Self::H264 | Self::Vp8 | Self::Rendition(_) | Self::CopiedVideo | Self::VideoPackets | Self::Pictures => {
                MediaKind::Video
            }
            Self::Aac | Self::Opus | Self::Pcmu | Self::CopiedAudio | Self::AudioPackets | Self::Pcm => {
                MediaKind::Audio
            }
        }
    }

    /// Whether it is one participant's, passed on without decoding.
    pub fn is_copied(self) -> bool {
        matches!(self, Self::CopiedVideo | Self::CopiedAudio) || self.is_packets()
    }

    /// Whether it is passed on in its packets, without being unpacked.
    pub fn is_packets(self) -> bool {
        matches!(self, Self::VideoPackets | Self::AudioPackets)
    }

    /// Whether it comes from the mixer as it is.
    pub fn is_raw(self) -> bool {
        matches!(self, Self::Pictures | Self::Pcm)
    }

    /// The word for it in `video=` and `audio=`.
    fn word(self) -> &'static str {
        match self {
            Self::H264 | Self::Rendition(_) => "h264",
            Self::Vp8 => "vp8",
            Self::Aac => "aac",
            Self::Opus => "opus",
            Self::Pcmu => "pcmu",
            Self::CopiedVideo | Self::CopiedAudio | Self::VideoPackets | Self::AudioPackets => "copy",
            Self::Pictures => "raw",
            Self::Pcm => "pcm",
        }
    }
}

/// The streams of one output: at least one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracks {
    /// Pictures, if it has any.
    pub video: Option<Stream>,
    /// Sound, if it has any.
    pub audio: Option<Stream>,
}

impl Tracks {
    /// Both of them.
    pub(super) const fn both(video: Stream, audio: Stream) -> Self {
        Self { video: Some(video), audio: Some(audio) }
    }

    /// The streams there are.
    pub fn iter(self) -> impl Iterator<Item = Stream> {
        self.video.into_iter().chain(self.audio)
    }

    /// Those of them for which `keep` is true; `None` when there are none.
    pub fn only(self, keep: impl Fn(Stream) -> bool) -> Option<Self> {
        let left =
            Self { video: self.video.filter(|stream| keep(*stream)), audio: self.audio.filter(|stream| keep(*stream)) };
        (left.video.is_some() || left.audio.is_some()).then_some(left)
    }

    /// Reads `video=` and `audio=`. The first of each list is the default; an empty list means that there is none.
    pub(super) fn take(settings: &mut Settings<'_>, video: &[Stream], audio: &[Stream]) -> Result<Self, String> {
        let mut choose = |key, choices: &[Stream]| {
            let mut words: Vec<_> = choices.iter().map(|stream| (stream.word(), Some(*stream))).collect();
            words.push(("none", None));
            Ok::<_, String>(settings.word(key, &words)?.unwrap_or(choices.first().copied()))
        };
        let tracks = Self { video: choose("video", video)?, audio: choose("audio", audio)? };
        match tracks {
            Self { video: None, audio: None } => Err("neither video nor audio is left: take one of them".into()),
            tracks => Ok(tracks),
        }
    }
}
