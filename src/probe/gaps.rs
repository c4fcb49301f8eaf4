//! Reads a stream's timestamps: how far apart frames are, where something is missing, where time runs backwards.
//!
//! Pure: [`super::tracks`] hands it what was decoded, nothing here touches GStreamer.

use crate::terms::MediaKind;

/// A missing piece of sound longer than this is a gap; shorter ones are rounding of containers.
const AUDIO_TOLERANCE: i64 = 20_000_000;
/// Demuxers place the first buffer by guess (priming, a second segment when another track starts earlier): a jump of up to
/// this much right after it is no loss.
const START_TOLERANCE: i64 = 100_000_000;

/// When one decoded buffer starts and how long it lasts, in nanoseconds of running time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    /// Unknown for video of variable frame rate.
    pub(super) length: Option<i64>,
}

impl Span {
    fn end(self) -> i64 {
        self.start + self.length.unwrap_or(0)
    }
}

/// A piece of time in which nothing was decoded, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// Where the last buffer before it ends.
    pub(super) start: i64,
    pub(super) length: i64,
}

/// What the timestamps of one stream say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timeline {
    /// The median distance between two frames; `None` with fewer than two.
    pub(super) interval: Option<i64>,
    pub(super) holes: Vec<Hole>,
    /// How often a buffer starts before its predecessor.
    pub(super) regressions: u64,
    /// From the first start to the last end.
    pub(super) covered: i64,
}

/// Reads the spans of one stream, in the order in which they were decoded.
pub(super) fn read(kind: MediaKind, spans: &[Span]) -> Timeline {
    let interval = median_interval(spans);
    let mut timeline = Timeline { interval, ..Timeline::default() };
    for (index, pair) in spans.windows(2).enumerate() {
        let (before, after) = (pair[0], pair[1]);
        if after.start < before.start {
            timeline.regressions += 1;
            continue;
        }
        let (from, allowed) = match (kind, interval) {
            (MediaKind::Audio, _) => (before.end(), AUDIO_TOLERANCE),
            // A frame is shown until the next one: the hole begins where that one was due.
            // A lost one leaves a whole interval; a receiver that follows a sender report moves the picture by less.
            (MediaKind::Video, Some(interval)) => (before.start + interval, interval * 9 / 10),
            (MediaKind::Video, None) => continue,
        };
        let length = after.start - from;
        if length > if index == 0 { START_TOLERANCE.max(allowed) } else { allowed } {
            timeline.holes.push(Hole { start: from, length });
        }
    }
    let first = spans.iter().map(|span| span.start).min().unwrap_or(0);
    let last = spans.iter().map(|span| span.start + span.length.or(interval).unwrap_or(0)).max().unwrap_or(0);
    timeline.covered = last - first;
    timeline
}

fn median_interval(spans: &[Span]) -> Option<i64> {
    let mut distances: Vec<i64> =
        spans.windows(2).map(|pair| pair[1].start - pair[0].start).filter(|distance| *distance > 0).collect();
    if distances.is_empty() {
        return None;
    }
    let middle = distances.len() / 2;
    Some(*distances.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn frames(starts_ms: &[i64]) -> Vec<Span> {
        starts_ms.iter().map(|start| Span { start: start * MS, length: None }).collect()
    }

    fn sound(spans_ms: &[(i64, i64)]) -> Vec<Span> {
        spans_ms.iter().map(|(start, length)| Span { start: start * MS, length: Some(length * MS) }).collect()
    }

    #[test]
    fn a_steady_picture_has_no_gap_even_with_times_rounded_to_milliseconds() {
        let timeline = read(MediaKind::Video, &frames(&[0, 33, 67, 100, 133, 167, 200]));
        assert_eq!(timeline.holes, []);
        assert_eq!(timeline.interval, Some(33 * MS));
        assert_eq!(timeline.covered, 233 * MS);
    }

    #[test]
    fn one_missing_frame_is_a_gap_of_one_frame() {
        let timeline = read(MediaKind::Video, &frames(&[0, 33, 66, 132, 165]));
        assert_eq!(timeline.holes, [Hole { start: 99 * MS, length: 33 * MS }]);
    }

    #[test]
    fn missing_sound_is_a_gap_beyond_twenty_milliseconds_only() {
        let timeline = read(MediaKind::Audio, &sound(&[(0, 20), (20, 20), (59, 20), (79, 20), (120, 20)]));
        assert_eq!(timeline.holes, [Hole { start: 99 * MS, length: 21 * MS }]);
    }

    #[test]
    fn a_jump_right_after_the_first_buffer_is_a_gap_only_when_it_is_long() {
        assert_eq!(read(MediaKind::Audio, &sound(&[(0, 20), (66, 20), (86, 20)])).holes, []);
        assert_eq!(read(MediaKind::Audio, &sound(&[(0, 20), (140, 20), (160, 20)])).holes.len(), 1);
        assert_eq!(read(MediaKind::Video, &frames(&[0, 54, 87, 120])).holes, []);
        assert_eq!(read(MediaKind::Video, &frames(&[0, 154, 187, 220])).holes.len(), 1);
    }

    #[test]
    fn time_that_runs_backwards_is_counted_and_is_no_gap() {
        let timeline = read(MediaKind::Video, &frames(&[0, 33, 66, 0, 33, 66]));
        assert_eq!(timeline.regressions, 1);
        assert_eq!(timeline.holes, []);
    }

    #[test]
    fn nothing_and_one_frame_say_nothing() {
        assert_eq!(read(MediaKind::Video, &[]), Timeline::default());
        assert_eq!(read(MediaKind::Video, &frames(&[40])), Timeline::default());
    }
}
