//! Which layer of a simulcast is taken: the best one that flows. Pure: packets and time come in.
//!
//! Layers are told apart by their sources and ranked by the highest bit rate that each one has had: a still picture lets the
//! rate of a large layer sink below that of a smaller one, but it stays the larger one.

use std::time::{Duration, Instant};

use crate::terms::Ssrc;

/// A layer that has sent nothing for this long does not flow, and rates are measured over it.
const WINDOW: Duration = Duration::from_secs(1);
/// How much more a layer must send to count as the better one.
const BETTER: f64 = 1.25;
/// How often a layer is asked for the keyframe with which it begins.
const ASK: Duration = Duration::from_millis(500);
/// Browsers send three; more is an attack on memory.
const MAX_LAYERS: usize = 8;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It belongs to the layer that is taken.
    Pass,
    /// It is the first of a layer that is taken from now on.
    Switch,
    /// It belongs to another layer.
    Drop,
}

/// The layers of one track.
#[derive(Debug)]
pub(crate) struct LayerChoice {
    layers: Vec<Layer>,
    current: Option<Ssrc>,
    wanted: Option<Wanted>,
    measured: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Layer {
    ssrc: Ssrc,
    heard: Instant,
    /// Since rates were measured last.
    bytes: usize,
    /// The highest so far, in bytes per second.
    rate: f64,
}

/// A better layer, which is waited for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    ssrc: Ssrc,
    asked: Option<Instant>,
}

impl LayerChoice {
    pub(crate) fn new(now: Instant) -> Self {
        Self { layers: Vec::new(), current: None, wanted: None, measured: now }
    }

    /// The layer that is taken.
    pub(crate) fn current(&self) -> Option<Ssrc> {
        self.current
    }

    /// The layer whose keyframe is of use: the one that is waited for, or the one that is taken.
    pub(crate) fn keyframe_source(&self) -> Option<Ssrc> {
        self.wanted.map(|wanted| wanted.ssrc).or(self.current)
    }

    /// Whether a layer is known.
    pub(crate) fn knows(&self, ssrc: Ssrc) -> bool {
        self.layers.iter().any(|layer| layer.ssrc == ssrc)
    }

    /// Takes a packet of a layer with so many bytes of payload; `keyframe`: decoding can begin with it.
    pub(crate) fn take(&mut self, ssrc: Ssrc, bytes: usize, keyframe: bool, now: Instant) -> Verdict {
        // Chromium sends padding on a layer that was switched off.
        if bytes == 0 && self.current.is_some() {
            return if self.current == Some(ssrc) { Verdict::Pass } else { Verdict::Drop };
        }
        if !self.knows(ssrc) && self.layers.len() < MAX_LAYERS {
            self.layers.push(Layer { ssrc, heard: now, bytes: 0, rate: 0.0 });
        }
        let Some(layer) = self.layers.iter_mut().find(|layer| layer.ssrc == ssrc) else { return Verdict::Drop };
        (layer.heard, layer.bytes) = (now, layer.bytes + bytes);
        self.measure(now);
        let best = self.best(now);
        if best == self.current {
            self.wanted = None;
        } else if let Some(ssrc) = best
            && self.wanted.is_none_or(|wanted| wanted.ssrc != ssrc)
        {
            self.wanted = Some(Wanted { ssrc, asked: None });
        }
        let begins = self.current.is_none() || (keyframe && self.wanted.is_some_and(|wanted| wanted.ssrc == ssrc));
        if begins {
            (self.current, self.wanted) = (Some(ssrc), None);
            Verdict::Switch
        } else if self.current == Some(ssrc) {
            Verdict::Pass
        } else {
            Verdict::Drop
        }
    }

