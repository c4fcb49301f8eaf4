//! What is done about a connection that does not stand: a new path is looked for with growing pauses, and some day it is
//! given up, however long the room still lists the participant. Pure: the call brings the time.

use std::time::Duration;

use tokio::time::Instant;

/// A lost connection gets this long to come back by itself before a new path is looked for; each further pause is twice
/// as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Whoever is not connected for this long is given up. The mesh protocol hangs up calls that nobody answers after 30 s and
/// does not tell them from those that were declined: this comes first, and whoever was lost is called again.
const PATIENCE: Duration = Duration::from_secs(25);

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Wait,
    /// Look for a new path, for the n-th time since the connection was lost.
    Restart {
        /// Counts from 1.
        attempt: u32,
    },
    /// End the call: the participant cannot be reached.
    GiveUp,
}

/// Whether a participant can be reached.
#[derive(Debug)]
pub(super) struct Reach {
    renegotiates: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nobody was called, and nobody has called.
    Idle,
    /// A first path is looked for, which ICE does by itself.
    Connecting {
        give_up: Instant,
    },
    Connected,
    Lost {
        give_up: Instant,
        restart: Instant,
        attempt: u32,
    },
}

impl Reach {
    /// Where the room cannot renegotiate, a lost connection is not repaired.
    pub(super) fn new(renegotiates: bool) -> Self {
        Self { renegotiates, state: State::Idle }
    }

    /// Somebody is on the other side and was called, or has called us.
    pub(super) fn expect(&mut self, now: Instant) {
        if matches!(self.state, State::Idle) {
            self.state = State::Connecting { give_up: now + PATIENCE };
        }
    }

    /// A path was found.
    pub(super) fn connected(&mut self) {
        self.state = State::Connected;
    }

    /// The path is lost. Losing it again while a new one is looked for changes nothing.
    pub(super) fn lost(&mut self, now: Instant) {
        if matches!(self.state, State::Connected) {
            self.state = State::Lost { give_up: now + PATIENCE, restart: now + FIRST_PAUSE, attempt: 0 };
        }
    }

    /// What time has brought.
    pub(super) fn look(&mut self, now: Instant) -> Step {
        match &mut self.state {
            State::Connecting { give_up } | State::Lost { give_up, .. } if *give_up <= now => Step::GiveUp,
            State::Lost { restart, attempt, .. } if *restart <= now && self.renegotiates => {
                *attempt += 1;
                *restart = now + FIRST_PAUSE * 2_u32.saturating_pow(*attempt);
                Step::Restart { attempt: *attempt }
            }
            _ => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// What is done in each second until the end.
    fn steps(reach: &mut Reach, start: Instant) -> Vec<(u64, Step)> {
        let looks = (0..60).map(|second| (second, reach.look(after(start, second))));
        let mut steps: Vec<_> = looks.filter(|(_, step)| *step != Step::Wait).collect();
        steps.dedup_by_key(|(_, step)| *step);
        steps
    }

    #[test]
    fn a_new_path_is_looked_for_with_growing_pauses_and_not_for_ever() {
        let (mut reach, start) = (Reach::new(true), Instant::now());
        reach.connected();
        reach.lost(start);
        // ICE says so once more for each new path that it does not find.
        reach.lost(after(start, 20));
        let restart = |attempt| Step::Restart { attempt };
        assert_eq!(steps(&mut reach, start), [(2, restart(1)), (6, restart(2)), (14, restart(3)), (25, Step::GiveUp)]);
    }

    #[test]
    fn a_connection_that_comes_back_has_all_patience_again() {
        let (mut reach, start) = (Reach::new(true), Instant::now());
        reach.connected();
        reach.lost(start);
        assert_eq!(reach.look(after(start, 24)), Step::Restart { attempt: 1 });
        reach.connected();
        assert_eq!(reach.look(after(start, 25)), Step::Wait);
        reach.lost(after(start, 30));
        assert_eq!(steps(&mut reach, after(start, 30)).first(), Some(&(2, Step::Restart { attempt: 1 })));
    }

    #[test]
    fn whoever_is_called_and_never_connects_is_given_up() {
        let (mut reach, start) = (Reach::new(true), Instant::now());
        assert_eq!(steps(&mut reach, start), [], "nobody may have come");
        reach.expect(start);
        // Descriptions that come later do not begin it anew.
        reach.expect(after(start, 20));
        assert_eq!(steps(&mut reach, start), [(25, Step::GiveUp)]);
    }

    #[test]
    fn without_renegotiation_it_is_only_waited_for() {
        let (mut reach, start) = (Reach::new(false), Instant::now());
        reach.connected();
        reach.lost(start);
        assert_eq!(steps(&mut reach, start), [(25, Step::GiveUp)]);
    }
}
