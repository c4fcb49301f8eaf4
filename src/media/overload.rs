//! When an encoder of pictures cannot keep up: fewer pictures, then less effort for each, and all of it again when there is time. A
//! pure state machine, fed once a second.
//!
//! What waits for the encoder is bounded whatever happens here (`Patience::Encoder`): these steps are there so that pictures
//! come evenly instead of in lumps. The size stays as it is: with another one a recording goes on in a further file.

use std::time::Duration;

/// How an encoder is relieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// One of so many pictures is encoded: evenly spaced ones.
    pub one_in: u32,
    /// With the preset that costs least.
    pub fastest: bool,
}

const fn pictures(one_in: u32) -> Step {
    Step { one_in, fastest: false }
}

const fn fastest(one_in: u32) -> Step {
    Step { one_in, fastest: true }
}

const STEPS: [Step; 4] = [pictures(1), pictures(2), pictures(3), pictures(6)];

/// Where there is a faster preset. It costs sharpness in every picture, so it comes when a third of them is still too much.
const STEPS_WITH_PRESET: [Step; 5] = [pictures(1), pictures(2), pictures(3), fastest(3), fastest(6)];

/// When this part of the pictures is dropped, or one comes out so late, the encoder does not keep up.
const DROPPED_PART: u64 = 20;
const LATE: Duration = Duration::from_millis(350);

/// One bad second is a hiccup.
const BAD_SECONDS: u32 = 2;

/// After a step the queue is worked off for this long before anything is judged.
const SETTLE: u32 = 2;

/// So many good seconds, and one step back is tried. Each attempt that fails doubles it.
const GOOD_SECONDS: u32 = 6;
const MOST_GOOD_SECONDS: u32 = 300;

/// What an encoder did in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Pictures that came from the mixer.
    pub came: u64,
    /// Those that were dropped because too many waited.
    pub dropped: u64,
    /// The greatest age of a picture that came out: from its moment in the mix.
    pub late: Duration,
}

/// Where an encoder stands.
#[derive(Clone, Debug)]
pub struct Overload {
    steps: &'static [Step],
    level: usize,
    /// Seconds that are not judged.
    settling: u32,
    bad: u32,
    good: u32,
    /// How many good seconds a step back takes.
    patience: u32,
    /// Seconds since the last step back, while it may still prove a mistake.
    since_up: Option<u32>,
}

impl Overload {
    /// For an encoder that has a faster preset, or none.
    pub fn new(has_faster_preset: bool) -> Self {
        let steps: &[Step] = if has_faster_preset { &STEPS_WITH_PRESET } else { &STEPS };
        // Starting takes its time: keyframes, caches, everybody joining at once.
        Self { steps, level: 0, settling: SETTLE, bad: 0, good: 0, patience: GOOD_SECONDS, since_up: None }
    }

    /// 0 is everything; each further level is a step down.
    pub fn level(&self) -> usize {
        self.level
    }

    /// How it is relieved now.
    pub fn step(&self) -> Step {
        self.steps.get(self.level).copied().unwrap_or(STEPS[0])
    }

    /// Takes a second in. True when the level has changed.
    pub fn take(&mut self, second: Second) -> bool {
        if self.settling > 0 {
            self.settling -= 1;
            return false;
        }
        self.since_up = self.since_up.map(|since| since + 1).filter(|since| *since < self.patience);
        if self.since_up.is_none() && self.level == 0 {
            self.patience = GOOD_SECONDS;
        }
        let is_bad = second.dropped * DROPPED_PART > second.came || second.late > LATE;
        (self.bad, self.good) = if is_bad { (self.bad + 1, 0) } else { (0, self.good + 1) };
        if self.bad >= BAD_SECONDS && self.level + 1 < self.steps.len() {
            if self.since_up.take().is_some() {
                self.patience = (self.patience * 2).min(MOST_GOOD_SECONDS);
            }
            return self.go(self.level + 1);
        }
        if self.good >= self.patience && self.level > 0 {
            self.since_up = Some(0);
            return self.go(self.level - 1);
        }
        false
    }

