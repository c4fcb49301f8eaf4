//! Finds flashes in a picture's brightness and beeps in a sound's level, and pairs them: how far sound and picture are apart.
//!
//! Pure: [`super::observe`] reduces pictures and sound to numbers, [`super::tracks`] feeds them in.

use std::collections::VecDeque;

const MS: i64 = 1_000_000;
/// How many quiet frames make up the brightness against which a flash stands out.
const BASELINE_FRAMES: usize = 30;
/// A flash in one cell of a 4×4 grid lifts the mean luma of the whole picture by about 8 of 255.
const LEAST_RISE: f32 = 3.0;
/// A picture that stays bright for longer is a new scene, not a flash.
const LONGEST_FLASH: i64 = 500 * MS;
/// −34 dBFS: quieter than any beep, louder than codec noise.
const LEAST_LEVEL: f32 = 0.02;
/// A beep ends after this much quiet.
const QUIET: i64 = 60 * MS;
/// How much of a beep is looked at to know how loud it is; its onset is where it passes a quarter of that.
const ATTACK_WINDOWS: usize = 30;
/// A flash and a beep further apart do not belong together.
const FURTHEST: i64 = 500 * MS;

/// Finds the frames with which flashes begin.
#[derive(Debug, Default)]
pub(super) struct FlashDetector {
    quiet: VecDeque<f32>,
    /// When the flash that is on began, and the brightness below which it is over.
    on: Option<(i64, f32)>,
    pub(super) onsets: Vec<i64>,
}

impl FlashDetector {
    /// Takes the mean luma (0 to 255) of the frame shown at `start` (ns).
    pub(super) fn push(&mut self, start: i64, luma: f32) {
        match self.on {
            Some((_, over)) if luma < over => self.on = None,
            Some((since, _)) if start - since > LONGEST_FLASH => {
                self.on = None;
                self.quiet.clear();
            }
            Some(_) => return,
            None => {}
        }
        if self.quiet.len() >= BASELINE_FRAMES / 4 {
            let baseline = median(self.quiet.iter().copied());
            let spread = median(self.quiet.iter().map(|past| (past - baseline).abs()));
            let rise = LEAST_RISE.max(6.0 * spread);
            if luma - baseline > rise {
                self.on = Some((start, baseline + rise / 2.0));
                self.onsets.push(start);
                return;
            }
        }
        if self.quiet.len() == BASELINE_FRAMES {
            self.quiet.pop_front();
        }
        self.quiet.push_back(luma);
    }
}

/// Finds the moments at which beeps begin.
#[derive(Debug, Default)]
pub(super) struct BeepDetector {
    baseline: f32,
    /// The beginning of a beep, as long as its loudness is being learned.
    attack: Vec<(i64, f32)>,
    /// While a beep sounds: when it was last loud, and what loud means.
    on: Option<(i64, f32)>,
    pub(super) onsets: Vec<i64>,
}

impl BeepDetector {
    /// Takes the level (RMS, 0 to 1) of the window of about a millisecond that starts at `start` (ns).
    pub(super) fn push(&mut self, start: i64, level: f32) {
        if !self.attack.is_empty() {
            self.attack.push((start, level));
            if self.attack.len() >= ATTACK_WINDOWS {
                self.settle();
            }
            return;
        }
        if let Some((last_loud, threshold)) = self.on {
            if level > threshold {
                self.on = Some((start, threshold));
            } else if start - last_loud > QUIET {
                self.on = None;
            }
            return;
        }
        if level > LEAST_LEVEL.max(4.0 * self.baseline) {
            self.attack.push((start, level));
        } else {
            // Settles within 200 windows, so speech and hum raise the bar before the next beep.
            self.baseline += (level - self.baseline) / 200.0;
        }
    }

    /// Puts the onset where the sound passes a quarter of its loudness: a codec's pre-echo is quieter than that.
    fn settle(&mut self) {
        let peak = self.attack.iter().map(|(_, level)| *level).fold(0.0, f32::max);
        let last = self.attack.last().map_or(0, |(start, _)| *start);
        if let Some((onset, _)) = self.attack.iter().find(|(_, level)| *level >= peak / 4.0) {
            self.onsets.push(*onset);
        }
        self.on = Some((last, peak / 8.0));
        self.attack.clear();
    }
}

/// How far sound and picture are apart, sound minus picture: positive is late sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pairing {
    pub(super) count: usize,
    /// Nanoseconds.
    pub(super) median: i64,
    /// The one that is furthest from zero.
    pub(super) worst: i64,
}

