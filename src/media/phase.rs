//! The true time of a mixed picture.
//!
//! The canvas has ticks of its own: a participant's picture is shown up to half a tick before or after the moment at which
//! it was taken, while sound keeps its time to the sample. At 30 pictures a second that alone puts lips and voice up to
//! 17 ms apart. So each input measures how far its pictures are moved, and the mixed picture is given back that much,
//! slowly, so that its rate stays even.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How far the correction may move from one picture to the next, in ns: it is through in half a second.
const STEP: i64 = 1_000_000;

/// A measurement counts for this much of the average.
const WEIGHT: i64 = 16;

/// How far one input's pictures are moved by the ticks, on average, in ns; positive is later.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicI64);

impl Phase {
    /// A picture taken at `time` is shown at the nearest tick.
    pub(crate) fn measure(&self, time: u64, tick: u64) {
        let tick = signed(tick).max(1);
        let time = signed(time);
        let shown = (time + tick / 2).div_euclid(tick) * tick;
        let (moved, average) = (shown - time, self.0.load(Ordering::Relaxed));
        // From the end of one tick to the beginning of the next is a small step, not the way back through all of it.
        let next = if (moved - average).abs() > tick / 2 { moved } else { average + (moved - average) / WEIGHT };
        self.0.store(next, Ordering::Relaxed);
    }
}

/// The phases of all inputs and the correction that the mixed picture has now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phases {
    inputs: Arc<Mutex<Vec<Weak<Phase>>>>,
    applied: Arc<AtomicI64>,
}

impl Phases {
    /// A new input; it counts until it is dropped.
    pub(crate) fn add(&self) -> Arc<Phase> {
        let phase = Arc::new(Phase::default());
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&phase));
        phase
    }

    /// The time that the picture of a tick should carry.
    pub(crate) fn correct(&self, time: u64) -> u64 {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.retain(|input| input.strong_count() > 0);
        let moved = inputs.iter().filter_map(Weak::upgrade).map(|phase| phase.0.load(Ordering::Relaxed));
        let (sum, count) = moved.fold((0, 0), |(sum, count), moved| (sum + moved, count + 1));
        let wanted = if count == 0 { 0 } else { sum / count };
        let applied = self.applied.load(Ordering::Relaxed);
        let applied = applied + (wanted - applied).clamp(-STEP, STEP);
        self.applied.store(applied, Ordering::Relaxed);
        time.saturating_add_signed(-applied)
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
        let taken = |number: u64| number * TICK + 12_000_000;
        let mut last = 0;
        for number in 1..200 {
            input.measure(taken(number), TICK);
            let time = phases.correct(number * TICK);
            assert!(time > last, "time never goes back");
            last = time;
        }
        assert!(last.abs_diff(taken(199)) < 100_000, "{last} is not {}", taken(199));
    }

    #[test]
    fn the_correction_fades_when_everybody_has_left() {
        let phases = Phases::default();
        let input = phases.add();
        for number in 1..100 {
            input.measure(number * TICK - 9_000_000, TICK);
            phases.correct(number * TICK);
        }
        assert!(phases.correct(100 * TICK) < 100 * TICK);
        drop(input);
        for number in 101..150 {
            phases.correct(number * TICK);
        }
        assert_eq!(phases.correct(150 * TICK), 150 * TICK);
    }

    #[test]
    fn a_camera_that_is_slightly_slower_than_the_canvas_never_makes_time_jump() {
        let phases = Phases::default();
        let input = phases.add();
        let mut last = 0;
        for number in 1..2_000u64 {
            input.measure(number * (TICK + 100_000), TICK);
            let time = phases.correct(number * TICK);
            let apart = signed(time) - signed(last);
            assert!(last == 0 || (signed(TICK) - apart).abs() <= STEP, "{apart}");
            last = time;
        }
    }
}
