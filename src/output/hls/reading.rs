//! The text of one of our own playlists, read again: by an output that goes on after a failure, and by `serve`, which
//! answers requests that wait for a part (bis, section 6.2.5.2).
//!
//! It reads what `playlist.rs` writes and nothing else. Not even that is believed: a bridge that was taken over writes what it likes, and
//! `serve` is what reads it.

use std::time::Duration;

use super::playlist::{Kind, Part, Playlist, Report, Segment};

/// Nothing of a playlist lasts longer, in seconds: a day.
const LONGEST: u32 = 86_400;

/// What a client waits for: `_HLS_msn` and `_HLS_part`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The segment's number.
    pub segment: u64,
    /// The part of it; `None` waits for the whole segment.
    pub part: Option<u64>,
}

/// What a playlist says to somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is there.
    There,
    /// It comes.
    Coming,
    /// It is too far ahead of what there is to wait for it.
    TooFar,
}

impl Playlist {
    /// Reads a text that [`Playlist`] has written; `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some("#EXTM3U") {
            return None;
        }
        let mut playlist = Self::new(Kind::Live, 0, None);
        let mut making = Making::default();
        for line in lines {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-TARGETDURATION" => {
                    playlist.target = value.parse::<u32>().ok().filter(|target| *target <= LONGEST)?
                }
                "#EXT-X-PLAYLIST-TYPE" => playlist.kind = if value == "VOD" { Kind::Vod } else { Kind::Event },
                "#EXT-X-PART-INF" => playlist.part_target = Some(seconds(attribute(value, "PART-TARGET")?)?),
                "#EXT-X-MEDIA-SEQUENCE" => playlist.sequence = number(value)?,
                "#EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = number(value)?,
                "#EXT-X-DISCONTINUITY" => making.discontinuity = true,
                "#EXT-X-MAP" => making.map = attribute(value, "URI")?.to_owned(),
                "#EXT-X-PROGRAM-DATE-TIME" => making.start = Some(value.parse().ok()?),
                "#EXT-X-PART" => making.parts.push(Part {
                    uri: attribute(value, "URI")?.to_owned(),
                    duration: seconds(attribute(value, "DURATION")?)?,
                    independent: attribute(value, "INDEPENDENT") == Some("YES"),
                }),
                "#EXTINF" => making.duration = seconds(value.trim_end_matches(','))?,
                "#EXT-X-PRELOAD-HINT" => playlist.hint = Some(attribute(value, "URI")?.to_owned()),
                "#EXT-X-RENDITION-REPORT" => playlist.reports.push(Report {
                    uri: attribute(value, "URI")?.to_owned(),
                    segment: attribute(value, "LAST-MSN")?.parse().ok()?,
                    part: attribute(value, "LAST-PART").and_then(|part| part.parse().ok()),
                }),
                "#EXT-X-ENDLIST" => playlist.ended = true,
                uri if !uri.starts_with('#') && !line.is_empty() => playlist.segments.push_back(making.segment(line)?),
                _ => {}
            }
        }
        if !making.parts.is_empty() {
            let duration = making.parts.iter().map(|part| part.duration).sum();
            playlist.open = Some(Segment { duration, ..making.segment("")? });
        }
        (playlist.target > 0).then_some(playlist)
    }

    /// Whether a part or a segment is there (bis, section 6.2.5.2).
    pub fn readiness(&self, awaited: Awaited) -> Readiness {
        let next = self.next_sequence();
        let Awaited { segment, part } = awaited;
        let of = |number: u64| {
            let complete =
                number.checked_sub(self.sequence).and_then(|index| self.segments.get(usize::try_from(index).ok()?));
            let open = self.open.as_ref().filter(|_| number == next);
            complete.or(open).map_or(0, |segment| segment.parts.len() as u64)
        };
        let there = match part {
            // A part behind the last of a complete segment is the first of the next.
            Some(part) if segment < next && part >= of(segment) && of(segment) > 0 => {
                segment + 1 < next || of(segment + 1) > 0
            }
            _ if segment < next => true,
            Some(part) => segment == next && part < of(next),
            None => false,
        };
        if there || self.ended {
            return Readiness::There;
        }
        let parts_ahead = match self.part_target.map(|part| part.as_secs_f64()) {
            // The advance part limit.
            Some(length) if length < 1.0 => (3.0 / length).ceil(),
            _ => 3.0,
        };
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let too_far = segment > next + 1
            || (segment == next && part.is_some_and(|part| (part as f64) >= (of(next) as f64) + parts_ahead));
        if too_far { Readiness::TooFar } else { Readiness::Coming }
    }
}

/// A segment of which the lines are being read.
#[derive(Default)]
struct Making {
    duration: Duration,
    start: Option<jiff::Timestamp>,
    map: String,
    discontinuity: bool,
    parts: Vec<Part>,
}

impl Making {
    fn segment(&mut self, uri: &str) -> Option<Segment> {
        Some(Segment {
            uri: uri.to_owned(),
            duration: std::mem::take(&mut self.duration),
            start: self.start.take()?,
            map: self.map.clone(),
            discontinuity: std::mem::take(&mut self.discontinuity),
            parts: std::mem::take(&mut self.parts),
        })
    }
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok().filter(|length| length.as_secs() <= u64::from(LONGEST))
}

/// A number that can still be counted on from.
fn number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| *number <= u64::MAX / 2)
}

/// An attribute's value without its quotes (RFC 8216, section 4.2). Our own values contain neither commas nor quotes.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let value = list.split(',').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))?.1;
    Some(value.trim_matches('"'))
}
