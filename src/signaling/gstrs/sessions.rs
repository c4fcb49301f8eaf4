//! Whom the gst-plugins-rs client knows, and its session with each. Pure bookkeeping for [`super`].
//!
//! A peer is a producer that we consume, or, when we are the producer, somebody who consumes us.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::{Event, OfferRole, sdp_candidates};
use crate::terms::{IceCandidate, ParticipantId, SdpType, SessionDescription};

/// How long a producer may take from our request to its offer, and a consumer from our offer to its answer.
const ANSWER: Duration = Duration::from_secs(30);
/// A hostile server shall not fill our memory.
const MAX_PEERS: usize = 1000;
/// Candidates that may wait for a description, in each direction.
const MAX_WAITING: usize = 256;

/// The others.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    peers: BTreeMap<ParticipantId, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Consumes us; without a session there is nothing between us.
    consumes: bool,
    state: State,
    /// When the wait for an offer or an answer is given up.
    by: Option<Instant>,
    tried_again: bool,
    negotiation: Negotiation,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    /// We have asked the server for a session.
    Asked,
    /// The session of this id stands.
    Stands(String),
}

/// What a session has brought so far.
#[derive(Debug, Default)]
struct Negotiation {
    we_described: bool,
    they_described: bool,
    our_mids: Vec<String>,
    their_mids: Vec<String>,
    /// Theirs that came before their description.
    early: Vec<Option<IceCandidate>>,
    /// Ours that must not overtake our description.
    held: Vec<IceCandidate>,
}

impl Sessions {
    /// Everybody who produces, after we have entered. What we had before, the server has ended.
    pub(crate) fn list(&mut self, present: Vec<ParticipantId>) -> Vec<Event> {
        let gone: Vec<_> = self.peers.keys().filter(|id| !present.contains(id)).cloned().collect();
        let mut events: Vec<_> = gone.iter().filter_map(|id| self.left(id)).collect();
        for id in present {
            if let Some(peer) = self.peers.get_mut(&id) {
                events.extend(peer.end(&id));
                events.push(asks(&id));
            } else {
                events.extend(self.produces(&id));
            }
        }
        events
    }

    /// Somebody is a producer; news for whom we did not know as one.
    pub(crate) fn produces(&mut self, id: &ParticipantId) -> Option<Event> {
        if self.peers.contains_key(id) || self.is_full(id) {
            return None;
        }
        self.peers.insert(id.clone(), Peer::default());
        Some(asks(id))
    }

    /// Somebody is gone, or produces no more.
    pub(crate) fn left(&mut self, id: &ParticipantId) -> Option<Event> {
        self.peers.remove(id).map(|_| Event::PeerLeft { peer: id.clone() })
    }

