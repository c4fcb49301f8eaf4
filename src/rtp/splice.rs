//! Makes one stream of packets out of the sources that follow one another in it: sequence numbers and timestamps go on
//! where the last source ended, duplicates and a second source beside the first are left out. Pure.

use std::time::{Duration, Instant};

use crate::terms::Ssrc;

/// A source that is silent for this long has ended if another one sends: a sender that restarted, not a second layer.
const QUIET: Duration = Duration::from_secs(1);
/// Sequence numbers that are remembered to tell duplicates and what comes too late for any receiver.
const REMEMBERED: u16 = 1024;

/// The numbers of one forwarded stream.
#[derive(Debug)]
pub(crate) struct Splice {
    clock_rate: u32,
    /// Of the first packet, unless it keeps its own.
    first: Option<u16>,
    source: Option<Source>,
    /// The last of both, as sent.
    sequence_number: u16,
    timestamp: u32,
}

#[derive(Debug)]
struct Source {
    ssrc: Ssrc,
    sequence_offset: u16,
    timestamp_offset: u32,
    highest: u16,
    /// How far the numbers have come since the source began, at most [`REMEMBERED`]: what is older was never passed on.
    span: u16,
    seen: [u64; REMEMBERED as usize / 64],
    heard: Instant,
    ended: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence_number: u16,
    pub(crate) timestamp: u32,
    /// The first packet of a source: what follows cannot be decoded before a keyframe.
    pub(crate) new_source: bool,
}

impl Splice {
    pub(crate) fn new(clock_rate: u32) -> Self {
        Self { clock_rate, first: None, source: None, sequence_number: 0, timestamp: 0 }
    }

    /// Gives the first packet this sequence number.
    #[must_use]
    pub(crate) fn beginning_with(self, sequence_number: u16) -> Self {
        Self { first: Some(sequence_number), ..self }
    }

    /// The next packet begins a source, whatever its SSRC.
    pub(crate) fn end_source(&mut self) {
        if let Some(source) = &mut self.source {
            source.ended = true;
        }
    }

    /// Whether a packet of this source would begin a new one. False too for a packet that would be dropped.
    pub(crate) fn would_begin(&self, ssrc: Ssrc, now: Instant) -> bool {
        let goes_on = |source: &Source| !source.ended && (source.ssrc == ssrc || !source.is_quiet(now));
        !self.source.as_ref().is_some_and(goes_on)
    }

    /// Where a packet belongs; `None` drops it.
    pub(crate) fn place(&mut self, ssrc: Ssrc, sequence_number: u16, timestamp: u32, now: Instant) -> Option<Place> {
        let new_source = self.would_begin(ssrc, now);
        if new_source {
            self.begin(ssrc, sequence_number, timestamp, now);
        } else if self.source.as_ref().is_some_and(|source| source.ssrc != ssrc) {
            return None;
        }
        let source = self.source.as_mut()?;
        if !source.take(sequence_number) && !new_source {
            return None;
        }
        source.heard = now;
        let place = Place {
            sequence_number: sequence_number.wrapping_add(source.sequence_offset),
            timestamp: timestamp.wrapping_add(source.timestamp_offset),
            new_source,
        };
        if new_source || place.sequence_number.wrapping_sub(self.sequence_number).cast_signed() > 0 {
            self.sequence_number = place.sequence_number;
            self.timestamp = place.timestamp;
        }
        Some(place)
    }

    /// A timestamp of the source in the numbers of the stream; `None` when it is of another source.
    pub(crate) fn timestamp(&self, ssrc: Ssrc, timestamp: u32) -> Option<u32> {
        let source = self.source.as_ref().filter(|source| source.ssrc == ssrc && !source.ended)?;
        Some(timestamp.wrapping_add(source.timestamp_offset))
    }

    fn begin(&mut self, ssrc: Ssrc, sequence_number: u16, timestamp: u32, now: Instant) {
        let (sequence_offset, timestamp_offset) = match &self.source {
            None => (self.first.map_or(0, |first| first.wrapping_sub(sequence_number)), 0),
            Some(before) => {
                // Media time goes on as wall-clock time does, and never stands still.
                let pause = now.saturating_duration_since(before.heard).as_secs_f64() * f64::from(self.clock_rate);
                let ticks = (pause.round() as u64 as u32).max(1);
                (
                    self.sequence_number.wrapping_add(1).wrapping_sub(sequence_number),
                    self.timestamp.wrapping_add(ticks).wrapping_sub(timestamp),
                )
            }
        };
        self.source = Some(Source {
            ssrc,
            sequence_offset,
            timestamp_offset,
            highest: sequence_number,
            span: 0,
            seen: [0; REMEMBERED as usize / 64],
            heard: now,
            ended: false,
        });
    }
}

impl Source {
    fn is_quiet(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= QUIET
    }

