//! Who is in a mesh room and how our calls with them stand. Pure bookkeeping for the mesh client.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::limits::is_name;
use super::super::{CallPolicy, Event, OfferRole, is_gateway, sdp_candidates};
use crate::terms::{IceCandidate, ParticipantId, SdpType, SessionDescription};

/// How long an offer waits for its answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a call survives that its peer is missing from the list right after our own reconnect.
const GRACE: Duration = Duration::from_secs(10);
/// More members than any server of this protocol has; a hostile one shall not fill our memory.
const MAX_MEMBERS: usize = 1000;

/// The others in the room.
#[derive(Debug, Default)]
pub(crate) struct Members {
    policy: CallPolicy,
    peers: BTreeMap<ParticipantId, Peer>,
    /// The next list is the first one since we have joined.
    first_list: bool,
    /// Until when peers that are missing from the list keep their calls.
    grace: Option<Instant>,
}

#[derive(Debug, Default)]
struct Peer {
    in_call: bool,
    missing: bool,
    answer_by: Option<Instant>,
    tried_again: bool,
    mids: Vec<String>,
}

impl Members {
    pub(crate) fn new(policy: CallPolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// We are in the room. After a reconnect, calls survive for a while even if the list does not show their peers.
    pub(crate) fn joined(&mut self, again: bool, now: Instant) {
        self.first_list = true;
        self.grace = again.then(|| now + GRACE);
    }

    /// Compares a new list with what we knew.
    pub(crate) fn list(&mut self, me: &ParticipantId, list: Vec<String>, now: Instant) -> Vec<Event> {
        let present: BTreeSet<ParticipantId> = list
            .into_iter()
            .filter(|id| is_name(id) && id != me.as_str())
            .take(MAX_MEMBERS)
            .map(ParticipantId::new)
            .collect();
        let grace = self.grace.is_some_and(|until| now < until);
        for (id, peer) in &mut self.peers {
            peer.missing = !present.contains(id);
        }
        let mut events = if grace { Vec::new() } else { self.remove_missing() };
        let first_list = std::mem::take(&mut self.first_list);
        for id in present {
            if !self.peers.contains_key(&id) {
                events.push(Event::PeerJoined { peer: id.clone(), offer: self.role(&id, first_list) });
                self.peers.insert(id, Peer::default());
            }
        }
        events
    }

    fn role(&self, peer: &ParticipantId, first_list: bool) -> OfferRole {
        let call = match self.policy {
            CallPolicy::All => true,
            CallPolicy::Present => first_list,
            CallPolicy::None => false,
        };
        if call && !is_gateway(peer) { OfferRole::WeOffer } else { OfferRole::WeWait }
    }

    fn remove_missing(&mut self) -> Vec<Event> {
        let missing: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.missing).map(|(id, _)| id.clone()).collect();
        self.peers.retain(|_, peer| !peer.missing);
        missing.into_iter().map(|peer| Event::PeerLeft { peer }).collect()
    }

    /// Forgets everybody: we come back as somebody else.
    pub(crate) fn forget_all(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.peers).into_keys().map(|peer| Event::PeerLeft { peer }).collect()
    }

    /// Somebody sent us something. Usually the list came first; if not, it will confirm the sender.
    pub(crate) fn heard(&mut self, id: &ParticipantId) -> Option<Event> {
        if self.peers.contains_key(id) || self.peers.len() >= MAX_MEMBERS {
            return None;
        }
        self.peers.insert(id.clone(), Peer::default());
        Some(Event::PeerJoined { peer: id.clone(), offer: OfferRole::WeWait })
    }

    /// A description came.
    pub(crate) fn described(&mut self, id: &ParticipantId, description: &SessionDescription) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.in_call = true;
        peer.mids = sdp_candidates::mids(&description.sdp);
        if description.kind == SdpType::Answer {
            peer.answer_by = None;
            peer.tried_again = false;
        }
    }

    /// We send a description.
    pub(crate) fn describe(&mut self, id: &ParticipantId, kind: SdpType, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(id) else { return false };
        peer.in_call = true;
        peer.answer_by = (kind == SdpType::Offer).then(|| now + ANSWER);
        true
    }

    /// Whether we know this participant.
    pub(crate) fn contains(&self, id: &ParticipantId) -> bool {
        self.peers.contains_key(id)
    }

    /// Gives a candidate that names its m-line in only one of the two ways the other one too.
    pub(crate) fn complete(&self, id: &ParticipantId, candidate: IceCandidate) -> IceCandidate {
        sdp_candidates::complete(self.peers.get(id).map_or(&[], |peer| &peer.mids), candidate)
    }

    /// The call with a peer ends, by either side. False if there was none.
    pub(crate) fn end_call(&mut self, id: &ParticipantId) -> bool {
        let Some(peer) = self.peers.get_mut(id) else { return false };
        peer.answer_by = None;
        std::mem::take(&mut peer.in_call)
    }

    /// With whom we have calls.
    pub(crate) fn in_call(&self) -> Vec<ParticipantId> {
        self.peers.iter().filter(|(_, peer)| peer.in_call).map(|(id, _)| id.clone()).collect()
    }

    /// What time has brought: peers that did not come back, and calls that nobody answered, to be hung up.
    pub(crate) fn wake(&mut self, now: Instant) -> (Vec<Event>, Vec<ParticipantId>) {
        let mut events = Vec::new();
        if self.grace.is_some_and(|until| until <= now) {
            self.grace = None;
            events = self.remove_missing();
        }
        let mut unanswered = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.answer_by.is_none_or(|by| by > now) {
                continue;
            }
            peer.answer_by = None;
            peer.in_call = false;
            unanswered.push(id.clone());
            events.push(Event::SessionEnded { peer: id.clone() });
            if !std::mem::replace(&mut peer.tried_again, true) {
                events.push(Event::PeerJoined { peer: id.clone(), offer: OfferRole::WeOffer });
            }
        }
        (events, unanswered)
    }

    /// When [`Members::wake`] has something to say.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.answer_by).chain(self.grace).min()
    }
}
