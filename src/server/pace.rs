//! How fast one connection may talk: a token bucket. Pure; the caller sleeps.

use std::time::{Duration, Instant};

/// Lets bursts of one second's worth through, and then so many a second.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: f64,
    tokens: f64,
    counted_at: Instant,
}

impl Pace {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, tokens: per_second, counted_at: now }
    }

    /// Counts one message, and says how long to wait before the next is read.
    pub(crate) fn count(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        self.tokens = (self.tokens + passed * self.per_second).min(self.per_second) - 1.0;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.tokens / self.per_second) }
    }

    /// Counts one request if there is room for it. What is refused does not count.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        self.count(now);
        let admitted = self.tokens >= 0.0;
        if !admitted {
            self.tokens += 1.0;
        }
        admitted
    }

    /// Whether it is as good as new.
    pub(crate) fn is_rested(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.tokens + passed * self.per_second >= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_often_is_refused_until_there_is_room_again() {
        let start = Instant::now();
        let mut pace = Pace::new(20, start);
        let admitted = (0..1000).filter(|_| pace.admits(start)).count();
        assert_eq!(admitted, 20);
        assert!(!pace.admits(start + Duration::from_millis(49)));
        assert!(pace.admits(start + Duration::from_millis(51)));
        assert!(!pace.is_rested(start + Duration::from_millis(900)) && pace.is_rested(start + Duration::from_secs(2)));
    }

    #[test]
    fn a_burst_passes_and_a_flood_is_slowed_to_its_rate() {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(100, start), start);
        for sent in 1..=400 {
            now += pace.count(now);
            if sent <= 100 {
                assert_eq!(now, start, "message {sent} of the first burst waits for nothing");
            }
        }
        assert_eq!((now - start).as_millis(), 3000, "300 more take three seconds");
    }
}