    fn go(&mut self, level: usize) -> bool {
        (self.level, self.settling, self.bad, self.good) = (level, SETTLE, 0, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An encoder that can do so many pictures a second, of 30; each second's level.
    fn run(overload: &mut Overload, seconds: usize, capacity: u64) -> Vec<usize> {
        let second = |overload: &Overload| {
            let wanted = 30 / u64::from(overload.step().one_in);
            let dropped = wanted.saturating_sub(capacity) * u64::from(overload.step().one_in);
            let late = Duration::from_millis(if dropped > 0 { 400 } else { 20 });
            Second { came: 30, dropped, late }
        };
        (0..seconds)
            .map(|_| {
                overload.take(second(overload));
                overload.level()
            })
            .collect()
    }

    #[test]
    fn an_encoder_that_keeps_up_is_left_alone_and_so_is_a_hiccup() {
        let mut overload = Overload::new(false);
        assert!(run(&mut overload, 100, 30).iter().all(|level| *level == 0));
        let hiccup = Second { came: 30, dropped: 12, late: Duration::from_millis(400) };
        assert!(!overload.take(hiccup));
        assert!(run(&mut overload, 1, 30) == [0] && !overload.take(hiccup));
        let few = Second { came: 30, dropped: 1, late: Duration::from_millis(100) };
        assert!((0..50).all(|_| !overload.take(few)), "one in thirty");
    }

    #[test]
    fn it_steps_down_until_the_encoder_keeps_up_within_seconds() {
        for (capacity, expected) in [(16, 1), (12, 2), (7, 3), (2, 3)] {
            let mut overload = Overload::new(false);
            let levels = run(&mut overload, 14, capacity);
            assert_eq!(levels.iter().max(), Some(&expected), "{capacity}: {levels:?}");
            assert!(levels[..4].iter().any(|level| *level > 0), "within four seconds: {levels:?}");
        }
        let mut late = Overload::new(false);
        let second = Second { came: 30, dropped: 0, late: Duration::from_millis(400) };
        assert!((0..4).any(|_| late.take(second)), "late pictures are enough");
    }

    #[test]
    fn the_fastest_preset_comes_when_a_third_of_the_pictures_is_too_much_and_goes_first() {
        let mut overload = Overload::new(true);
        let mut steps = vec![overload.step()];
        let bad = Second { came: 30, dropped: 20, late: Duration::from_millis(400) };
        let good = Second { came: 30, dropped: 0, late: Duration::from_millis(20) };
        for second in [bad; 30].into_iter().chain([good; 100]) {
            if overload.take(second) {
                steps.push(overload.step());
            }
        }
        let down = [pictures(1), pictures(2), pictures(3), fastest(3), fastest(6)];
        let up = [fastest(3), pictures(3), pictures(2), pictures(1)];
        assert_eq!(steps, [&down[..], &up[..]].concat());
    }

    #[test]
    fn it_steps_back_up_when_the_load_ends() {
        let mut overload = Overload::new(false);
        run(&mut overload, 14, 5);
        assert_eq!(overload.level(), 3);
        let levels = run(&mut overload, 40, 30);
        assert_eq!(levels.last(), Some(&0), "{levels:?}");
        let mut seen = levels.clone();
        seen.dedup();
        assert!(seen.ends_with(&[2, 1, 0]), "one step at a time: {seen:?}");
    }

    #[test]
    fn attempts_that_fail_become_rarer() {
        let mut overload = Overload::new(false);
        let levels = run(&mut overload, 1800, 16);
        let attempts: Vec<_> = (1..levels.len()).filter(|at| levels[at - 1] == 1 && levels[*at] == 0).collect();
        let pauses: Vec<_> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((5..12).contains(&attempts.len()), "{attempts:?}");
        assert!(pauses.windows(2).all(|pair| pair[1] >= pair[0]), "{pauses:?}");
        assert!(*pauses.last().unwrap() >= 300, "{pauses:?}");
    }
}
