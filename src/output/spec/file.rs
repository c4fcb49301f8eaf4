//! `file:PATH.mkv?split=10m&thumbs=10s`, or the bare path.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::{Settings, split_query};
use super::tracks::Stream::{Aac, CopiedAudio, CopiedVideo, H264, Opus, Pcm, Vp8};
use super::tracks::Tracks;
use super::{Destination, Parsed, SCHEMES};
use crate::output::names;

/// What a recording's path may contain: the room, the time at which a part began, and its number.
const KEYS: [&str; 4] = ["room", "time", "index", "participant"];

/// A recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDestination {
    /// The file; it may contain `{room}`, `{time}` and `{index}`.
    pub path: PathBuf,
    /// Its form, from the path's ending.
    pub container: Container,
    /// Where one file ends and the next begins.
    pub split: Option<Split>,
    /// Pictures beside it.
    pub thumbs: Option<Thumbs>,
}

impl FileDestination {
    /// The file in `pipelines/` that writes it.
    pub(crate) fn template(&self) -> &'static str {
        match self.container {
            Container::Matroska => "mkv",
            Container::Mp4 => "fmp4",
            Container::WebM => "webm",
            Container::Ogg => "ogg",
            Container::Wav => "wav",
        }
    }
}

/// How long one file of a recording becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// At the first keyframe after this time.
    Time(Duration),
    /// At a keyframe before this many bytes.
    Size(u64),
}

/// Small pictures of the mix, as JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thumbs {
    /// From one to the next.
    pub every: Duration,
    /// In pixels; the height follows.
    pub width: u32,
}

/// The form of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Matroska with H.264 and AAC, or whatever is copied.
    Matroska,
    /// Fragmented MP4 while it is written, a plain seekable MP4 after a clean stop.
    Mp4,
    /// WebM with VP8 and Opus, or what of a participant's codecs it may hold.
    WebM,
    /// Ogg with Opus: sound alone.
    Ogg,
    /// WAV: the mixed sound as it is.
    Wav,
}

impl Container {
    /// Whether it may hold a stream of this form, by the name of its GStreamer caps.
    pub fn holds(self, form: &str) -> bool {
        let (video, audio): (&[&str], &[&str]) = match self {
            Self::Matroska => {
                (&["video/x-h264", "video/x-vp8", "video/x-vp9", "video/x-av1"], &["audio/mpeg", "audio/x-opus"])
            }
            Self::Mp4 => (&["video/x-h264", "video/x-vp9", "video/x-av1"], &["audio/mpeg", "audio/x-opus"]),
            Self::WebM => (&["video/x-vp8", "video/x-vp9", "video/x-av1"], &["audio/x-opus"]),
            Self::Ogg => (&[], &["audio/x-opus"]),
            Self::Wav => (&[], &["audio/x-raw"]),
        };
        video.contains(&form) || audio.contains(&form)
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matroska => "Matroska",
            Self::Mp4 => "MP4",
            Self::WebM => "WebM",
            Self::Ogg => "Ogg",
            Self::Wav => "WAV",
        })
    }
}

pub(super) fn parse(text: &str) -> Parsed {
    let (path, query) = split_query(text);
    let path = PathBuf::from(path);
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    let mut settings = Settings::new(query);
    let mut take = |video: &[_], audio: &[_]| Tracks::take(&mut settings, video, audio);
    let (container, tracks) = match ending.as_deref() {
        Some("mkv") => (Container::Matroska, take(&[H264, Vp8, CopiedVideo], &[Aac, Opus, CopiedAudio])?),
        Some("mp4") => (Container::Mp4, take(&[H264, CopiedVideo], &[Aac, Opus, CopiedAudio])?),
        Some("m4a") => (Container::Mp4, take(&[], &[Aac, Opus, CopiedAudio])?),
        Some("webm") => (Container::WebM, take(&[Vp8, CopiedVideo], &[Opus, CopiedAudio])?),
        Some("ogg" | "opus") => (Container::Ogg, take(&[], &[Opus, CopiedAudio])?),
        Some("wav") => (Container::Wav, take(&[], &[Pcm])?),
        _ => return Err(format!("what this should be is not clear: use {SCHEMES}")),
    };
    let shown = path.to_string_lossy();
    if let Some(key) = names::keys(&shown).into_iter().find(|key| !KEYS.contains(key)) {
        return Err(format!("unknown placeholder {{{key}}}: a path may contain {{room}}, {{time}} and {{index}}"));
    }
    let split = settings.take("split").map(|text| split(&text)).transpose()?;
    let every = settings.take("thumbs").map(|text| thumbs(&text)).transpose()?;
    let width = settings.number("thumb-width", 16..=4096)?;
    let thumbs = match (every, width) {
        (Some(every), width) => Some(Thumbs { every, width: width.unwrap_or(320) }),
        (None, Some(_)) => return Err("thumb-width needs thumbs=SECONDSs, thumbs=10s for example".into()),
        (None, None) => None,
    };
    if thumbs.is_some() && tracks.video.is_none_or(|video| video.is_copied()) {
        return Err("thumbs are made of the mixed picture, which this recording does not have: \
                    take them with a recording without video=copy or video=none"
            .into());
    }
    settings.end()?;
    Ok((Destination::File(FileDestination { path, container, split, thumbs }), tracks))
}

