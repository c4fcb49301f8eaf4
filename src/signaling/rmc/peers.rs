//! Who talks to us in an RTCMultiConnection room, and how each call stands. Pure bookkeeping for the client ([`super`]).
//!
//! The room has no member list: somebody exists for us from the first message on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::limits::is_name;
use super::super::{Event, OfferRole, polite, sdp_candidates};
use crate::terms::{IceCandidate, ParticipantId, SdpType, SessionDescription};

/// How long an offer waits for its answer.
const ANSWER: Duration = Duration::from_secs(30);
/// As many as the original takes into one room; a hostile server shall not fill our memory.
const MAX_PEERS: usize = 1000;
/// Candidates that may wait for a description, in each direction.
const MAX_WAITING: usize = 256;

/// The others.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<ParticipantId, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// The user of the session knows of this participant.
    announced: bool,
    call: Call,
    /// When our offer, made or being made, is given up.
    answer_by: Option<Instant>,
    tried_again: bool,
}

/// One connection with a participant.
#[derive(Debug, Default)]
struct Call {
    /// A description went in either direction.
    began: bool,
    /// Offer and answer are exchanged: the next offer of ours renegotiates.
    established: bool,
    we_described: bool,
    they_described: bool,
    mids: Vec<String>,
    /// Theirs that came before their description.
    early: Vec<Option<IceCandidate>>,
    /// Ours that must not overtake our description: the page would drop them.
    held: Vec<IceCandidate>,
}

/// What is to be sent for a description of ours.
pub(crate) struct Outgoing {
    /// It goes on with a connection that stands.
    pub(crate) renegotiates: bool,
    /// What waited for it.
    pub(crate) candidates: Vec<IceCandidate>,
}

impl Peers {
    /// Somebody came and wants to be offered. Whom we had a call with comes anew.
    pub(crate) fn requested(&mut self, id: &ParticipantId, now: Instant) -> Vec<Event> {
        let Some(peer) = self.peer(id) else { return Vec::new() };
        let mut events = peer.end(id);
        peer.answer_by = Some(now + ANSWER);
        peer.announced = true;
        events.push(Event::PeerJoined { peer: id.clone(), offer: OfferRole::WeOffer });
        events
    }

    /// A description came. A first offer replaces the connection we had, unless it crosses with ours.
    pub(crate) fn described(
        &mut self,
        me: &ParticipantId,
        id: &ParticipantId,
        description: SessionDescription,
        renegotiates: bool,
        roomcast: bool,
    ) -> Vec<Event> {
        let Some(peer) = self.peer(id) else { return Vec::new() };
        let mut events = Vec::new();
        match description.kind {
            SdpType::Offer if renegotiates && peer.call.began => {}
            SdpType::Offer => {
                // A page that gets our offer forgets its own and answers, so ours goes on. Of two clients like us one gives
                // way.
                if peer.answer_by.is_some() && !peer.call.established && !(roomcast && polite(me, id)) {
                    tracing::debug!(peer = %id, "an offer that crosses with ours is ignored");
                    return Vec::new();
                }
                events.extend(peer.end(id));
                if !std::mem::replace(&mut peer.announced, true) || !events.is_empty() {
                    events.push(Event::PeerJoined { peer: id.clone(), offer: OfferRole::WeWait });
                }
                peer.answer_by = None;
            }
            _ if peer.answer_by.is_none() => {
                tracing::debug!(peer = %id, "an answer without offer is ignored");
                return Vec::new();
            }
            _ => {
                peer.call.established = true;
                peer.answer_by = None;
                peer.tried_again = false;
            }
        }
        peer.call.began = true;
        peer.call.they_described = true;
        peer.call.mids = sdp_candidates::mids(&description.sdp);
        events.push(Event::Description { peer: id.clone(), description });
        for candidate in std::mem::take(&mut peer.call.early) {
            events.push(peer.candidate(id, candidate));
        }
        events
    }

    /// A candidate came; without a description it has to wait.
    pub(crate) fn candidate(&mut self, id: &ParticipantId, candidate: Option<IceCandidate>) -> Option<Event> {
        let peer = self.peer(id)?;
        if peer.call.they_described {
            return Some(peer.candidate(id, candidate));
        }
        if peer.call.early.len() < MAX_WAITING {
            peer.call.early.push(candidate);
        }
        None
    }

