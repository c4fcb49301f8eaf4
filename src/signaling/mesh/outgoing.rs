//! What a mesh client has yet to send: paced, batched, and resent when the server says that it dropped something.
//!
//! Pure: time comes in, messages come out. Newer servers drop what exceeds 30 messages a second without saying which, so we
//! stay below 25 and keep the candidates that come right after a description inside that description.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::sdp_candidates;
use super::wire::{Kind, Message, Payload};
use crate::terms::{IceCandidate, ParticipantId, SessionDescription};

/// Frames within any one second.
const FRAMES_PER_SECOND: usize = 25;
/// How long a description waits for the candidates of its own ICE generation.
const GATHERING: Duration = Duration::from_millis(300);
/// How long we are silent after `rate_limited`.
const PENALTY: Duration = Duration::from_secs(1);
/// Messages that may wait; a bridge with 50 calls has some hundred of them. Beyond it candidates are not taken.
const WAITING: usize = 4096;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    ready: VecDeque<Message>,
    /// Descriptions that wait for candidates.
    gathering: BTreeMap<ParticipantId, Gathering>,
    /// The ICE generation that each peer last got a description of.
    generations: BTreeMap<ParticipantId, String>,
    /// What was sent within the last second.
    sent: VecDeque<(Instant, Message)>,
    silent_until: Option<Instant>,
}

#[derive(Debug)]
struct Gathering {
    description: SessionDescription,
    until: Instant,
}

impl Outgoing {
    /// Takes a message without a body.
    pub(crate) fn push(&mut self, kind: Kind, to: Option<&ParticipantId>) {
        let to = to.map(|peer| peer.as_str().to_owned());
        self.ready.push_back(Message { to, ..Message::new(kind) });
    }

    /// Takes a description, which waits for its first candidates if there can be any.
    pub(crate) fn description(&mut self, peer: &ParticipantId, description: SessionDescription, now: Instant) {
        self.release(peer);
        let generation = sdp_candidates::ice_ufrag(&description.sdp).unwrap_or_default().to_owned();
        let known = self.generations.insert(peer.clone(), generation.clone()).is_some_and(|last| last == generation);
        if known || generation.is_empty() || description.sdp.contains("\na=candidate:") {
            self.ready.push_back(description_message(peer, description));
        } else {
            self.gathering.insert(peer.clone(), Gathering { description, until: now + GATHERING });
        }
    }

    /// Takes a candidate, or the end of candidates, which has no message of its own in this protocol.
    pub(crate) fn candidate(&mut self, peer: &ParticipantId, candidate: Option<IceCandidate>) {
        let Some(candidate) = candidate else { return self.release(peer) };
        if let Some(gathering) = self.gathering.get_mut(peer)
            && sdp_candidates::insert(&mut gathering.description.sdp, &candidate)
        {
            return;
        }
        if self.ready.len() >= WAITING {
            tracing::debug!(%peer, "too many messages wait for the room: a candidate is not sent");
            return;
        }
        let to = Some(peer.as_str().to_owned());
        self.ready.push_back(Message {
            to,
            candidate: Some(Payload::Known(candidate)),
            ..Message::new(Kind::Candidate)
        });
    }

    /// Forgets what was meant for a peer.
    pub(crate) fn forget(&mut self, peer: &ParticipantId) {
        self.gathering.remove(peer);
        self.generations.remove(peer);
        self.ready.retain(|message| message.to.as_deref() != Some(peer.as_str()));
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self { sent: std::mem::take(&mut self.sent), silent_until: self.silent_until, ..Self::default() };
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.gathering.is_empty()
    }

    /// Counts a message that did not come from this queue.
    pub(crate) fn count(&mut self, message: Message, now: Instant) {
        self.sent.push_back((now, message));
    }

    /// The server has dropped a message of ours. It does not say which: each time one more of the last ones is repeated.
    pub(crate) fn rate_limited(&mut self, now: Instant) {
        self.silent_until = Some(now + PENALTY);
        if let Some((_, message)) = self.sent.pop_back()
            && message.to.is_some()
        {
            self.ready.push_front(message);
        }
    }

    /// The next message that may be sent now.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Message> {
        let due: Vec<_> = self.gathering.iter().filter(|(_, g)| g.until <= now).map(|(peer, _)| peer.clone()).collect();
        for peer in due {
            self.release(&peer);
        }
        while self.sent.front().is_some_and(|(at, _)| *at + Duration::from_secs(1) <= now) {
            self.sent.pop_front();
        }
        if self.silent_until.is_some_and(|until| now < until) || self.sent.len() >= FRAMES_PER_SECOND {
            return None;
        }
        self.silent_until = None;
        let message = self.ready.pop_front()?;
        self.sent.push_back((now, message.clone()));
        Some(message)
    }

    /// When [`Outgoing::poll`] has something again.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let gathered = self.gathering.values().map(|gathering| gathering.until).min();
        let paced = (!self.ready.is_empty()).then(|| {
            let full = self.sent.len() >= FRAMES_PER_SECOND;
            let slot = self.sent.front().filter(|_| full).map(|(at, _)| *at + Duration::from_secs(1));
            slot.into_iter().chain(self.silent_until).max()
        });
        gathered.into_iter().chain(paced.flatten()).min()
    }

    fn release(&mut self, peer: &ParticipantId) {
        if let Some(Gathering { description, .. }) = self.gathering.remove(peer) {
            self.ready.push_back(description_message(peer, description));
        }
    }
}

