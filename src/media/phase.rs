//! The true time of a mixed picture.
//!
//! The canvas has ticks of its own: a participant's picture is shown up to half a tick before or after the moment at which
//! it was taken, while sound keeps its time to the sample. At 30 pictures a second that alone puts lips and voice up to
//! 17 ms apart. So each input measures how far its pictures are moved, and the mixed picture is given back what the first
//! participant's was moved: slowly, and only when it is worth it, so that pictures keep an even distance. A reader that
//! counts in whole ticks must never find two pictures in one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How far the correction may move from one picture to the next, in ns: it is through in a second.
const STEP: i64 = 500_000;

/// A correction that is wrong by less than this stays as it is, in ns.
const GOOD_ENOUGH: i64 = 3_000_000;

/// The largest correction, in hundredths of a tick: two that differ by half a tick would put a picture into its neighbour's.
const LARGEST: i64 = 25;

/// A measurement counts for this much of the average.
const WEIGHT: i64 = 16;

/// How far one input's pictures are moved by the ticks, on average, in ns; positive is later.
#[derive(Debug)]
pub(crate) struct Phase(AtomicI64);

/// Nothing was measured yet.
const UNKNOWN: i64 = i64::MIN;

impl Phase {
    /// A picture taken at `time` is shown at the nearest tick.
    pub(crate) fn measure(&self, time: u64, tick: u64) {
        let tick = signed(tick).max(1);
        let time = signed(time);
        let shown = (time + tick / 2).div_euclid(tick) * tick;
        let (moved, average) = (shown - time, self.0.load(Ordering::Relaxed));
        let next = if average == UNKNOWN {
            moved
        } else {
            // Half a tick too late and half a tick too early are the same: a camera that trembles there has one phase.
            let step = (moved - average + tick / 2).rem_euclid(tick) - tick / 2;
            let next = average + step / WEIGHT;
            if next.abs() > tick * 3 / 4 { next - next.signum() * tick } else { next }
        };
        self.0.store(next, Ordering::Relaxed);
    }

    fn known(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|moved| *moved != UNKNOWN)
    }
}

/// The phases of all inputs and the correction that the mixed picture has now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phases {
    inputs: Arc<Mutex<Vec<Weak<Phase>>>>,
    correction: Arc<Mutex<Correction>>,
}

#[derive(Debug, Default)]
struct Correction {
    applied: i64,
    moving: bool,
}

impl Phases {
    /// A new input; it counts until it is dropped.
    pub(crate) fn add(&self) -> Arc<Phase> {
        let phase = Arc::new(Phase(AtomicI64::new(UNKNOWN)));
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&phase));
        phase
    }

    /// The time that the picture of a tick should carry.
    pub(crate) fn correct(&self, time: u64, tick: u64) -> u64 {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.retain(|input| input.strong_count() > 0);
        let largest = signed(tick) * LARGEST / 100;
        let moved = inputs.first().and_then(Weak::upgrade).and_then(|phase| phase.known());
        let wanted = moved.map(|moved| moved.clamp(-largest, largest));
        let mut correction = self.correction.lock().unwrap_or_else(PoisonError::into_inner);
        // Without anybody there is nothing to be right about: the last correction stays.
        let wrong = wanted.map_or(0, |wanted| wanted - correction.applied);
        correction.moving = wrong.abs() > if correction.moving { STEP } else { GOOD_ENOUGH };
        if correction.moving {
            correction.applied += wrong.clamp(-STEP, STEP);
        }
        time.saturating_add_signed(-correction.applied)
    }
}

fn signed(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 33_000_000;

    #[test]
    fn a_mixed_picture_gets_the_time_at_which_its_only_input_was_taken() {
        let phases = Phases::default();
        let input = phases.add();
        let taken = |number: u64| number * TICK + 7_000_000;
        let mut last = 0;
        for number in 1..200 {
            input.measure(taken(number), TICK);
            let time = phases.correct(number * TICK, TICK);
            assert!(time > last, "time never goes back");
            last = time;
        }
        assert!(last.abs_diff(taken(199)) <= STEP.unsigned_abs(), "{last} is not {}", taken(199));
    }

    #[test]
    fn a_correction_stays_when_its_participant_leaves_and_whatever_others_do() {
        let phases = Phases::default();
        let (first, second) = (phases.add(), phases.add());
        for number in 1..200 {
            first.measure(number * TICK - 7_000_000, TICK);
            second.measure(number * TICK + 13_000_000, TICK);
            phases.correct(number * TICK, TICK);
        }
        let corrected = 200 * TICK - phases.correct(200 * TICK, TICK);
        assert!(corrected.abs_diff(7_000_000) <= STEP.unsigned_abs(), "{corrected}");
        drop((first, second));
        assert_eq!(300 * TICK - phases.correct(300 * TICK, TICK), corrected);
    }

    #[test]
    fn pictures_keep_an_even_distance_although_their_measured_times_tremble() {
        let phases = Phases::default();
        let input = phases.add();
        let mut distances = Vec::new();
        let mut last = 0;
        for number in 1..400u64 {
            let tremble = number * 7919 % 4_000_000;
            input.measure(number * TICK + 14_000_000 + tremble, TICK);
            let time = phases.correct(number * TICK, TICK);
            distances.push(time - last);
            last = time;
        }
        assert!(distances[200..].iter().all(|distance| *distance == TICK), "{:?}", &distances[200..220]);
    }

    #[test]
    fn a_camera_that_is_slightly_slower_than_the_canvas_never_puts_two_pictures_into_one_tick() {
        let phases = Phases::default();
        let input = phases.add();
        let mut last = 0;
        for number in 1..2_000u64 {
            input.measure(number * (TICK + 100_000), TICK);
            let time = phases.correct(number * TICK, TICK);
            let index = (time + TICK / 2) / TICK;
            assert!(number == 1 || index == last + 1, "{number}: {time}");
            last = index;
        }
    }
}
