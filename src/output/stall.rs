//! Notices an output that is fed and takes nothing.
//!
//! A peer that stops reading gives no error: TCP waits for it as long as it likes. What is fed meanwhile is dropped at the
//! output's bounded queue, and nobody would ever know.

use std::time::Duration;

/// How often [`Stall::after`] is called.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How long an output may take nothing.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// What has happened to one stream of an output since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// Access units offered.
    pub(super) fed: u64,
    /// How far the output has come, in whatever unit; 0 before the first access unit.
    pub(super) taken: u64,
}

/// Counts the seconds in which an output took nothing.
#[derive(Debug, Default)]
pub(super) struct Stall {
    last: Vec<Flow>,
    standing: Duration,
}

impl Stall {
    /// One tick later. True when nothing was taken for [`LIMIT`] although every stream was fed all the time: a muxer also
    /// waits when a participant whose streams are copied sends only one of them, and that is no fault of the output's.
    pub(super) fn after(&mut self, now: Vec<Flow>) -> bool {
        let stands = |(before, now): (&Flow, &Flow)| now.taken > 0 && now.taken == before.taken && now.fed > before.fed;
        let standing = !now.is_empty() && now.len() == self.last.len() && self.last.iter().zip(&now).all(stands);
        self.standing = if standing { self.standing + TICK } else { Duration::ZERO };
        self.last = now;
        self.standing >= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many ticks a stall is seen, if `each` gives what has happened to video and sound by then.
    fn seen(each: impl Fn(u64) -> [(u64, u64); 2]) -> Option<u64> {
        let mut stall = Stall::default();
        (0..60).find(|tick| stall.after(each(*tick).map(|(fed, taken)| Flow { fed, taken }).to_vec()))
    }

    #[test]
    fn an_output_that_takes_nothing_while_it_is_fed_has_stalled_after_ten_seconds() {
        assert_eq!(seen(|tick| [(30 * tick, tick.min(5)), (47 * tick, tick.min(5))]), Some(15));
    }

    #[test]
    fn one_that_takes_something_now_and_then_has_not() {
        assert_eq!(seen(|tick| [(30 * tick, 1 + tick / 9), (47 * tick, 1)]), None);
    }

    #[test]
    fn one_that_waits_for_its_first_picture_or_for_somebodys_sound_has_not() {
        assert_eq!(seen(|tick| [(30 * tick, 0), (47 * tick, 0)]), None);
        assert_eq!(seen(|tick| [(30 * tick, tick.min(5)), (47 * tick.min(5), tick.min(5))]), None);
    }
}