fn description_message(peer: &ParticipantId, description: SessionDescription) -> Message {
    let kind = if description.kind == crate::terms::SdpType::Offer { Kind::Offer } else { Kind::Answer };
    Message { to: Some(peer.as_str().to_owned()), sdp: Some(Payload::Known(description)), ..Message::new(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::SdpType;

    const SDP: &str = "v=0\r\na=ice-ufrag:U\r\nm=audio 9 x 0\r\na=mid:0\r\n";

    fn offer(sdp: &str) -> SessionDescription {
        SessionDescription { kind: SdpType::Offer, sdp: sdp.into() }
    }

    fn host_candidate() -> Option<IceCandidate> {
        Some(IceCandidate { candidate: "candidate:1".into(), sdp_mid: Some("0".into()), ..IceCandidate::default() })
    }

    fn drain(outgoing: &mut Outgoing, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| outgoing.poll(now)).map(|message| message.to_json()).collect()
    }

    #[test]
    fn never_more_than_25_frames_leave_within_a_second_and_none_is_lost() {
        let (mut outgoing, peer, start) = (Outgoing::default(), ParticipantId::new("b"), Instant::now());
        (0..60).for_each(|_| outgoing.push(Kind::Hangup, Some(&peer)));
        let mut times = Vec::new();
        let mut now = start;
        while !outgoing.is_empty() {
            times.extend(std::iter::from_fn(|| outgoing.poll(now)).map(|_| now));
            now = outgoing.wake_at().unwrap_or(now);
        }
        assert_eq!(times.len(), 60);
        for window in times.windows(FRAMES_PER_SECOND + 1) {
            assert!(window[FRAMES_PER_SECOND] - window[0] >= Duration::from_secs(1));
        }
        assert!(now - start <= Duration::from_secs(2), "60 frames need no more than two waits");
    }

    #[test]
    fn early_candidates_travel_inside_the_description() {
        let (mut outgoing, peer, now) = (Outgoing::default(), ParticipantId::new("b"), Instant::now());
        outgoing.description(&peer, offer(SDP), now);
        assert!(drain(&mut outgoing, now).is_empty(), "it waits for candidates");
        outgoing.candidate(&peer, host_candidate());
        assert_eq!(outgoing.wake_at(), Some(now + GATHERING));
        let sent = drain(&mut outgoing, now + GATHERING);
        assert_eq!(sent.len(), 1);
        assert!(sent[0].contains("a=mid:0\\r\\na=candidate:1\\r\\n"), "{}", sent[0]);
        outgoing.candidate(&peer, host_candidate());
        assert_eq!(drain(&mut outgoing, now + GATHERING).len(), 1, "a late candidate has its own message");
    }

    #[test]
    fn the_end_of_candidates_sends_the_description_at_once_and_has_no_message_itself() {
        let (mut outgoing, peer, now) = (Outgoing::default(), ParticipantId::new("b"), Instant::now());
        outgoing.description(&peer, offer(SDP), now);
        outgoing.candidate(&peer, None);
        assert_eq!(drain(&mut outgoing, now).len(), 1);
        outgoing.candidate(&peer, None);
        assert!(drain(&mut outgoing, now).is_empty());
    }

    #[test]
    fn a_renegotiation_does_not_wait_but_an_ice_restart_does() {
        let (mut outgoing, peer, now) = (Outgoing::default(), ParticipantId::new("b"), Instant::now());
        outgoing.description(&peer, offer(SDP), now);
        outgoing.candidate(&peer, None);
        outgoing.description(&peer, offer(SDP), now);
        assert_eq!(drain(&mut outgoing, now).len(), 2);
        outgoing.description(&peer, offer(&SDP.replace(":U", ":V")), now);
        assert!(drain(&mut outgoing, now).is_empty());
    }

    #[test]
    fn what_the_server_dropped_is_sent_again_a_second_later_in_order() {
        let (mut outgoing, now) = (Outgoing::default(), Instant::now());
        for peer in ["a", "b", "c"] {
            outgoing.push(Kind::Hangup, Some(&ParticipantId::new(peer)));
        }
        let sent = drain(&mut outgoing, now);
        outgoing.rate_limited(now);
        outgoing.rate_limited(now);
        assert!(drain(&mut outgoing, now).is_empty());
        assert_eq!(outgoing.wake_at(), Some(now + PENALTY));
        assert_eq!(drain(&mut outgoing, now + PENALTY), sent[1..]);
    }

    #[test]
    fn nothing_is_sent_to_a_peer_that_is_gone() {
        let (mut outgoing, now) = (Outgoing::default(), Instant::now());
        let (gone, here) = (ParticipantId::new("gone"), ParticipantId::new("here"));
        outgoing.description(&gone, offer(SDP), now);
        outgoing.candidate(&gone, Some(IceCandidate::default()));
        outgoing.push(Kind::Hangup, Some(&here));
        outgoing.forget(&gone);
        assert_eq!(drain(&mut outgoing, now + GATHERING), [r#"{"type":"hangup","to":"here"}"#]);
    }
}
