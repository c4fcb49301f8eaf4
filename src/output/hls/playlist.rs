//! The text of a media playlist: RFC 8216, and for low latency its successor draft-pantos-hls-rfc8216bis ("bis").
//!
//! Pure: the output fills one and writes its text, `serve` reads that text and answers with less of it. Nothing here opens a file.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// A media playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct Playlist {
    /// What it keeps; `EXT-X-PLAYLIST-TYPE` (RFC 8216, section 4.3.3.5).
    pub kind: Kind,
    /// No segment is longer than this many seconds, rounded (section 4.3.3.1).
    pub target: u32,
    /// No part is longer than this; `None` without low latency (bis, section 4.4.3.7).
    pub part_target: Option<Duration>,
    /// The number of the first segment (section 4.3.3.2).
    pub sequence: u64,
    /// How many discontinuities have left the list (section 4.3.3.3).
    pub discontinuity_sequence: u64,
    /// The complete segments, oldest first.
    pub segments: VecDeque<Segment>,
    /// The segment in the making, as far as it goes; low latency only.
    pub open: Option<Segment>,
    /// The part that comes next (bis, section 4.4.5.3).
    pub hint: Option<String>,
    /// How far the other renditions are (bis, section 4.4.5.4).
    pub reports: Vec<Report>,
    /// Nothing follows.
    pub ended: bool,
}

/// What a playlist keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The last segments.
    Live,
    /// All since the beginning.
    Event,
    /// All; complete.
    Vod,
}

/// A segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Its file.
    pub uri: String,
    /// Its length; of one in the making, so far.
    pub duration: Duration,
    /// When its first picture was taken (section 4.3.2.6).
    pub start: Timestamp,
    /// The file with what a decoder needs first (section 4.3.2.5); empty where the segments have that themselves.
    pub map: String,
    /// The timeline or the coding begins anew with it (section 4.3.2.3).
    pub discontinuity: bool,
    /// Its parts, where there are any.
    pub parts: Vec<Part>,
}

/// A part of a segment (bis, section 4.4.4.9).
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its file.
    pub uri: String,
    /// Its length.
    pub duration: Duration,
    /// It begins with a keyframe.
    pub independent: bool,
}

/// How far another rendition is.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its playlist.
    pub uri: String,
    /// The number of its last segment, complete or not.
    pub segment: u64,
    /// The index of its last part.
    pub part: Option<u64>,
}

/// Parts are listed for this many target durations at the end (bis, section 4.4.4.9).
const PARTS_FOR: u32 = 3;

/// What a delta update never leaves out, in target durations: the least that is allowed (bis, section 4.4.3.8).
const SKIP_UNTIL: u32 = 6;

impl Playlist {
    /// An empty one.
    pub fn new(kind: Kind, target: u32, part_target: Option<Duration>) -> Self {
        Self {
            kind,
            target,
            part_target,
            sequence: 0,
            discontinuity_sequence: 0,
            segments: VecDeque::new(),
            open: None,
            hint: None,
            reports: Vec::new(),
            ended: false,
        }
    }

    /// The number of the segment that comes after the complete ones.
    pub fn next_sequence(&self) -> u64 {
        self.sequence + self.segments.len() as u64
    }

    /// The number of the last segment of which something is there, and the index of its last part.
    pub fn last(&self) -> Option<(u64, Option<u64>)> {
        let part = |segment: &Segment| (segment.parts.len() as u64).checked_sub(1);
        match (&self.open, self.segments.back()) {
            (Some(open), _) => Some((self.next_sequence(), part(open))),
            (None, Some(last)) => Some((self.next_sequence() - 1, part(last))),
            (None, None) => None,
        }
    }

    /// Adds a complete segment, raising the target duration where that cannot be avoided.
    pub fn push(&mut self, segment: Segment) {
        self.target = self.target.max(rounded(segment.duration));
        self.segments.push_back(segment);
    }

    /// Lets the oldest go until `keep` are left; they are to be deleted some time later (section 6.2.2).
    pub fn trim(&mut self, keep: usize) -> Vec<Segment> {
        let mut gone = Vec::new();
        while self.kind == Kind::Live && self.segments.len() > keep {
            let Some(first) = self.segments.pop_front() else { break };
            self.sequence += 1;
            self.discontinuity_sequence += u64::from(first.discontinuity);
            gone.push(first);
        }
        gone
    }

    /// The text with the segments left out that a client knows already (bis, section 6.2.5.1). It is the whole text when
    /// there are none.
    pub fn delta(&self) -> String {
        self.text(self.skippable())
    }

    /// How many segments are so far from the end that a delta update leaves them out.
    fn skippable(&self) -> usize {
        let boundary = Duration::from_secs((SKIP_UNTIL * self.target).into());
        let mut left = self.length();
        self.segments
            .iter()
            .take_while(|segment| {
                let before = left;
                left = left.saturating_sub(segment.duration);
                before > boundary && left >= boundary
            })
            .count()
    }

