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
    /// One participant's pictures as they came, in whatever codec.
    CopiedVideo,
    /// The mixed sound as AAC access units.
    Aac,
    /// The mixed sound as Opus packets.
    Opus,
    /// One participant's sound as it came.
    CopiedAudio,
}

impl Stream {
    /// Sound or picture.
    pub fn kind(self) -> MediaKind {
        match self {
            Self::H264 | Self::Vp8 | Self::CopiedVideo => MediaKind::Video,
            Self::Aac | Self::Opus | Self::CopiedAudio => MediaKind::Audio,
        }
    }

    /// Whether it is one participant's, passed on without decoding.
    pub fn is_copied(self) -> bool {
        matches!(self, Self::CopiedVideo | Self::CopiedAudio)
    }

    /// The word for it in `video=` and `audio=`.
    fn word(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Vp8 => "vp8",
            Self::Aac => "aac",
            Self::Opus => "opus",
            Self::CopiedVideo | Self::CopiedAudio => "copy",
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
