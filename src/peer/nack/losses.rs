//! Which packets of one stream are missing, and when each is asked for. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::path::Path;

/// How often a packet is asked for.
pub(super) const REQUESTS: u32 = 10;

/// After this time nobody waits for a packet any more.
pub(super) const GIVE_UP: Duration = Duration::from_secs(1);

/// A stream whose numbers jump further has begun anew.
const MOST: u16 = 1000;

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As nothing says otherwise.
    Sent,
    /// It says that it was sent again.
    SentAgain,
    /// Out of others (FlexFEC).
    Rebuilt,
}

/// The missing packets of one stream, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// The number that comes next when nothing is lost.
    next: Option<u16>,
    missing: VecDeque<Missing>,
    /// Whether what is sent again can be told from what comes late (RFC 4588).
    marked: bool,
}

#[derive(Debug)]
struct Missing {
    number: u16,
    since: Instant,
    asked: Option<Instant>,
    requests: u32,
    due: Instant,
}

impl Losses {
    /// Notes a packet that came, and those that did not come before it.
    pub(super) fn note(&mut self, number: u16, way: Way, now: Instant, path: &mut Path) {
        self.marked |= way == Way::SentAgain;
        let next = *self.next.get_or_insert(number);
        let ahead = number.wrapping_sub(next);
        // Half of all numbers are older (RFC 3550, appendix A.1).
        if ahead >= 0x8000 {
            self.came(number, way, now, path);
            return;
        }
        self.next = Some(number.wrapping_add(1));
        if ahead > MOST {
            self.missing.clear();
            return;
        }
        let due = now + path.patience();
        self.missing.extend((0..ahead).map(|index| Missing {
            number: next.wrapping_add(index),
            since: now,
            asked: None,
            requests: 0,
            due,
        }));
        let excess = self.missing.len().saturating_sub(usize::from(MOST));
        self.missing.drain(..excess);
    }

    fn came(&mut self, number: u16, way: Way, now: Instant, path: &mut Path) {
        let Some(place) = self.missing.iter().position(|missing| missing.number == number) else { return };
        let Some(found) = self.missing.remove(place) else { return };
        let is_answer = way == Way::SentAgain || (way == Way::Sent && !self.marked);
        match found.asked {
            Some(asked) if is_answer => path.answered(now.saturating_duration_since(asked)),
            _ => path.overtaken(now.saturating_duration_since(found.since)),
        }
    }

    /// When packets have to be asked for.
    pub(super) fn due(&self) -> Option<Instant> {
        self.missing.iter().map(|missing| missing.due).min()
    }

    /// The packets that have to be asked for now.
    pub(super) fn ask(&mut self, now: Instant, path: &Path) -> Vec<u16> {
        let mut numbers = Vec::new();
        let pace = path.pace();
        self.missing.retain_mut(|missing| {
            if missing.due > now {
                return true;
            }
            if missing.requests == REQUESTS || now >= missing.since + GIVE_UP {
                return false;
            }
            missing.requests += 1;
            missing.asked.get_or_insert(now);
            missing.due = now + pace;
            numbers.push(missing.number);
            true
        });
        numbers
    }
}
