//! How long the answer to a request takes, and how far packets overtake one another, learned from what came. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// What a round trip is taken for before the first answer: too short costs a few requests, too long the first pictures.
const FIRST_GUESS: Duration = Duration::from_millis(30);

/// How long a jitter buffer waits for a packet, unless somebody has set another time.
const BUDGET: Duration = Duration::from_millis(200);

/// How many answers are remembered.
const ANSWERS: usize = 15;

/// The least and the most time from one request for a packet to the next.
const PACE: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// The least and the most time for which a packet may come by itself before it is asked for.
const PATIENCE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(20)];

/// The way to the other side and back, as far as retransmissions show it.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// From the first request to the answer.
    answers: VecDeque<Duration>,
    overtaking: Duration,
}

impl Path {
    /// A packet was sent again, so long after it was first asked for.
    pub(super) fn answered(&mut self, after: Duration) {
        if self.answers.len() == ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back(after);
        self.overtaken(Duration::ZERO);
    }

    /// A packet came by itself, so long after others that were sent later.
    pub(super) fn overtaken(&mut self, by: Duration) {
        self.overtaking = by.max(self.overtaking * 7 / 8);
    }

    /// The time before the first request for a packet.
    pub(super) fn patience(&self) -> Duration {
        let [least, most] = PATIENCE;
        self.overtaking.clamp(least, most)
    }

    /// The time from one request for a packet to the next: long enough for most answers, but so short that the answers of five
    /// requests come in time, where one does: of a burst that is lost with its repairs something has to be left.
    ///
    /// Which request is answered nobody says, and when the way becomes longer than this every packet is asked for several times: so
    /// all count from the first request on, and the fastest quarter tells how long an answer takes when neither it nor its request
    /// was lost.
    pub(super) fn pace(&self) -> Duration {
        let mut answers: Vec<_> = self.answers.iter().copied().collect();
        answers.sort_unstable();
        let trip = answers.get(answers.len() / 4).copied().unwrap_or(FIRST_GUESS);
        let [least, most] = PACE;
        let pace = trip + trip / 4 + Duration::from_millis(5);
        let in_time = BUDGET.checked_sub(trip).map_or(pace, |rest| rest / 4);
        pace.min(in_time).clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn answered(times: impl IntoIterator<Item = u64>) -> Path {
        let mut path = Path::default();
        times.into_iter().for_each(|time| path.answered(ms(time)));
        path
    }

    #[test]
    fn requests_are_as_far_apart_as_answers_take() {
        for (trip, pace) in [(1, 20), (30, 42), (100, 25), (150, 20), (300, 380), (400, 500), (5000, 500)] {
            let found = answered([trip; 3]).pace();
            assert!(found.abs_diff(ms(pace)) < ms(1), "{trip} ms: {found:?}");
        }
        assert!(Path::default().pace() < ms(50));
    }

    #[test]
    fn what_was_lost_again_counts_for_nothing() {
        // At 20 % of loss in both directions a third of the answers follow a second or third request.
        assert_eq!(answered([40, 80, 40, 40, 120, 40, 80, 40, 40]).pace(), ms(40));
    }

    #[test]
    fn a_way_that_becomes_longer_or_shorter_is_found_out() {
        let longer = answered([30; 15].into_iter().chain([240; 12]));
        assert_eq!(longer.pace(), ms(305));
        let shorter = answered([240; 15].into_iter().chain([30; 4]));
        assert!(shorter.pace() < ms(50));
    }

    #[test]
    fn where_packets_overtake_they_are_waited_for_and_elsewhere_hardly() {
        let mut path = Path::default();
        assert_eq!(path.patience(), ms(5));
        path.overtaken(ms(15));
        assert_eq!(path.patience(), ms(15));
        path.overtaken(ms(300));
        assert_eq!(path.patience(), ms(20));
        (0..40).for_each(|_| path.answered(ms(30)));
        assert_eq!(path.patience(), ms(5));
    }
}