    /// We ask for a session. False where one stands, is asked for, or cannot be.
    pub(crate) fn ask(&mut self, id: &ParticipantId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.consumes) else { return false };
        if !matches!(peer.state, State::None) {
            return false;
        }
        peer.state = State::Asked;
        peer.by = Some(now + ANSWER);
        true
    }

    /// A session was started. False if we do not want it.
    pub(crate) fn started(&mut self, id: &ParticipantId, session: &str) -> bool {
        match self.peers.get_mut(id) {
            Some(peer) if matches!(peer.state, State::Asked) => {
                peer.state = State::Stands(session.to_owned());
                true
            }
            _ => false,
        }
    }

    /// Somebody has started a session to consume us; with an offer they wait for our answer. Also returns a session that is
    /// to be ended: their last one, or this one when there are too many.
    pub(crate) fn consumed(
        &mut self,
        id: &ParticipantId,
        session: &str,
        with_offer: bool,
        now: Instant,
    ) -> (Vec<Event>, Option<String>) {
        if !self.peers.contains_key(id) && self.is_full(id) {
            return (Vec::new(), Some(session.to_owned()));
        }
        let peer = self.peers.entry(id.clone()).or_default();
        let replaced = peer.session().map(str::to_owned);
        let mut events = peer.end(id);
        peer.consumes = true;
        peer.state = State::Stands(session.to_owned());
        peer.by = (!with_offer).then(|| now + ANSWER);
        let offer = if with_offer { OfferRole::WeWait } else { OfferRole::WeOffer };
        events.push(Event::PeerJoined { peer: id.clone(), offer });
        (events, replaced)
    }

    /// A description came.
    pub(crate) fn described(&mut self, session: &str, description: SessionDescription) -> Vec<Event> {
        let Some((id, peer)) = self.find(session) else { return Vec::new() };
        match description.kind {
            SdpType::Offer => {}
            SdpType::Answer if peer.consumes && peer.by.is_some() => {}
            _ => {
                tracing::debug!(peer = %id, "a description that nobody waits for is ignored");
                return Vec::new();
            }
        }
        peer.by = None;
        peer.tried_again = false;
        let negotiation = &mut peer.negotiation;
        negotiation.they_described = true;
        negotiation.their_mids = sdp_candidates::mids(&description.sdp);
        let mut events = vec![Event::Description { peer: id.clone(), description }];
        for candidate in std::mem::take(&mut negotiation.early) {
            events.push(negotiation.candidate(id, candidate));
        }
        events
    }

    /// A candidate came; without a description it has to wait.
    pub(crate) fn candidate(&mut self, session: &str, candidate: Option<IceCandidate>) -> Option<Event> {
        let (id, Peer { negotiation, .. }) = self.find(session)?;
        if negotiation.they_described {
            return Some(negotiation.candidate(id, candidate));
        }
        if negotiation.early.len() < MAX_WAITING {
            negotiation.early.push(candidate);
        }
        None
    }

    /// The other side has ended a session.
    pub(crate) fn ended(&mut self, session: &str) -> Vec<Event> {
        let Some((id, peer)) = self.find(session) else { return Vec::new() };
        if peer.consumes {
            let id = id.clone();
            return self.left(&id).into_iter().collect();
        }
        peer.end(id)
    }

    /// We send a description: in which session, and with which candidates that waited for it. `None` when there is none.
    pub(crate) fn describe(
        &mut self,
        id: &ParticipantId,
        description: &SessionDescription,
        now: Instant,
    ) -> Option<(String, Vec<IceCandidate>)> {
        let peer = self.peers.get_mut(id)?;
        let session = peer.session()?.to_owned();
        match description.kind {
            SdpType::Offer => peer.by = Some(now + ANSWER),
            SdpType::Answer => {}
            SdpType::Pranswer | SdpType::Rollback => return None,
        }
        let negotiation = &mut peer.negotiation;
        negotiation.we_described = true;
        negotiation.our_mids = sdp_candidates::mids(&description.sdp);
        let held = std::mem::take(&mut negotiation.held);
        Some((session, held.into_iter().map(|candidate| negotiation.indexed(candidate)).collect()))
    }

    /// A candidate of ours, to be sent now if it is given back.
    pub(crate) fn offer_candidate(
        &mut self,
        id: &ParticipantId,
        candidate: IceCandidate,
    ) -> Option<(String, IceCandidate)> {
        let peer = self.peers.get_mut(id)?;
        let session = peer.session()?.to_owned();
        let negotiation = &mut peer.negotiation;
        if negotiation.we_described {
            return Some((session, negotiation.indexed(candidate)));
        }
        if negotiation.held.len() < MAX_WAITING {
            negotiation.held.push(candidate);
        }
        None
    }

    /// The connection with a producer is to be made anew: what to tell, and the session that is to be ended.
    pub(crate) fn renew(&mut self, id: &ParticipantId) -> (Vec<Event>, Option<String>) {
        let Some(peer) = self.peers.get_mut(id) else { return (Vec::new(), None) };
        let session = peer.session().map(str::to_owned);
        peer.end(id);
        (vec![Event::SessionEnded { peer: id.clone() }, asks(id)], session)
    }

    /// We hang up: the session that is to be ended, if it stands already.
    pub(crate) fn hang_up(&mut self, id: &ParticipantId) -> Option<String> {
        let peer = self.peers.get_mut(id)?;
        let session = peer.session().map(str::to_owned);
        peer.end(id);
        if peer.consumes {
            self.peers.remove(id);
        }
        session
    }

    /// The sessions that stand.
    pub(crate) fn all(&self) -> Vec<String> {
        self.peers.values().filter_map(|peer| peer.session().map(str::to_owned)).collect()
    }

    /// Waits that are over: what to tell, and which sessions to end.
    pub(crate) fn wake(&mut self, now: Instant) -> (Vec<Event>, Vec<String>) {
        let (mut events, mut sessions) = (Vec::new(), Vec::new());
        let due = self.peers.iter().filter(|(_, peer)| peer.by.is_some_and(|by| by <= now));
        for id in due.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            sessions.extend(peer.session().map(str::to_owned));
            if peer.consumes {
                events.extend(self.left(&id));
                continue;
            }
            peer.end(&id);
            events.push(Event::SessionEnded { peer: id.clone() });
            if !std::mem::replace(&mut peer.tried_again, true) {
                events.push(asks(&id));
            }
        }
        (events, sessions)
    }

    /// When [`Sessions::wake`] has something to say.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.by).min()
    }

    fn find(&mut self, session: &str) -> Option<(&ParticipantId, &mut Peer)> {
        self.peers.iter_mut().find(|(_, peer)| peer.session() == Some(session))
    }

    fn is_full(&self, id: &ParticipantId) -> bool {
        let full = self.peers.len() >= MAX_PEERS;
        if full {
            tracing::debug!(peer = %id, "too many peers: one more is ignored");
        }
        full
    }
}

/// A producer that is there: we ask it for a session.
fn asks(id: &ParticipantId) -> Event {
    Event::PeerJoined { peer: id.clone(), offer: OfferRole::WeAskThem }
}

impl Peer {
    fn session(&self) -> Option<&str> {
        match &self.state {
            State::Stands(session) => Some(session),
            State::None | State::Asked => None,
        }
    }

    /// Ends whatever is between us; an event if there was something.
    fn end(&mut self, id: &ParticipantId) -> Vec<Event> {
        self.by = None;
        self.negotiation = Negotiation::default();
        match std::mem::take(&mut self.state) {
            State::None => Vec::new(),
            State::Asked | State::Stands(_) => vec![Event::SessionEnded { peer: id.clone() }],
        }
    }
}

impl Negotiation {
    fn candidate(&self, id: &ParticipantId, candidate: Option<IceCandidate>) -> Event {
        let candidate = candidate.map(|candidate| sdp_candidates::complete(&self.their_mids, candidate));
        Event::Candidate { peer: id.clone(), candidate }
    }

    /// GStreamer knows m-sections by their index only, and the server insists on it. All of ours are bundled, so the first
    /// is never wrong.
    fn indexed(&self, candidate: IceCandidate) -> IceCandidate {
        let mut candidate = sdp_candidates::complete(&self.our_mids, candidate);
        candidate.sdp_m_line_index.get_or_insert(0);
        candidate
    }
}