    /// The length of all.
    fn length(&self) -> Duration {
        self.segments.iter().chain(&self.open).map(|segment| segment.duration).sum()
    }

    fn text(&self, skipped: usize) -> String {
        let mut text = Text(String::new());
        text.line("#EXTM3U");
        self.header(&mut text);
        if skipped > 0 {
            text.line(format_args!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"));
        }
        let parts_within = Duration::from_secs((PARTS_FOR * self.target).into());
        let mut to_the_end = self.length();
        // A delta's first segment has the map of the one before it.
        let mut map =
            skipped.checked_sub(1).and_then(|last| self.segments.get(last)).map(|segment| segment.map.as_str());
        for (index, segment) in self.segments.iter().enumerate() {
            let has_parts = to_the_end <= parts_within;
            to_the_end = to_the_end.saturating_sub(segment.duration);
            if index < skipped {
                continue;
            }
            segment.begin(&mut text, &mut map);
            if has_parts && self.part_target.is_some() {
                segment.parts(&mut text);
            }
            text.line(format_args!("#EXTINF:{:.5},", segment.duration.as_secs_f64()));
            text.line(&segment.uri);
        }
        if let Some(open) = &self.open {
            open.begin(&mut text, &mut map);
            open.parts(&mut text);
        }
        if let Some(hint) = self.hint.as_ref().filter(|_| !self.ended) {
            text.line(format_args!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{hint}\""));
        }
        for Report { uri, segment, part } in &self.reports {
            let part = part.map(|part| format!(",LAST-PART={part}")).unwrap_or_default();
            text.line(format_args!("#EXT-X-RENDITION-REPORT:URI=\"{uri}\",LAST-MSN={segment}{part}"));
        }
        if self.ended {
            text.line("#EXT-X-ENDLIST");
        }
        text.0
    }

    fn header(&self, text: &mut Text) {
        // EXTINF with a fraction needs 3, EXT-X-MAP 6, EXT-X-SKIP 9 (bis, section 8); old players refuse what is more than they know.
        let has_maps = self.segments.iter().chain(&self.open).any(|segment| !segment.map.is_empty());
        let version = match (self.part_target, has_maps) {
            (Some(_), _) => 9,
            (None, true) => 6,
            (None, false) => 3,
        };
        text.line(format_args!("#EXT-X-VERSION:{version}"));
        text.line(format_args!("#EXT-X-TARGETDURATION:{}", self.target));
        match self.kind {
            Kind::Live => {}
            Kind::Event => text.line("#EXT-X-PLAYLIST-TYPE:EVENT"),
            Kind::Vod => text.line("#EXT-X-PLAYLIST-TYPE:VOD"),
        }
        text.line("#EXT-X-INDEPENDENT-SEGMENTS");
        if let Some(part) = self.part_target {
            // No part may be longer than what is said here: rounding must not make it less.
            let part = (part.as_secs_f64() * 1000.0).ceil() / 1000.0;
            text.line(format_args!(
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={:.3},HOLD-BACK={}.0,CAN-SKIP-UNTIL={}.0",
                // Three parts are what the draft asks for; rounding must not make them less.
                (3000.0 * part).ceil() / 1000.0,
                3 * self.target,
                SKIP_UNTIL * self.target
            ));
            text.line(format_args!("#EXT-X-PART-INF:PART-TARGET={part:.3}"));
        }
        text.line(format_args!("#EXT-X-MEDIA-SEQUENCE:{}", self.sequence));
        if self.discontinuity_sequence > 0
            || self.segments.iter().chain(&self.open).any(|segment| segment.discontinuity)
        {
            text.line(format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence));
        }
    }
}

impl Segment {
    /// What comes before its parts and its file.
    fn begin<'a>(&'a self, text: &mut Text, map: &mut Option<&'a str>) {
        if self.discontinuity {
            text.line("#EXT-X-DISCONTINUITY");
        }
        if !self.map.is_empty() && *map != Some(&self.map) {
            text.line(format_args!("#EXT-X-MAP:URI=\"{}\"", self.map));
            *map = Some(&self.map);
        }
        text.line(format_args!("#EXT-X-PROGRAM-DATE-TIME:{:.3}", self.start));
    }

    fn parts(&self, text: &mut Text) {
        for Part { uri, duration, independent } in &self.parts {
            let independent = if *independent { ",INDEPENDENT=YES" } else { "" };
            text.line(format_args!("#EXT-X-PART:DURATION={:.5},URI=\"{uri}\"{independent}", duration.as_secs_f64()));
        }
    }
}

/// The whole text.
impl fmt::Display for Playlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(0))
    }
}

struct Text(String);

impl Text {
    fn line(&mut self, line: impl fmt::Display) {
        self.0 += &format!("{line}\n");
    }
}

/// To the nearest whole second, as the target duration is compared (section 4.3.3.1).
fn rounded(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs() + u64::from(duration.subsec_millis() >= 500)).unwrap_or(u32::MAX)
}