    /// Notes a sequence number. False when it was seen before or is too old.
    fn take(&mut self, number: u16) -> bool {
        let ahead = number.wrapping_sub(self.highest);
        if ahead.cast_signed() > 0 {
            for step in 1..=ahead.min(REMEMBERED) {
                self.set(self.highest.wrapping_add(step), false);
            }
            self.highest = number;
            self.span = self.span.saturating_add(ahead).min(REMEMBERED - 1);
        } else if self.highest.wrapping_sub(number) > self.span || self.get(number) {
            return false;
        }
        self.set(number, true);
        true
    }

    fn get(&self, number: u16) -> bool {
        let (word, bit) = Self::position(number);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    fn set(&mut self, number: u16, value: bool) {
        let (word, bit) = Self::position(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word = if value { *word | bit } else { *word & !bit };
        }
    }

    fn position(number: u16) -> (usize, u64) {
        let number = number % REMEMBERED;
        (usize::from(number / 64), 1 << (number % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ssrc = Ssrc(1);
    const B: Ssrc = Ssrc(2);

    fn numbers(place: Option<Place>) -> Option<(u16, u32)> {
        place.map(|place| (place.sequence_number, place.timestamp))
    }

    #[test]
    fn the_first_source_keeps_its_numbers() {
        let (mut splice, now) = (Splice::new(90_000), Instant::now());
        let first = splice.place(A, 65_535, u32::MAX, now);
        assert_eq!(first, Some(Place { sequence_number: 65_535, timestamp: u32::MAX, new_source: true }));
        let second = splice.place(A, 0, 2999, now);
        assert_eq!(second, Some(Place { sequence_number: 0, timestamp: 2999, new_source: false }));
        let mut splice = Splice::new(90_000).beginning_with(1);
        assert_eq!(numbers(splice.place(A, 65_535, 7, now)), Some((1, 7)), "unless it is given another one");
        assert_eq!(numbers(splice.place(A, 0, 7, now)), Some((2, 7)));
    }

    #[test]
    fn another_source_goes_on_where_the_last_one_ended() {
        let (mut splice, start) = (Splice::new(90_000), Instant::now());
        splice.place(A, 65_534, 1000, start);
        splice.place(A, 65_535, 4000, start);
        let later = start + Duration::from_secs(2);
        let place = splice.place(B, 7, 1_234_567, later).unwrap();
        assert_eq!(place, Place { sequence_number: 0, timestamp: 4000 + 180_000, new_source: true });
        assert_eq!(numbers(splice.place(B, 8, 1_234_567 + 3000, later)), Some((1, 187_000)));
        assert_eq!(splice.timestamp(B, 1_234_567), Some(184_000));
        assert_eq!(splice.timestamp(A, 4000), None);
    }

    #[test]
    fn a_second_source_beside_the_first_is_left_out() {
        let (mut splice, start) = (Splice::new(90_000), Instant::now());
        splice.place(A, 1, 0, start);
        assert_eq!(splice.place(B, 1, 0, start + Duration::from_millis(999)), None);
        assert!(splice.place(A, 2, 0, start + Duration::from_secs(1)).is_some());
        assert_eq!(splice.place(B, 2, 0, start + Duration::from_millis(1999)), None);
        assert!(splice.place(B, 3, 0, start + Duration::from_secs(2)).is_some());
    }

    #[test]
    fn a_source_that_was_ended_is_followed_at_once_even_under_its_own_number() {
        let (mut splice, now) = (Splice::new(48_000), Instant::now());
        splice.place(A, 10, 960, now);
        splice.end_source();
        let place = splice.place(A, 500, 7, now + Duration::from_millis(20)).unwrap();
        assert_eq!(place, Place { sequence_number: 11, timestamp: 960 + 960, new_source: true });
        splice.end_source();
        assert_eq!(numbers(splice.place(B, 1, 1, now)), Some((12, 1921)), "time never stands still");
    }

    #[test]
    fn what_was_sent_before_a_source_began_does_not_take_the_numbers_of_the_one_before() {
        let (mut splice, now) = (Splice::new(90_000), Instant::now());
        splice.place(A, 10, 0, now);
        splice.place(A, 11, 3000, now);
        splice.end_source();
        assert!(splice.would_begin(A, now));
        assert_eq!(splice.place(B, 500, 0, now).map(|place| place.sequence_number), Some(12));
        assert!(!splice.would_begin(B, now) && !splice.would_begin(A, now));
        assert_eq!(splice.place(B, 499, 0, now), None);
        assert!(splice.place(B, 502, 0, now).is_some() && splice.place(B, 501, 0, now).is_some());
    }

    #[test]
    fn late_packets_pass_once_and_very_late_ones_never() {
        let (mut splice, now) = (Splice::new(90_000), Instant::now());
        let mut pass = |number| splice.place(A, number, 0, now).is_some();
        assert!(pass(65_000) && pass(65_003) && pass(65_001));
        assert!(!pass(65_001) && !pass(65_003) && pass(65_002));
        assert!(pass(400), "across the wrap");
        assert!(!pass(65_001), "seen");
        assert!(pass(399) && !pass(399));
        assert!(pass(2000) && !pass(400), "too old");
        assert!(pass(977) && !pass(976));
    }
}
