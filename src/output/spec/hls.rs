//! `hls:DIR?format=ts|fmp4|ll&mode=live|event|vod&segment=SECONDS&list=COUNT&part=MS&renditions=720p,360p,audio`.

use std::path::PathBuf;

use super::settings::{Settings, split_query};
use super::tracks::{Height, Stream, Tracks};
use super::{Destination, Parsed};

/// A directory with a playlist and its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HlsDestination {
    /// The directory of `index.m3u8` and the segments.
    pub directory: PathBuf,
    /// What segments are made of.
    pub format: HlsFormat,
    /// What the playlist keeps.
    pub mode: HlsMode,
    /// A segment's length in seconds.
    pub segment: u32,
    /// Segments in the playlist.
    pub list: u32,
    /// A part's length in milliseconds, with low latency.
    pub part: u32,
    /// The sizes of the picture to choose from; without them there is one, and no choice.
    pub renditions: Option<Renditions>,
}

/// What segments are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HlsFormat {
    /// MPEG-TS: what every player knows.
    Ts,
    /// Fragmented MP4.
    Fmp4,
    /// Fragmented MP4 in parts of a fraction of a second: low latency.
    LowLatency,
}

/// What the playlist keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HlsMode {
    /// The last segments.
    Live,
    /// Every segment since the beginning.
    Event,
    /// Every segment; it is written at the end.
    Vod,
}

/// What a viewer may choose from, besides the first picture, which is the output's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renditions {
    /// The further pictures, highest first.
    pub lower: Vec<Stream>,
    /// Whether sound without pictures is a choice.
    pub audio: bool,
}

impl HlsDestination {
    /// The heights of its renditions, highest first.
    pub fn heights(&self, tracks: Tracks) -> impl Iterator<Item = Height> {
        let lower = self.renditions.iter().flat_map(|renditions| renditions.lower.iter().copied());
        tracks.video.into_iter().chain(lower).filter_map(|stream| match stream {
            Stream::Rendition(height) => Some(height),
            _ => None,
        })
    }
}

pub(super) fn parse(rest: &str) -> Parsed {
    let (directory, query) = split_query(rest);
    if directory.is_empty() {
        return Err("the directory is missing: write hls:DIRECTORY".into());
    }
    let mut settings = Settings::new(query);
    let formats = [("ts", HlsFormat::Ts), ("fmp4", HlsFormat::Fmp4), ("ll", HlsFormat::LowLatency)];
    let format = settings.word("format", &formats)?.unwrap_or(HlsFormat::Ts);
    let modes = [("live", HlsMode::Live), ("event", HlsMode::Event), ("vod", HlsMode::Vod)];
    let mode = settings.word("mode", &modes)?.unwrap_or(HlsMode::Live);
    let segment = settings.number("segment", 1..=60)?.unwrap_or(2);
    let list = settings.number("list", 3..=10_000)?.unwrap_or(6);
    let part = settings.number("part", 100..=2000)?;
    let renditions = settings.take("renditions").map(|list| chosen(&list)).transpose()?;
    let (video, audio): (&[_], &[_]) = match (format, &renditions) {
        (HlsFormat::Ts, _) => (&[Stream::H264, Stream::CopiedVideo], &[Stream::Aac]),
        (_, Some(_)) => (&[Stream::H264], &[Stream::Aac, Stream::Opus]),
        (HlsFormat::Fmp4, None) => {
            (&[Stream::H264, Stream::CopiedVideo], &[Stream::Aac, Stream::Opus, Stream::CopiedAudio])
        }
        // A sender's keyframes come when they come, and parts have to be even.
        (HlsFormat::LowLatency, None) => (&[Stream::H264], &[Stream::Aac, Stream::Opus, Stream::CopiedAudio]),
    };
    let mut tracks = Tracks::take(&mut settings, video, audio)?;
    settings.end()?;
    match (format, mode) {
        (HlsFormat::Ts, HlsMode::Event | HlsMode::Vod) => return Err("mode= needs format=fmp4 or format=ll".into()),
        (HlsFormat::LowLatency, HlsMode::Vod) => {
            return Err("mode=vod is written at the end, so it has no low latency: use format=fmp4".into());
        }
        _ => {}
    }
    if part.is_some() && format != HlsFormat::LowLatency {
        return Err("part= needs format=ll".into());
    }
    if part.is_some_and(|part| 2 * part > 1000 * segment) {
        return Err("part= is more than half a segment: make segment= longer".into());
    }
    let renditions = match renditions {
        Some(_) if format == HlsFormat::Ts => return Err("renditions= needs format=fmp4 or format=ll".into()),
        Some((heights, audio)) => Some(renditions_of(&mut tracks, &heights, audio)?),
        None => None,
    };
    let destination = HlsDestination {
        directory: directory.into(),
        format,
        mode,
        segment,
        list,
        part: part.unwrap_or(300),
        renditions,
    };
    Ok((Destination::Hls(destination), tracks))
}