    /// The other side has ended the call and stays.
    pub(crate) fn dropped(&mut self, id: &ParticipantId) -> Vec<Event> {
        self.peers.get_mut(id).map(|peer| peer.end(id)).unwrap_or_default()
    }

    /// Somebody has left. Nothing for whom nobody knows, or who has left before.
    pub(crate) fn left(&mut self, id: &ParticipantId) -> Option<Event> {
        self.peers.remove(id).filter(|peer| peer.announced).map(|_| Event::PeerLeft { peer: id.clone() })
    }

    /// We send a description. `None` when there is nobody to send it to.
    pub(crate) fn describe(&mut self, id: &ParticipantId, kind: SdpType, now: Instant) -> Option<Outgoing> {
        let peer = self.peers.get_mut(id).filter(|peer| peer.announced)?;
        let renegotiates = peer.call.established;
        match kind {
            SdpType::Offer => peer.answer_by = Some(now + ANSWER),
            SdpType::Answer => peer.call.established = true,
            SdpType::Pranswer | SdpType::Rollback => return None,
        }
        peer.call.began = true;
        peer.call.we_described = true;
        Some(Outgoing { renegotiates, candidates: std::mem::take(&mut peer.call.held) })
    }

    /// A candidate of ours, to be sent now if it is given back.
    pub(crate) fn offer_candidate(&mut self, id: &ParticipantId, candidate: IceCandidate) -> Option<IceCandidate> {
        let peer = self.peers.get_mut(id).filter(|peer| peer.announced)?;
        if peer.call.we_described {
            return Some(candidate);
        }
        if peer.call.held.len() < MAX_WAITING {
            peer.call.held.push(candidate);
        }
        None
    }

    /// We end a call. False if there was none.
    pub(crate) fn hang_up(&mut self, id: &ParticipantId) -> bool {
        self.peers.get_mut(id).is_some_and(|peer| {
            peer.answer_by = None;
            std::mem::take(&mut peer.call).began
        })
    }

    /// With whom we have calls.
    pub(crate) fn in_call(&self) -> Vec<ParticipantId> {
        self.peers.iter().filter(|(_, peer)| peer.call.began).map(|(id, _)| id.clone()).collect()
    }

    /// Offers that nobody answered: what to tell, and to whom to say that the call is over.
    pub(crate) fn wake(&mut self, now: Instant) -> (Vec<Event>, Vec<ParticipantId>) {
        let (mut events, mut unanswered) = (Vec::new(), Vec::new());
        for (id, peer) in &mut self.peers {
            if peer.answer_by.is_none_or(|by| by > now) {
                continue;
            }
            if peer.call.began {
                unanswered.push(id.clone());
            }
            peer.answer_by = None;
            peer.call = Call::default();
            events.push(Event::SessionEnded { peer: id.clone() });
            if !std::mem::replace(&mut peer.tried_again, true) {
                peer.answer_by = Some(now + ANSWER);
                events.push(Event::PeerJoined { peer: id.clone(), offer: OfferRole::WeOffer });
            }
        }
        (events, unanswered)
    }

    /// When [`Peers::wake`] has something to say.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.answer_by).min()
    }

    /// The peer of this id, new if need be and possible.
    fn peer(&mut self, id: &ParticipantId) -> Option<&mut Peer> {
        if !is_name(id.as_str()) {
            return None;
        }
        if !self.peers.contains_key(id) && self.peers.len() >= MAX_PEERS {
            tracing::debug!(peer = %id, "too many participants: one more is ignored");
            return None;
        }
        Some(self.peers.entry(id.clone()).or_default())
    }
}

impl Peer {
    /// Ends the call; an event if there was one to end. Candidates that came early stay for the next.
    fn end(&mut self, id: &ParticipantId) -> Vec<Event> {
        let early = if self.call.they_described { Vec::new() } else { std::mem::take(&mut self.call.early) };
        let ended = self.call.began || self.answer_by.is_some();
        self.call = Call { early, ..Call::default() };
        self.answer_by = None;
        if ended { vec![Event::SessionEnded { peer: id.clone() }] } else { Vec::new() }
    }

    fn candidate(&self, id: &ParticipantId, candidate: Option<IceCandidate>) -> Event {
        let candidate = candidate.map(|candidate| sdp_candidates::complete(&self.call.mids, candidate));
        Event::Candidate { peer: id.clone(), candidate }
    }
}
