//! The client side of gst-plugins-rs' signalling: a pure state machine that a transport drives.
//!
//! It consumes every producer it hears of (or the one it was asked for), by starting a session with each; producers offer. With
//! media of our own it is a producer instead and offers to whoever starts a session. How the sessions stand is in
//! [`sessions`].

pub(super) mod room_url;
mod sessions;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::sessions::Sessions;
use self::wire::{FromClient, FromServer, PeerMessage, PeerStatus, Role};
use super::codec::{ClientCodec, Next, Output};
use super::limits::is_name;
use super::{Command, Event, RoomUrl, SignalingError};
use crate::terms::{IceCandidate, ParticipantId, SdpType, SessionDescription};

/// How long the server may take to welcome us and to list the producers.
const REPLY: Duration = Duration::from_secs(10);

/// A client of a signalling server.
pub(crate) struct GstrsClient {
    /// The one producer that is wanted, by id or by name.
    wanted: Option<String>,
    /// What we call ourselves.
    name: String,
    /// We bring media: a producer, which consumes nobody.
    produces: bool,
    me: Option<ParticipantId>,
    phase: Phase,
    joined_once: bool,
    sessions: Sessions,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Offline,
    /// Until the welcome and the list have come.
    Entering {
        by: Instant,
    },
    Joined,
    /// The connection is to be closed: whatever still comes is too late.
    Closing,
}

impl GstrsClient {
    pub(crate) fn new(url: &RoomUrl, produces: bool) -> Self {
        Self {
            wanted: url.key("producer").map(str::to_owned),
            name: url.id().map_or("roomcast", ParticipantId::as_str).to_owned(),
            produces,
            me: None,
            phase: Phase::Offline,
            joined_once: false,
            sessions: Sessions::default(),
            outputs: VecDeque::new(),
        }
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        self.outputs.extend(events.into_iter().map(Output::Event));
    }

    fn say(&mut self, message: &FromClient) {
        self.outputs.push_back(Output::Frame(wire::write(message)));
    }

    fn end_session(&mut self, session_id: String) {
        self.say(&FromClient::EndSession { session_id });
    }

    fn disconnect(&mut self, next: Next) {
        self.phase = Phase::Closing;
        self.outputs.push_back(Output::Disconnect(next));
    }

    fn fail(&mut self, error: SignalingError) {
        if self.joined_once {
            self.disconnect(Next::Reconnect { delay: None, reason: error.to_string() });
        } else {
            self.disconnect(Next::Failed(error));
        }
    }

    fn on_welcome(&mut self, peer_id: String) {
        if self.me.is_some() || !is_name(&peer_id) {
            return;
        }
        self.me = Some(ParticipantId::new(peer_id));
        let role = if self.produces { Role::Producer } else { Role::Listener };
        let meta = Some(json!({ "name": self.name }));
        self.say(&FromClient::SetPeerStatus(PeerStatus { roles: vec![role], meta, peer_id: None }));
        self.say(&FromClient::List);
    }

    fn on_list(&mut self, producers: Vec<wire::Peer>) {
        let (Phase::Entering { .. }, Some(me)) = (self.phase, self.me.clone()) else { return };
        self.phase = Phase::Joined;
        self.joined_once = true;
        self.tell([Event::Joined { me, ice_servers: Vec::new() }]);
        let present = producers.into_iter().filter(|peer| self.wants(&peer.id, peer.meta.as_ref()));
        let present: Vec<_> = present.map(|peer| ParticipantId::new(peer.id)).collect();
        let events = self.sessions.list(present);
        self.tell(events);
    }

    fn wants(&self, id: &str, meta: Option<&Value>) -> bool {
        let other = is_name(id) && self.me.as_ref().is_some_and(|me| me.as_str() != id);
        let wanted = self.wanted.as_deref().is_none_or(|wanted| wanted == id || wire::name(meta) == Some(wanted));
        other && wanted && !self.produces
    }

    fn on_status(&mut self, status: &PeerStatus) {
        let Some(id) = status.peer_id.as_deref().filter(|_| self.phase == Phase::Joined) else { return };
        let peer = ParticipantId::new(id);
        let event = if status.is(Role::Producer) && self.wants(id, status.meta.as_ref()) {
            self.sessions.produces(&peer)
        } else {
            self.sessions.left(&peer)
        };
        self.tell(event);
    }

    /// The server has started what we asked for.
    fn on_started(&mut self, peer_id: String, session_id: String) {
        if !is_name(&session_id) {
            return;
        }
        if !self.sessions.started(&ParticipantId::new(peer_id), &session_id) {
            // We have hung up meanwhile.
            self.end_session(session_id);
        }
    }

    /// Somebody wants to consume us.
    fn on_start(&mut self, peer_id: String, session_id: String, offer: Option<String>, now: Instant) {
        if !self.produces || !is_name(&session_id) || !is_name(&peer_id) {
            return self.end_session(session_id);
        }
        let peer = ParticipantId::new(peer_id);
        let (events, replaced) = self.sessions.consumed(&peer, &session_id, offer.is_some(), now);
        if let Some(replaced) = replaced {
            self.end_session(replaced);
        }
        self.tell(events);
        if let Some(sdp) = offer {
            self.on_description(&session_id, SessionDescription { kind: SdpType::Offer, sdp });
        }
    }

