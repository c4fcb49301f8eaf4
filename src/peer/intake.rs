//! How much of one sender is taken: packets a second, and sources.
//!
//! The first stage on the way in, behind decryption: what somebody else sends in a participant's name does not count. Packets over
//! the rate are counted and go nowhere, as if the network had lost them, and senders that watch their bandwidth slow down. Sources are
//! made known before any stage could stop them, and each costs memory for as long as the connection lasts: who has too many of them
//! loses the connection.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rtc::interceptor::{Packet, StreamInfo};
use tokio::sync::mpsc;

use super::chain::{Stage, Verdict};
use super::rtcp_tap::Feedback;
use crate::pace::Pace;

/// Wire-ward of every interceptor.
pub(crate) const SLOT: usize = 100;

/// Packets a second of one connection. A 4K screen share of 20 Mb/s has 2000, a simulcast of three cameras' layers 1500.
pub const PACKET_RATE: u32 = 10_000;

/// Sources of one connection: a camera that is switched off and on brings two, a simulcast six.
pub(crate) const MOST_SOURCES: usize = 256;

/// What one connection takes.
#[derive(Debug)]
pub(crate) struct Intake {
    pace: Pace,
    refused: Arc<AtomicU64>,
    sources: HashSet<u32>,
    feedback: mpsc::Sender<Feedback>,
}

impl Intake {
    /// Takes so many packets a second, counts the others in `refused`, and says when there are too many sources.
    pub(crate) fn new(per_second: u32, refused: Arc<AtomicU64>, feedback: mpsc::Sender<Feedback>) -> Self {
        Self { pace: Pace::new(per_second, Instant::now()), refused, sources: HashSet::new(), feedback }
    }

    fn admits(&mut self, now: Instant) -> Verdict {
        if self.pace.admits(now) {
            return Verdict::Pass;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Verdict::Drop
    }
}

impl Stage for Intake {
    fn inbound(&mut self, _: &mut Packet) -> Verdict {
        self.admits(Instant::now())
    }

    fn remote_stream_added(&mut self, info: &StreamInfo) {
        if self.sources.len() < MOST_SOURCES {
            self.sources.insert(info.ssrc);
        } else if !self.sources.contains(&info.ssrc) {
            // A queue that is full is told with the next one.
            self.feedback.try_send(Feedback::TooManySources).ok();
        }
    }

    fn remote_stream_removed(&mut self, info: &StreamInfo) {
        self.sources.remove(&info.ssrc);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn intake(per_second: u32) -> (Intake, Arc<AtomicU64>, mpsc::Receiver<Feedback>) {
        let (feedback, told) = mpsc::channel(4);
        let refused = Arc::<AtomicU64>::default();
        (Intake::new(per_second, Arc::clone(&refused), feedback), refused, told)
    }

    /// With `admits` passing everything: 1000 of a burst passed, where 100 do.
    #[test]
    fn what_exceeds_the_rate_is_lost_and_counted_and_the_rest_passes() {
        let (mut intake, refused, _told) = intake(100);
        let start = Instant::now();
        let passed = |intake: &mut Intake, at: Duration, packets: usize| {
            (0..packets).filter(|_| intake.admits(start + at) == Verdict::Pass).count()
        };
        assert_eq!(passed(&mut intake, Duration::from_millis(1), 1000), 100, "a burst of one second's worth");
        assert_eq!(refused.load(Ordering::Relaxed), 900);
        let in_a_second: usize = (1..=100).map(|step| passed(&mut intake, Duration::from_millis(10 * step), 10)).sum();
        assert!((99..=100).contains(&in_a_second), "{in_a_second}");
    }

    /// Without the question for `MOST_SOURCES`: nothing is told of the one too many.
    #[test]
    fn sources_are_counted_while_they_last_and_one_too_many_is_told() {
        let (mut intake, _, mut told) = intake(100);
        let source = |ssrc| StreamInfo { ssrc, ..Default::default() };
        let most = u32::try_from(MOST_SOURCES).unwrap();
        for ssrc in 0..most {
            intake.remote_stream_added(&source(ssrc));
            intake.remote_stream_added(&source(ssrc));
        }
        // Others come and go: a day has more of them than a moment.
        for ssrc in 0..most {
            intake.remote_stream_removed(&source(ssrc));
            intake.remote_stream_added(&source(most + ssrc));
        }
        assert!(told.try_recv().is_err());
        intake.remote_stream_added(&source(7));
        assert_eq!(told.try_recv(), Ok(Feedback::TooManySources));
        for ssrc in 0..10_000 {
            intake.remote_stream_added(&source(100_000 + ssrc));
        }
        assert_eq!(intake.sources.len(), MOST_SOURCES, "nor is anything kept of those");
    }
}