    /// Whether the layer that is waited for is to be asked for a keyframe now.
    pub(crate) fn asks(&mut self, now: Instant) -> bool {
        let due = |wanted: &&mut Wanted| wanted.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK);
        self.wanted.as_mut().filter(due).map(|wanted| wanted.asked = Some(now)).is_some()
    }

    fn measure(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.measured);
        if elapsed < WINDOW {
            return;
        }
        self.measured = now;
        for layer in &mut self.layers {
            #[expect(clippy::cast_precision_loss, reason = "megabytes")]
            let rate = std::mem::take(&mut layer.bytes) as f64 / elapsed.as_secs_f64();
            layer.rate = layer.rate.max(rate);
        }
    }

    /// The best layer that flows; the current one unless another is clearly better.
    fn best(&self, now: Instant) -> Option<Ssrc> {
        let flows = |layer: &&Layer| now.saturating_duration_since(layer.heard) < WINDOW;
        let best = self.layers.iter().filter(flows).max_by(|one, other| one.rate.total_cmp(&other.rate))?;
        let current = self.layers.iter().filter(flows).find(|layer| self.current == Some(layer.ssrc));
        let stays = current.filter(|current| best.rate <= current.rate * BETTER);
        Some(stays.unwrap_or(best).ssrc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Ssrc = Ssrc(1);
    const MIDDLE: Ssrc = Ssrc(2);
    const HIGH: Ssrc = Ssrc(3);

    /// Layers that send a packet of so many bytes every 100 ms.
    struct Sender {
        choice: LayerChoice,
        now: Instant,
    }

    impl Sender {
        fn new() -> Self {
            let now = Instant::now();
            Self { choice: LayerChoice::new(now), now }
        }

        /// For so many tenths of a second; returns how often a keyframe was asked for, and of whom.
        fn send(&mut self, layers: &[(Ssrc, usize)], tenths: u32) -> Vec<Ssrc> {
            let mut asked = Vec::new();
            for _ in 0..tenths {
                self.now += Duration::from_millis(100);
                for (ssrc, bytes) in layers {
                    let expected = if self.choice.current() == Some(*ssrc) { Verdict::Pass } else { Verdict::Drop };
                    assert_eq!(self.choice.take(*ssrc, *bytes, false, self.now), expected);
                    if self.choice.asks(self.now) {
                        asked.extend(self.choice.keyframe_source());
                    }
                }
            }
            asked
        }

        fn keyframe(&mut self, ssrc: Ssrc, bytes: usize) -> Verdict {
            self.choice.take(ssrc, bytes, true, self.now)
        }
    }

    const ALL: [(Ssrc, usize); 3] = [(LOW, 100), (MIDDLE, 400), (HIGH, 1500)];

    fn on_high() -> Sender {
        let mut sender = Sender::new();
        assert_eq!(sender.keyframe(LOW, 100), Verdict::Switch);
        sender.send(&ALL, 15);
        assert_eq!(sender.keyframe(HIGH, 3000), Verdict::Switch);
        sender
    }

    #[test]
    fn the_first_layer_is_taken_until_a_better_one_begins_with_a_keyframe() {
        let mut sender = Sender::new();
        assert_eq!(sender.choice.take(LOW, 100, false, sender.now), Verdict::Switch, "whatever it begins with");
        assert_eq!(sender.send(&[(LOW, 100)], 30), []);
        let asked = sender.send(&ALL, 20);
        assert!(asked.len() >= 2 && asked.iter().all(|ssrc| *ssrc == HIGH), "{asked:?}");
        assert_eq!(sender.keyframe(MIDDLE, 1000), Verdict::Drop, "only the best one");
        assert_eq!(sender.keyframe(HIGH, 3000), Verdict::Switch);
        assert_eq!(sender.choice.keyframe_source(), Some(HIGH));
        assert_eq!(sender.send(&ALL, 50), []);
    }

    #[test]
    fn a_layer_that_stalls_is_left_and_taken_again_when_it_returns() {
        let mut sender = on_high();
        assert_eq!(sender.send(&ALL[..2], 9), [], "a pause is no stall");
        assert_eq!(sender.send(&[(LOW, 100), (MIDDLE, 400), (HIGH, 0)], 3), [MIDDLE], "padding is no picture");
        assert_eq!(sender.keyframe(MIDDLE, 1000), Verdict::Switch);
        assert_eq!(sender.send(&ALL[..2], 50), []);
        // Its rank is known: it is asked at once.
        assert_eq!(sender.send(&ALL, 1), [HIGH]);
        assert_eq!(sender.keyframe(HIGH, 3000), Verdict::Switch);
    }

    #[test]
    fn a_layer_that_goes_on_in_time_is_kept() {
        let mut sender = on_high();
        assert_eq!(sender.send(&ALL[..2], 12), [MIDDLE]);
        assert_eq!(sender.send(&ALL, 1), []);
        assert_eq!(sender.keyframe(MIDDLE, 1000), Verdict::Drop);
        assert_eq!(sender.choice.current(), Some(HIGH));
    }

    #[test]
    fn a_still_picture_and_the_keyframes_of_others_change_nothing() {
        let mut sender = on_high();
        sender.send(&ALL, 15);
        assert_eq!(sender.send(&[(LOW, 100), (MIDDLE, 900), (HIGH, 50)], 30), []);
        assert_eq!(sender.send(&[(LOW, 100), (MIDDLE, 1700), (HIGH, 1500)], 30), [], "not clearly better");
    }

    #[test]
    fn endless_new_layers_do_not_grow_without_bound() {
        let mut sender = on_high();
        for ssrc in 100..10_000 {
            sender.keyframe(Ssrc(ssrc), 1);
        }
        assert_eq!(sender.choice.layers.len(), MAX_LAYERS);
        assert_eq!(sender.choice.current(), Some(HIGH));
    }
}
