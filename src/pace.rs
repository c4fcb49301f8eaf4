//! How fast somebody may talk or send: a token bucket. Pure; the caller sleeps, or refuses.

use std::time::{Duration, Instant};

/// Lets a burst through, of one second's worth unless it is said otherwise, and then so many a second.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: f64,
    burst: f64,
    tokens: f64,
    counted_at: Instant,
    /// Since when there was no rest.
    busy_since: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self::with_burst(per_second, per_second, now)
    }

    /// Lets so many through at once.
    pub(crate) fn with_burst(per_second: u32, burst: u32, now: Instant) -> Self {
        let (per_second, burst) = (f64::from(per_second.max(1)), f64::from(burst.max(1)));
        Self { per_second, burst, tokens: burst, counted_at: now, busy_since: None }
    }

    /// Counts one message, and says how long to wait before the next is read.
    pub(crate) fn count(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst) - 1.0;
        // A machine that sleeps a little too long is no rest.
        if self.tokens > self.burst / 2.0 {
            self.busy_since = None;
        } else if self.tokens < 0.0 {
            self.busy_since.get_or_insert(now);
        }
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

    /// Whether there was more to count than there was room for, without a rest, for at least this long.
    pub(crate) fn is_flooded(&self, now: Instant, patience: Duration) -> bool {
        self.busy_since.is_some_and(|since| now.saturating_duration_since(since) >= patience)
    }

    /// Whether it is as good as new.
    pub(crate) fn is_rested(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.tokens + passed * self.per_second >= self.burst
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
    fn a_flood_is_one_that_does_not_end_even_where_sleeping_takes_too_long() {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(100, start), start);
        let patience = Duration::from_secs(10);
        while now < start + Duration::from_secs(9) {
            now += pace.count(now) + Duration::from_millis(3);
            assert!(!pace.is_flooded(now, patience));
        }
        now += Duration::from_secs(2);
        pace.count(now);
        assert!(!pace.is_flooded(now, patience), "a pause ends it");
        let begin = now;
        while !pace.is_flooded(now, patience) && now - begin < patience * 3 {
            now += pace.count(now) + Duration::from_millis(3);
        }
        let lasted = now - begin;
        assert!((patience..patience * 2).contains(&lasted), "{lasted:?}");
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
