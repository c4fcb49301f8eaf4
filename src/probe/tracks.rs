//! Gathers what was seen of each stream, and sums it up as a report.

use std::sync::Arc;
use std::time::Instant;

use super::decode_errors::Tally;
use super::gaps::{self, Span};
use super::observe::{Content, Frame, Seen};
use super::report::{Gap, Gaps, Shape, Skew, StreamReport};
use super::skew::{self, BeepDetector, FlashDetector};
use crate::terms::MediaKind;

/// How many gaps a report lists.
const LISTED_GAPS: usize = 5;

/// All streams of a source.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    tracks: Vec<Track>,
    flashes: FlashDetector,
    beeps: BeepDetector,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Track {
    id: usize,
    pub(super) kind: MediaKind,
    tally: Option<Arc<Tally>>,
    pub(super) spans: Vec<Span>,
    pub(super) first_decoded_at: Option<Instant>,
    pub(super) last_decoded_at: Option<Instant>,
    damaged: u64,
    shape: Shape,
}

impl Tracks {
    pub(super) fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Stream { id, kind, tally } => self.tracks.push(Track::new(id, kind, tally)),
            Seen::Frame { id, frame } => {
                let Some(track) = self.tracks.iter_mut().find(|track| track.id == id) else { return };
                match &frame.content {
                    Content::Picture { luma, .. } => self.flashes.push(frame.span.start, *luma),
                    Content::Sound { levels, .. } => {
                        levels.iter().for_each(|(start, level)| self.beeps.push(*start, *level));
                    }
                }
                track.take(frame);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter()
    }

    /// The frames decoded of one kind.
    pub(super) fn frames_of(&self, kind: MediaKind) -> usize {
        self.tracks.iter().filter(|track| track.kind == kind).map(|track| track.spans.len()).sum()
    }

    /// The first complaint of any decoder.
    pub(super) fn decode_error(&self) -> Option<String> {
        self.tracks.iter().find_map(|track| {
            (track.errors() > 0).then(|| track.complaint().unwrap_or_else(|| "a damaged picture".into()))
        })
    }

    /// When the first frame of all came.
    pub(super) fn first_decoded_at(&self) -> Option<Instant> {
        self.tracks.iter().filter_map(|track| track.first_decoded_at).min()
    }

    pub(super) fn reports(&self, started: Instant) -> Vec<StreamReport> {
        let origin = self.tracks.iter().flat_map(|track| track.spans.first()).map(|span| span.start).min().unwrap_or(0);
        self.tracks.iter().map(|track| track.report(started, origin)).collect()
    }

    pub(super) fn skew(&self) -> Option<Skew> {
        let pairing = skew::pair(&self.flashes.onsets, &self.beeps.onsets)?;
        let milliseconds = |nanoseconds: i64| (nanoseconds as f64 / 1e5).round() / 10.0;
        Some(Skew {
            count: pairing.count,
            median_ms: milliseconds(pairing.median),
            worst_ms: milliseconds(pairing.worst),
        })
    }
}

impl Track {
    fn new(id: usize, kind: MediaKind, tally: Option<Arc<Tally>>) -> Self {
        let shape = match kind {
            MediaKind::Video => Shape::Video { width: 0, height: 0, fps: 0.0, size_changes: 0 },
            MediaKind::Audio => Shape::Audio { channels: 0, rate: 0 },
        };
        let (spans, damaged) = (Vec::new(), 0);
        Self { id, kind, tally, spans, first_decoded_at: None, last_decoded_at: None, damaged, shape }
    }

    fn take(&mut self, frame: Frame) {
        self.first_decoded_at.get_or_insert(frame.decoded_at);
        self.last_decoded_at = Some(frame.decoded_at);
        self.damaged += u64::from(frame.is_corrupt);
        match (&mut self.shape, &frame.content) {
            (Shape::Video { width, height, size_changes, .. }, Content::Picture { width: w, height: h, .. }) => {
                *size_changes += u64::from(!self.spans.is_empty() && (*width, *height) != (*w, *h));
                (*width, *height) = (*w, *h);
            }
            (Shape::Audio { channels, rate }, Content::Sound { channels: c, rate: r, .. }) => {
                (*channels, *rate) = (*c, *r);
            }
            _ => {}
        }
        self.spans.push(frame.span);
    }

    fn errors(&self) -> u64 {
        self.damaged + self.tally.as_ref().map_or(0, |tally| tally.errors())
    }

    fn complaint(&self) -> Option<String> {
        self.tally.as_ref()?.first().map(str::to_owned)
    }

    /// Seconds between the first and the last frame so far.
    pub(super) fn covered(&self) -> f64 {
        match (self.spans.first(), self.spans.last()) {
            (Some(first), Some(last)) => seconds(last.start - first.start),
            _ => 0.0,
        }
    }

    fn codec(&self) -> String {
        let caps = self.tally.as_ref().and_then(|tally| tally.caps());
        caps.map_or_else(|| "raw".into(), |caps| codec_name(&caps))
    }

    fn report(&self, started: Instant, origin: i64) -> StreamReport {
        let timeline = gaps::read(self.kind, &self.spans);
        let at = |time: i64| seconds(time - origin);
        let gaps = Gaps {
            count: timeline.holes.len(),
            total: seconds(timeline.holes.iter().map(|hole| hole.length).sum()),
            first: timeline
                .holes
                .iter()
                .take(LISTED_GAPS)
                .map(|hole| Gap { at: at(hole.start), length: seconds(hole.length) })
                .collect(),
        };
        let mut shape = self.shape.clone();
        if let Shape::Video { fps, .. } = &mut shape {
            // Over the whole time, so that missing frames lower it.
            let frames = self.spans.len() as f64;
            *fps = if timeline.covered > 0 { round(frames / seconds(timeline.covered)) } else { 0.0 };
        }
        StreamReport {
            kind: self.kind,
            codec: self.codec(),
            frames: self.spans.len() as u64,
            decode_errors: self.errors(),
            decode_error: self.complaint(),
            first_frame: self.first_decoded_at.map(|instant| round((instant - started).as_secs_f64())),
            start: self.spans.first().map_or(0.0, |span| at(span.start)),
            duration: seconds(timeline.covered),
            gaps,
            regressions: timeline.regressions,
            shape,
        }
    }
}

fn codec_name(caps: &gstreamer::Caps) -> String {
    let Some(first) = caps.structure(0) else { return "unknown".into() };
    let name = first.name().as_str();
    let short = match name {
        "audio/mpeg" => match first.get::<i32>("mpegversion") {
            Ok(1) => "mp3",
            _ => "aac",
        },
        "video/mpeg" => match first.get::<i32>("mpegversion") {
            Ok(4) => "mpeg4",
            _ => "mpeg2",
        },
        _ => name.split_once('/').map_or(name, |(_, name)| name.trim_start_matches("x-")),
    };
    short.to_owned()
}

fn seconds(nanoseconds: i64) -> f64 {
    round(nanoseconds as f64 / 1e9)
}

/// To the millisecond: more is noise, and noise makes reports hard to read.
pub(super) fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