    fn on_peer(&mut self, message: PeerMessage) {
        if let Some(description) = message.sdp {
            self.on_description(&message.session_id, description);
        } else if let Some(candidate) = message.ice {
            let candidate = Some(candidate).filter(|candidate| !candidate.candidate.is_empty());
            let event = self.sessions.candidate(&message.session_id, candidate);
            self.tell(event);
        }
    }

    fn on_description(&mut self, session: &str, description: SessionDescription) {
        let events = self.sessions.described(session, description);
        self.tell(events);
    }

    fn describe(&mut self, peer: ParticipantId, description: SessionDescription, now: Instant) {
        if description.kind == SdpType::Offer && !self.produces {
            // A consumer cannot offer within a session, and not every producer takes an offer with a new one: whoever wants
            // this connection renewed gets a new session.
            let (events, ended) = self.sessions.renew(&peer);
            if let Some(ended) = ended {
                self.end_session(ended);
            }
            return self.tell(events);
        }
        let Some((session_id, candidates)) = self.sessions.describe(&peer, &description, now) else { return };
        let message = PeerMessage { session_id: session_id.clone(), sdp: Some(description), ice: None };
        self.say(&FromClient::Peer(message));
        for candidate in candidates {
            self.send_candidate(session_id.clone(), candidate);
        }
    }

    fn send_candidate(&mut self, session_id: String, candidate: IceCandidate) {
        self.say(&FromClient::Peer(PeerMessage { session_id, sdp: None, ice: Some(candidate) }));
    }

    fn leave(&mut self) {
        if self.phase == Phase::Joined {
            for session in self.sessions.all() {
                self.end_session(session);
            }
        }
        if self.phase != Phase::Closing {
            self.disconnect(Next::Ended);
        }
    }
}

impl ClientCodec for GstrsClient {
    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Entering { by: now + REPLY };
        self.me = None;
    }

    fn receive(&mut self, text: &str, now: Instant) {
        if self.phase == Phase::Closing {
            return;
        }
        let message = match wire::parse(text) {
            Ok(message) => message,
            Err(error) => return tracing::debug!(%error, "a frame that is no message is ignored"),
        };
        match message {
            FromServer::Welcome { peer_id } => self.on_welcome(peer_id),
            FromServer::List { producers } => self.on_list(producers),
            FromServer::PeerStatusChanged(status) => self.on_status(&status),
            FromServer::SessionStarted { peer_id, session_id } => self.on_started(peer_id, session_id),
            FromServer::StartSession { peer_id, session_id, offer } => self.on_start(peer_id, session_id, offer, now),
            FromServer::Peer(message) => self.on_peer(message),
            FromServer::EndSession { session_id } => {
                let event = self.sessions.ended(&session_id);
                self.tell(event);
            }
            // Which request failed is not said: the one that waits in vain notices.
            FromServer::Error { details } => {
                let details: String = details.chars().filter(|c| !c.is_control()).take(200).collect();
                tracing::debug!(details, "the server reports an error");
            }
            FromServer::ListConsumers { .. } => {}
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Leave => self.leave(),
            _ if self.phase == Phase::Closing => {}
            Command::Call { peer } => {
                if self.phase == Phase::Joined && self.sessions.ask(&peer, now) {
                    self.say(&FromClient::StartSession { peer_id: peer.as_str().to_owned(), offer: None });
                }
            }
            Command::Description { peer, description } => self.describe(peer, description, now),
            // Their end has no message that everybody understands.
            Command::Candidate { candidate: None, .. } => {}
            Command::Candidate { peer, candidate: Some(candidate) } => {
                if let Some((session_id, candidate)) = self.sessions.offer_candidate(&peer, candidate) {
                    self.send_candidate(session_id, candidate);
                }
            }
            Command::Hangup { peer } => {
                if let Some(session) = self.sessions.hang_up(&peer) {
                    self.end_session(session);
                }
            }
        }
    }

    fn lost(&mut self, error: SignalingError, _now: Instant) {
        if self.phase != Phase::Closing {
            self.fail(error);
        }
        self.phase = Phase::Offline;
    }

    fn wake(&mut self, now: Instant) {
        match self.phase {
            Phase::Entering { by } if by <= now => {
                let missing = if self.me.is_some() { "no list of producers" } else { "no welcome" };
                let reason = format!("{missing} within {} s", REPLY.as_secs());
                self.fail(SignalingError::NoAnswer { host: "the server".into(), reason });
            }
            Phase::Joined => {
                let (events, unanswered) = self.sessions.wake(now);
                for session in unanswered {
                    self.end_session(session);
                }
                self.tell(events);
            }
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Entering { by } => Some(by),
            Phase::Joined => self.sessions.wake_at(),
            Phase::Offline | Phase::Closing => None,
        }
    }

    fn poll(&mut self, _now: Instant) -> Option<Output> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