fn split(text: &str) -> Result<Split, String> {
    let wrong = || format!("split={text} is not clear: write 60s, 10m, 1h, 500M or 2G");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes = |factor| number.checked_mul(factor).map(Split::Size);
    let time = |factor| number.checked_mul(factor).map(|seconds| Split::Time(Duration::from_secs(seconds)));
    let split = match unit {
        "s" => time(1),
        "m" => time(60),
        "h" => time(3600),
        "k" => bytes(1_000),
        "M" => bytes(1_000_000),
        "G" => bytes(1_000_000_000),
        _ => None,
    };
    match split.ok_or_else(wrong)? {
        Split::Time(time) if !(1..=86_400 * 366).contains(&time.as_secs()) => {
            Err(format!("split={text}: use at least 1s"))
        }
        Split::Size(bytes) if bytes < 100_000 => Err(format!("split={text}: use at least 100k")),
        split => Ok(split),
    }
}

fn thumbs(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).filter(|seconds| *seconds > 0);
    let minutes = text.strip_suffix('m').and_then(|minutes| minutes.parse().ok()).filter(|minutes| *minutes > 0);
    let seconds: Option<u32> = seconds.or(minutes.and_then(|minutes: u32| minutes.checked_mul(60)));
    seconds.map(|seconds| Duration::from_secs(seconds.into())).ok_or_else(|| {
        format!(
            "thumbs={text} is not clear: write thumbs=10s or thumbs=1m for a picture every ten seconds or every minute"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::spec::OutputSpec;

    fn file(text: &str) -> FileDestination {
        let Destination::File(file) = text.parse::<OutputSpec>().unwrap().destination else { panic!("{text}") };
        file
    }

    #[test]
    fn a_split_is_a_time_or_a_size() {
        for (text, expected) in [
            ("60s", Split::Time(Duration::from_secs(60))),
            ("10m", Split::Time(Duration::from_secs(600))),
            ("1h", Split::Time(Duration::from_secs(3600))),
            ("100k", Split::Size(100_000)),
            ("500M", Split::Size(500_000_000)),
            ("2G", Split::Size(2_000_000_000)),
        ] {
            assert_eq!(file(&format!("a.mkv?split={text}")).split, Some(expected), "{text}");
        }
        for text in ["", "10", "s", "0s", "1k", "-1s", "1.5h", "10x", "é", "99999999999999999999G", "99999999999999G"]
        {
            let error = format!("a.mkv?split={text}").parse::<OutputSpec>().unwrap_err().to_string();
            assert!(error.contains(&format!("split={text}")), "{error}");
        }
    }

    #[test]
    fn thumbs_come_from_the_mix_alone() {
        let thumbs = file("a.mp4?thumbs=10s&thumb-width=160").thumbs.unwrap();
        assert_eq!((thumbs.every.as_secs(), thumbs.width), (10, 160));
        assert_eq!(file("a.webm?thumbs=1m").thumbs.unwrap().width, 320);
        for (text, expected) in [
            ("a.mkv?video=copy&thumbs=10s", "mixed picture"),
            ("a.wav?thumbs=10s", "mixed picture"),
            ("a.mkv?thumb-width=100", "needs thumbs"),
            ("a.mkv?thumbs=0s", "thumbs=0s"),
            ("a.mkv?thumbs=5", "thumbs=5"),
        ] {
            let error = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        let error = "{rooom}/a.mkv".parse::<OutputSpec>().unwrap_err().to_string();
        assert!(error.contains("{rooom}") && error.contains("{index}"), "{error}");
        file("{room}/{time}-{index}-{X}.mkv");
    }

    #[test]
    fn sound_alone_has_containers_of_its_own() {
        for (text, container) in [
            ("a.ogg", Container::Ogg),
            ("a.opus", Container::Ogg),
            ("a.wav", Container::Wav),
            ("a.m4a", Container::Mp4),
        ] {
            assert_eq!(file(text).container, container);
            assert_eq!(text.parse::<OutputSpec>().unwrap().tracks.video, None);
        }
        let error = "a.wav?audio=opus".parse::<OutputSpec>().unwrap_err().to_string();
        assert!(error.contains("use pcm, none"), "{error}");
    }
}