/// Reads `1080p,720p,audio`: heights, highest first, and whether sound alone is among them.
fn chosen(list: &str) -> Result<(Vec<Height>, bool), String> {
    let (mut heights, mut audio) = (Vec::new(), false);
    for word in list.split(',') {
        if word == "audio" {
            audio = true;
            continue;
        }
        let height = word.strip_suffix('p').and_then(|number| number.parse::<u16>().ok());
        let height = height.filter(|height| (64..=4320).contains(height) && height % 2 == 0).ok_or_else(|| {
            format!(
                "renditions={list}: `{word}` is no rendition: use even heights from 64p to 4320p like 720p, and audio"
            )
        })?;
        heights.push(Height(height));
    }
    heights.sort_unstable_by(|a, b| b.cmp(a));
    if heights.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("renditions={list}: one height is there twice"));
    }
    if heights.len() > 8 {
        return Err(format!("renditions={list}: more than eight pictures"));
    }
    Ok((heights, audio))
}

/// Takes the highest picture as the output's own.
fn renditions_of(tracks: &mut Tracks, heights: &[Height], audio: bool) -> Result<Renditions, String> {
    if audio && tracks.audio.is_none() {
        return Err("renditions= has audio, and audio=none leaves it out".into());
    }
    if tracks.video.is_none() && !heights.is_empty() {
        return Err("renditions= has pictures, and video=none leaves them out".into());
    }
    let mut streams = heights.iter().copied().map(Stream::Rendition);
    tracks.video = streams.next();
    if tracks.video.is_none() && tracks.audio.is_none() {
        return Err("renditions= is empty: name some, like 720p,360p,audio".into());
    }
    Ok(Renditions { lower: streams.collect(), audio })
}

#[cfg(test)]
mod tests {
    use super::super::OutputSpec;
    use super::*;

    fn parsed(text: &str) -> (HlsDestination, Tracks) {
        let spec: OutputSpec = text.parse().unwrap();
        let Destination::Hls(hls) = spec.destination else { panic!("{text}") };
        (hls, spec.tracks)
    }

    #[test]
    fn plain_hls_stays_as_it_was() {
        let (hls, tracks) = parsed("hls:www");
        assert_eq!((hls.format, hls.mode, hls.segment, hls.list), (HlsFormat::Ts, HlsMode::Live, 2, 6));
        assert_eq!(tracks, Tracks::both(Stream::H264, Stream::Aac));
        let (hls, _) = parsed("hls:www?format=ll&part=200&mode=event");
        assert_eq!((hls.format, hls.mode, hls.part), (HlsFormat::LowLatency, HlsMode::Event, 200));
    }

    #[test]
    fn renditions_are_sorted_and_the_highest_is_the_outputs_own() {
        let (hls, tracks) = parsed("hls:www?format=fmp4&renditions=360p,audio,720p,480p");
        assert_eq!(tracks.video, Some(Stream::Rendition(Height(720))));
        assert_eq!(hls.heights(tracks).map(|height| height.0).collect::<Vec<_>>(), [720, 480, 360]);
        assert!(hls.renditions.unwrap().audio);
        let (hls, tracks) = parsed("hls:www?format=ll&renditions=audio");
        assert_eq!((tracks.video, tracks.audio), (None, Some(Stream::Aac)));
        assert!(hls.renditions.unwrap().lower.is_empty());
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        for (text, expected) in [
            ("hls:x?mode=vod", "needs format=fmp4"),
            ("hls:x?mode=vod&format=ll", "use format=fmp4"),
            ("hls:x?part=200", "needs format=ll"),
            ("hls:x?format=ll&segment=1&part=600", "half a segment"),
            ("hls:x?format=ll&video=copy", "video=copy is not supported"),
            ("hls:x?renditions=720p", "needs format=fmp4"),
            ("hls:x?format=fmp4&renditions=big", "`big` is no rendition"),
            ("hls:x?format=fmp4&renditions=721p", "even heights"),
            ("hls:x?format=fmp4&renditions=720p,720p", "twice"),
            ("hls:x?format=fmp4&renditions=audio&audio=none", "audio=none"),
            ("hls:x?format=fmp4&renditions=720p&video=none", "video=none"),
        ] {
            let error = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