/// Pairs each flash with the nearest beep. `None` when the two do not belong together: fewer than two pairs, or most flashes
/// without a beep.
pub(super) fn pair(flashes: &[i64], beeps: &[i64]) -> Option<Pairing> {
    let mut skews: Vec<i64> = flashes
        .iter()
        .filter_map(|flash| beeps.iter().map(|beep| beep - flash).min_by_key(|skew| skew.abs()))
        .filter(|skew| skew.abs() <= FURTHEST)
        .collect();
    if skews.len() < 2 || skews.len() * 2 < flashes.len() {
        return None;
    }
    let worst = skews.iter().copied().max_by_key(|skew| skew.abs()).unwrap_or(0);
    skews.sort_unstable();
    Some(Pairing { count: skews.len(), median: skews[skews.len() / 2], worst })
}

fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f32::total_cmp).1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thirty frames a second of `base`, with every frame of each full second `rise` brighter for two frames.
    fn flashes(seconds: i64, base: f32, rise: f32, noise: impl Fn(i64) -> f32) -> Vec<i64> {
        let mut detector = FlashDetector::default();
        for frame in 0..seconds * 30 {
            let flash = if frame >= 30 && frame % 30 < 2 { rise } else { 0.0 };
            detector.push(frame * 1000 * MS / 30, base + flash + noise(frame));
        }
        detector.onsets
    }

    fn beeps(seconds: i64, level_at: impl Fn(i64) -> f32) -> Vec<i64> {
        let mut detector = BeepDetector::default();
        for window in 0..seconds * 1000 {
            detector.push(window * MS, level_at(window));
        }
        detector.onsets
    }

    #[test]
    fn a_flash_is_found_on_each_second_in_a_full_picture_and_in_one_cell_of_sixteen() {
        for (base, rise) in [(16.0, 219.0), (110.0, 8.0), (90.0, 30.0)] {
            let found = flashes(5, base, rise, |_| 0.0);
            assert_eq!(found, [1000 * MS, 2000 * MS, 3000 * MS, 4000 * MS], "{base} + {rise}");
        }
    }

    #[test]
    fn a_moving_picture_does_not_flash() {
        assert_eq!(flashes(5, 100.0, 0.0, |frame| if frame % 2 == 0 { 4.0 } else { -4.0 }), [0_i64; 0]);
        assert_eq!(flashes(5, 100.0, 0.0, |frame| (frame % 30) as f32 / 10.0), [0_i64; 0]);
    }

    #[test]
    fn a_new_scene_counts_once_and_the_flashes_after_it_are_found() {
        let mut detector = FlashDetector::default();
        for frame in 0..150_i64 {
            let scene = if frame < 45 { 60.0 } else { 120.0 };
            let flash = if frame % 30 == 0 { 80.0 } else { 0.0 };
            detector.push(frame * 1000 * MS / 30, scene + flash);
        }
        assert_eq!(detector.onsets, [1000 * MS, 1500 * MS, 3000 * MS, 4000 * MS]);
    }

    #[test]
    fn a_beep_is_found_where_it_begins_and_not_at_its_pre_echo() {
        let found = beeps(4, |ms| match ms % 1000 {
            95..100 => 0.03,
            100..200 => 0.4,
            _ => 0.001,
        });
        assert_eq!(found, [100 * MS, 1100 * MS, 2100 * MS, 3100 * MS]);
    }

    #[test]
    fn a_wobbling_beep_is_one_beep_and_steady_hum_is_none_after_it_was_learned() {
        let found = beeps(2, |ms| if ms % 1000 > 500 && ms % 1000 < 700 { 0.3 * ((ms % 5) as f32 / 4.0) } else { 0.0 });
        assert_eq!(found.len(), 2);
        assert_eq!(beeps(3, |ms| 0.015 + 0.01 * (ms % 3000) as f32 / 3000.0), [0_i64; 0]);
    }

    #[test]
    fn sound_that_comes_late_is_positive() {
        let flashes = [1000 * MS, 2000 * MS, 3000 * MS];
        let late = pair(&flashes, &[1100 * MS, 2120 * MS, 3090 * MS]);
        assert_eq!(late, Some(Pairing { count: 3, median: 100 * MS, worst: 120 * MS }));
        let early = pair(&flashes, &[940 * MS, 1940 * MS, 2930 * MS]);
        assert_eq!(early, Some(Pairing { count: 3, median: -60 * MS, worst: -70 * MS }));
    }

    #[test]
    fn what_does_not_belong_together_is_not_paired() {
        let flashes = [1000 * MS, 2000 * MS, 3000 * MS, 4000 * MS, 5000 * MS];
        assert_eq!(pair(&flashes, &[]), None);
        assert_eq!(pair(&flashes, &[1010 * MS, 2010 * MS]), None, "most flashes have no beep");
        assert_eq!(pair(&[1000 * MS], &[1000 * MS]), None, "one pair may be chance");
    }
}
