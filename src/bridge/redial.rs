//! When to call somebody again whose connection was lost although they are still in the room. Pure: the room's task
//! brings the time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::terms::ParticipantId;

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(2);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Lost calls and when to make them again.
#[derive(Debug, Default)]
pub(crate) struct Redial {
    lost: HashMap<ParticipantId, Lost>,
}

#[derive(Debug)]
struct Lost {
    pause: Duration,
    due: Option<Instant>,
}

impl Redial {
    /// A connection was lost.
    pub(crate) fn lost(&mut self, id: &ParticipantId, now: Instant) {
        let lost = self.lost.entry(id.clone()).or_insert(Lost { pause: FIRST, due: None });
        lost.due = Some(now + lost.pause);
        lost.pause = (lost.pause * 2).min(LONGEST);
    }

    /// Media flows, or the participant is gone: the next loss begins with the shortest pause.
    pub(crate) fn forget(&mut self, id: &ParticipantId) {
        self.lost.remove(id);
    }

    /// When somebody is to be called next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.lost.values().filter_map(|lost| lost.due).min()
    }

    /// Who is to be called now.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<ParticipantId> {
        let due = self.lost.iter_mut().filter(|(_, lost)| lost.due.is_some_and(|due| due <= now));
        due.map(|(id, lost)| {
            lost.due = None;
            id.clone()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_media_flows_again() {
        let (mut redial, id, now) = (Redial::default(), ParticipantId::new("a"), Instant::now());
        for pause in [2, 4, 8, 16, 32, 60, 60] {
            redial.lost(&id, now);
            assert_eq!(redial.next(), Some(now + Duration::from_secs(pause)));
            assert!(redial.take_due(now + Duration::from_secs(pause - 1)).is_empty());
            assert_eq!(redial.take_due(now + Duration::from_secs(pause)), std::slice::from_ref(&id));
            assert_eq!(redial.next(), None, "called once");
        }
        redial.forget(&id);
        redial.lost(&id, now);
        assert_eq!(redial.next(), Some(now + FIRST));
    }

    #[test]
    fn nobody_who_left_is_called() {
        let (mut redial, id, now) = (Redial::default(), ParticipantId::new("a"), Instant::now());
        redial.lost(&id, now);
        redial.forget(&id);
        assert!(redial.take_due(now + LONGEST).is_empty());
    }
}
