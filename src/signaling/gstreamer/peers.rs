//! Who is in a GStreamer room, or on the other side of a session, and how our calls with them stand. Pure bookkeeping for
//! the client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::{Event, sdp_candidates};
use crate::terms::{IceCandidate, ParticipantId, SdpType, SessionDescription};

/// How long an offer waits for its answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a call survives that its peer is not in the room right after our own reconnect.
const GRACE: Duration = Duration::from_secs(10);
/// A hostile server shall not fill our memory.
const MAX_PEERS: usize = 1000;
/// Candidates that wait for the description they belong to.
const MAX_HELD: usize = 256;

/// The others.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<ParticipantId, Peer>,
    /// Until when those who are missing keep their calls.
    grace: Option<Instant>,
}

#[derive(Debug, Default)]
struct Peer {
    in_call: bool,
    missing: bool,
    /// A description has passed, in either direction, since both of us are in the room.
    called: bool,
    /// A description of ours has left in this call: candidates may follow.
    described: bool,
    held: Vec<IceCandidate>,
    answer_by: Option<Instant>,
    our_mids: Vec<String>,
    their_mids: Vec<String>,
    /// Of their DTLS certificates: other ones mean another connection.
    fingerprints: Vec<String>,
}

/// What is to be done with a description of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Send it, and then the candidates that waited for it.
    Send(Vec<IceCandidate>),
    /// It would be a second offer in the same room.
    Again,
    /// There is nobody to send it to.
    Nobody,
}

impl Peers {
    /// Whether we know somebody.
    pub(crate) fn contains(&self, id: &ParticipantId) -> bool {
        self.peers.contains_key(id)
    }

    /// Whether a call with them stands.
    pub(crate) fn in_call(&self, id: &ParticipantId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.in_call)
    }

    /// Somebody has come. False when there is nothing to do about it: known already, or one too many.
    pub(crate) fn arrive(&mut self, id: &ParticipantId) -> bool {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.called &= !peer.missing;
            return std::mem::take(&mut peer.missing) && !peer.in_call;
        }
        let room = self.peers.len() < MAX_PEERS;
        if room {
            self.peers.insert(id.clone(), Peer::default());
        }
        room
    }

    /// We have joined, and these are there. Returns whom to call: calls from before that still stand are left alone, and
    /// those who are not there have a while to come back.
    pub(crate) fn joined(&mut self, present: Vec<ParticipantId>, now: Instant) -> Vec<ParticipantId> {
        for peer in self.peers.values_mut() {
            peer.missing = true;
        }
        let to_call = present.into_iter().filter(|id| self.arrive(id)).collect();
        self.grace = self.peers.values().any(|peer| peer.missing).then(|| now + GRACE);
        to_call
    }

    /// Somebody is gone.
    pub(crate) fn remove(&mut self, id: &ParticipantId) -> Option<Event> {
        self.peers.remove(id).map(|_| Event::PeerLeft { peer: id.clone() })
    }

    /// Everybody is gone, or we are somebody else.
    pub(crate) fn forget_all(&mut self) -> Vec<Event> {
        self.grace = None;
        std::mem::take(&mut self.peers).into_keys().map(|peer| Event::PeerLeft { peer }).collect()
    }

    /// A description came. True when it begins another call than the one that stands: they have a new connection.
    pub(crate) fn described(&mut self, id: &ParticipantId, description: &SessionDescription) -> bool {
        let Some(peer) = self.peers.get_mut(id) else { return false };
        let fingerprints = sdp_candidates::fingerprints(&description.sdp);
        let other = description.kind == SdpType::Offer
            && peer.in_call
            && !peer.fingerprints.is_empty()
            && !fingerprints.is_empty()
            && !fingerprints.iter().any(|fingerprint| peer.fingerprints.contains(fingerprint));
        if other {
            peer.end_call();
        }
        if description.kind == SdpType::Answer {
            peer.answer_by = None;
        }
        peer.fingerprints = fingerprints;
        peer.their_mids = sdp_candidates::mids(&description.sdp);
        peer.in_call = true;
        peer.called = true;
        other
    }

    /// We have a description for somebody. In a room only the first offer counts.
    pub(crate) fn describe(
        &mut self,
        id: &ParticipantId,
        description: &SessionDescription,
        in_room: bool,
        now: Instant,
    ) -> Sending {
        let Some(peer) = self.peers.get_mut(id) else { return Sending::Nobody };
        let offer = description.kind == SdpType::Offer;
        if offer && in_room && peer.called {
            return Sending::Again;
        }
        peer.answer_by = offer.then(|| now + ANSWER);
        peer.our_mids = sdp_candidates::mids(&description.sdp);
        peer.in_call = true;
        peer.called = true;
        peer.described = true;
        Sending::Send(peer.held.drain(..).collect())
    }

    /// A candidate of ours, ready to be sent; `None` when it waits for its description or has no receiver.
    pub(crate) fn hold_or_send(&mut self, id: &ParticipantId, candidate: IceCandidate) -> Option<IceCandidate> {
        let peer = self.peers.get_mut(id)?;
        if peer.described {
            return Some(self.indexed(id, candidate));
        }
        if peer.held.len() < MAX_HELD {
            peer.held.push(candidate);
        }
        None
    }

    /// GStreamer goes by the index of the section alone.
    pub(crate) fn indexed(&self, id: &ParticipantId, candidate: IceCandidate) -> IceCandidate {
        let mids = self.peers.get(id).map_or(&[][..], |peer| &peer.our_mids);
        let mut candidate = sdp_candidates::complete(mids, candidate);
        candidate.sdp_m_line_index.get_or_insert(0);
        candidate
    }

    /// A candidate of theirs, with its mid where their description has told it.
    pub(crate) fn complete(&self, id: &ParticipantId, candidate: IceCandidate) -> IceCandidate {
        sdp_candidates::complete(self.peers.get(id).map_or(&[], |peer| &peer.their_mids), candidate)
    }

    /// The call with somebody ends.
    pub(crate) fn end_call(&mut self, id: &ParticipantId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.end_call();
        }
    }

    /// What time has brought: peers that did not come back, and calls that nobody answered.
    pub(crate) fn wake(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        if self.grace.is_some_and(|until| until <= now) {
            self.grace = None;
            let missing: Vec<_> =
                self.peers.iter().filter(|(_, peer)| peer.missing).map(|(id, _)| id.clone()).collect();
            events.extend(missing.iter().filter_map(|id| self.remove(id)));
        }
        for (id, peer) in &mut self.peers {
            if peer.answer_by.is_some_and(|by| by <= now) {
                peer.end_call();
                events.push(Event::SessionEnded { peer: id.clone() });
            }
        }
        events
    }

    /// When [`Peers::wake`] has something to say.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.answer_by).chain(self.grace).min()
    }
}

impl Peer {
    fn end_call(&mut self) {
        *self = Self { called: self.called, missing: self.missing, ..Self::default() };
    }
}
