//! How much members of the room may say to us: descriptions, candidates, coming and going. Pure; the room's task brings the time.
//!
//! Each offer makes a negotiation and each joining a pipeline, so whoever does nothing else would keep the bridge busy for everybody.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::pace::Pace;
use crate::terms::ParticipantId;

/// Messages a second that a member may go on sending; browsers send some dozens in the first second and then one now and then.
pub(crate) const PER_SECOND: u32 = 30;

/// Messages at once: as many candidates as a connection takes, and what belongs to them.
pub(crate) const AT_ONCE: u32 = 300;

/// A joining costs as much as so many messages.
const JOINING: u32 = 10;

/// Who said too much is not heard for this long.
const SILENCE: Duration = Duration::from_secs(10);

/// Members that are kept in mind; those who said nothing for a while are forgotten first.
const MEMBERS: usize = 1000;

/// What is done about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// It is heard.
    Heard,
    /// It is one too many: the member's call ends.
    TooMany,
    /// It is of somebody who is not heard at the moment.
    Ignored,
}

/// What members have said lately.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    members: HashMap<ParticipantId, Member>,
}

#[derive(Debug)]
struct Member {
    pace: Pace,
    silent_until: Option<Instant>,
}

impl Talk {
    /// A member has said something.
    pub(crate) fn hear(&mut self, id: &ParticipantId, now: Instant) -> Hearing {
        self.weigh(id, 1, now)
    }

    /// A member has come.
    pub(crate) fn join(&mut self, id: &ParticipantId, now: Instant) -> Hearing {
        self.weigh(id, JOINING, now)
    }

    fn weigh(&mut self, id: &ParticipantId, weight: u32, now: Instant) -> Hearing {
        if self.members.len() >= MEMBERS && !self.members.contains_key(id) {
            self.members.retain(|_, member| {
                member.silent_until.is_some_and(|until| now < until) || !member.pace.is_rested(now)
            });
        }
        if self.members.len() >= MEMBERS && !self.members.contains_key(id) {
            // All of them are busy: so many at once are one who has many names.
            return Hearing::Ignored;
        }
        let member = self
            .members
            .entry(id.clone())
            .or_insert_with(|| Member { pace: Pace::with_burst(PER_SECOND, AT_ONCE, now), silent_until: None });
        if member.silent_until.is_some_and(|until| now < until) {
            return Hearing::Ignored;
        }
        member.silent_until = None;
        if (0..weight).all(|_| member.pace.admits(now)) {
            return Hearing::Heard;
        }
        member.silent_until = Some(now + SILENCE);
        Hearing::TooMany
    }
}

/// Why a member's call ended that said too much.
pub(crate) fn reason() -> String {
    format!(
        "sent more than {AT_ONCE} signaling messages at once and {PER_SECOND} a second after them: it is not heard for {} s, and may \
         call again then",
        SILENCE.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(talk: &mut Talk, id: &ParticipantId, now: Instant, messages: usize) -> usize {
        (0..messages).filter(|_| talk.hear(id, now) == Hearing::Heard).count()
    }

    /// With `weigh` hearing everything: all 1000 of the flood were heard, where 300 are.
    #[test]
    fn a_browser_is_heard_however_it_connects_and_a_flood_is_cut_off_for_a_while() {
        let (mut talk, id, start) = (Talk::default(), ParticipantId::new("a"), Instant::now());
        assert_eq!(talk.join(&id, start), Hearing::Heard);
        assert_eq!(heard(&mut talk, &id, start, 256), 256, "as many candidates as a connection takes");
        let hour =
            (0..3600).map(|second| heard(&mut talk, &id, start + Duration::from_secs(second), 20)).sum::<usize>();
        assert_eq!(hour, 3600 * 20, "and goes on at a pace that no browser has");
        let later = start + Duration::from_secs(4000);
        assert_eq!(heard(&mut talk, &id, later, 1000), AT_ONCE as usize);
        assert_eq!(talk.hear(&id, later + SILENCE / 2), Hearing::Ignored);
        assert_eq!(talk.join(&id, later + SILENCE / 2), Hearing::Ignored, "coming back changes nothing");
        assert_eq!(talk.hear(&id, later + SILENCE), Hearing::Heard);
        assert_eq!(talk.hear(&ParticipantId::new("b"), later), Hearing::Heard, "others are not concerned");
    }

    #[test]
    fn somebody_who_comes_and_goes_is_cut_off_sooner() {
        let (mut talk, id, now) = (Talk::default(), ParticipantId::new("a"), Instant::now());
        let joined = (0..100).filter(|_| talk.join(&id, now) == Hearing::Heard).count();
        assert_eq!(joined, (AT_ONCE / JOINING) as usize);
    }

    #[test]
    fn many_names_do_not_grow_without_bound() {
        let (mut talk, now) = (Talk::default(), Instant::now());
        let names = (0..10_000).map(|number| ParticipantId::new(number.to_string()));
        let heard = names.filter(|id| talk.join(id, now) == Hearing::Heard).count();
        assert!(heard == MEMBERS && talk.members.len() == MEMBERS, "{heard}");
        let later = now + Duration::from_secs(60);
        assert_eq!(talk.hear(&ParticipantId::new("new"), later), Hearing::Heard, "who is quiet is forgotten");
        assert_eq!(talk.members.len(), 1);
    }
}
