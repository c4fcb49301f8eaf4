//! The client side of GStreamer's text protocol: a pure state machine that a transport drives.
//!
//! It registers, joins a room, calls or waits to be called, carries descriptions and candidates, and decides what a lost
//! connection means. What a refusal means is in [`refusals`], what is said in the room in [`talk`], who is there in
//! [`peers`], the words in [`wire`].

mod payload;
mod peers;
mod refusals;
pub(super) mod room_url;
mod talk;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::payload::Payload;
use self::peers::Peers;
use self::room_url::Goal;
use self::talk::USELESS;
use self::wire::{FromServer, INVALID_UID, ToServer, is_gateway, is_word};
use super::codec::{ClientCodec, Next, Output};
use super::{Command, Event, IdSource, OfferRole, SignalingError};
use crate::terms::ParticipantId;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long somebody whom we call may take to offer before we do.
const OFFER: Duration = Duration::from_secs(10);
/// The first wait for a place in a full room or for somebody busy; it doubles.
const FULL_FIRST: Duration = Duration::from_secs(5);
/// Whoever calls us does not say who they are.
const CALLER: &str = "caller";

/// A client of the protocol.
pub(crate) struct GStreamerClient {
    goal: Goal,
    pub(super) me: ParticipantId,
    /// The id comes from the user, so no other may be taken instead.
    id_is_fixed: bool,
    new_id: IdSource,
    pub(super) phase: Phase,
    joined_once: bool,
    /// The id was changed since we were last in the room: to the others we are somebody new.
    renamed: bool,
    /// How often in a row our id was refused.
    refusals: u32,
    full_wait: Duration,
    /// The one we call does not know `OFFER_REQUEST`.
    offer_at_once: bool,
    pub(super) peers: Peers,
    /// When we last left the room to join it anew, and when we shall do so again.
    pub(super) rejoined: Option<Instant>,
    pub(super) rejoin_at: Option<Instant>,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Offline,
    Registering {
        answer_by: Instant,
    },
    /// For the room, or for a session.
    Asking {
        answer_by: Instant,
    },
    /// Registered, for somebody to call.
    Waiting,
    InRoom,
    /// In a session: everything that comes is the other side's.
    InCall {
        /// When we offer because they do not, although we have asked them.
        offer_at: Option<Instant>,
        heard: bool,
    },
    /// The connection is to be closed: whatever still comes is too late.
    Closing,
}

impl GStreamerClient {
    pub(crate) fn new(goal: Goal, id: Option<ParticipantId>, new_id: IdSource) -> Self {
        Self {
            goal,
            id_is_fixed: id.is_some(),
            me: id.unwrap_or_else(|| ParticipantId::new(new_id())),
            new_id,
            phase: Phase::Offline,
            joined_once: false,
            renamed: false,
            refusals: 0,
            full_wait: FULL_FIRST,
            offer_at_once: false,
            peers: Peers::default(),
            rejoined: None,
            rejoin_at: None,
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        self.outputs.extend(events.into_iter().map(Output::Event));
    }

    pub(super) fn say(&mut self, frame: impl ToString) {
        self.outputs.push_back(Output::Frame(frame.to_string()));
    }

    fn disconnect(&mut self, next: Next) {
        self.phase = Phase::Closing;
        self.outputs.push_back(Output::Disconnect(next));
    }

    pub(super) fn reconnect(&mut self, delay: Option<Duration>, reason: impl Into<String>) {
        self.disconnect(Next::Reconnect { delay, reason: reason.into() });
    }

    /// Who is on the other side of a session.
    pub(super) fn partner(&self) -> ParticipantId {
        match &self.goal {
            Goal::Call(peer) => peer.clone(),
            _ => ParticipantId::new(CALLER),
        }
    }

    /// The room, or whatever else the URL names.
    fn place(&self) -> &str {
        match &self.goal {
            Goal::Room(room) => room,
            Goal::Call(peer) => peer.as_str(),
            Goal::Wait => self.me.as_str(),
        }
    }

    fn on_registered(&mut self, now: Instant) {
        self.refusals = 0;
        let answer_by = now + ANSWER;
        match self.goal.clone() {
            Goal::Room(room) => {
                self.phase = Phase::Asking { answer_by };
                self.say(ToServer::Room(&room));
            }
            Goal::Call(peer) => {
                self.phase = Phase::Asking { answer_by };
                self.say(ToServer::Session(peer.as_str()));
            }
            Goal::Wait => {
                self.phase = Phase::Waiting;
                self.on_joined();
            }
        }
    }

    fn on_joined(&mut self) {
        self.full_wait = FULL_FIRST;
        if std::mem::take(&mut self.renamed) && matches!(self.goal, Goal::Room(_)) {
            let left = self.peers.forget_all();
            self.tell(left);
        }
        self.joined_once = true;
        self.tell([Event::Joined { me: self.me.clone(), ice_servers: Vec::new() }]);
    }

    fn on_room(&mut self, present: &[&str], now: Instant) {
        self.phase = Phase::InRoom;
        self.on_joined();
        let present = present.iter().filter(|id| is_word(id) && **id != self.me.as_str());
        let to_call = self.peers.joined(present.copied().map(ParticipantId::new).collect(), now);
        for peer in to_call {
            self.tell_arrival(peer, OfferRole::WeOffer);
        }
    }

    /// Another bridge has nothing to show, and is not called.
    pub(super) fn tell_arrival(&mut self, peer: ParticipantId, offer: OfferRole) {
        if !(is_gateway(self.me.as_str()) && is_gateway(peer.as_str())) {
            self.tell([Event::PeerJoined { peer, offer }]);
        }
    }

    /// A session stands. Whatever there was before is over: its other side has a new connection too.
    fn on_session(&mut self, offer_at: Option<Instant>, offer: OfferRole) {
        let peer = self.partner();
        let left = self.peers.forget_all();
        self.tell(left);
        self.peers.arrive(&peer);
        self.phase = Phase::InCall { offer_at, heard: false };
        self.tell([Event::PeerJoined { peer, offer }]);
    }

    fn on_session_ok(&mut self, now: Instant) {
        self.on_joined();
        if self.offer_at_once {
            self.on_session(None, OfferRole::WeOffer);
        } else {
            self.on_session(Some(now + OFFER), OfferRole::WeWait);
            self.say(Payload::OfferRequest);
        }
    }
}

impl ClientCodec for GStreamerClient {
    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Registering { answer_by: now + ANSWER };
        let hello = ToServer::Hello(self.me.as_str()).to_string();
        self.say(hello);
    }

    fn receive(&mut self, text: &str, now: Instant) {
        match self.phase {
            Phase::Registering { .. } => match FromServer::parse(text) {
                FromServer::Hello => self.on_registered(now),
                FromServer::Error(fault) => self.on_refused(fault),
                _ => tracing::debug!("a frame before our registration is ignored"),
            },
            Phase::Asking { .. } => match (FromServer::parse(text), &self.goal) {
                (FromServer::RoomOk(present), Goal::Room(_)) => self.on_room(&present, now),
                (FromServer::SessionOk, Goal::Call(_)) => self.on_session_ok(now),
                (FromServer::Error(fault), _) => self.on_refused(fault),
                _ => tracing::debug!("a frame that is no answer to our question is ignored"),
            },
            // The server's, not a caller's: nobody begins a call so.
            Phase::Waiting if text.starts_with("ERROR") => tracing::warn!("the server reports an error while we wait"),
            Phase::Waiting => {
                let role = match Payload::parse(text) {
                    Some(Payload::OfferRequest) => OfferRole::WeOffer,
                    _ => OfferRole::WeWait,
                };
                self.on_session(None, role);
                if role == OfferRole::WeWait {
                    self.in_call(text);
                }
            }
            Phase::InRoom => self.in_room(FromServer::parse(text)),
            Phase::InCall { .. } => self.in_call(text),
            Phase::Offline | Phase::Closing => {}
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Leave if self.phase != Phase::Closing => self.disconnect(Next::Ended),
            _ if self.phase == Phase::Closing => {}
            Command::Description { peer, description } => self.send_description(&peer, description, now),
            // The end of candidates has no message here.
            Command::Candidate { peer, candidate } => {
                if let Some(candidate) = candidate.filter(|candidate| !candidate.candidate.is_empty()) {
                    self.send_candidate(&peer, candidate);
                }
            }
            Command::Hangup { peer } => {
                self.peers.end_call(&peer);
                if matches!(self.phase, Phase::InCall { .. }) && self.peers.contains(&peer) {
                    self.hang_up(Some(USELESS), "we hung up");
                }
            }
            // The offer is the call, and where we may ask for one we have done so ourselves.
            Command::Call { .. } | Command::Leave => {}
        }
    }

    fn lost(&mut self, error: SignalingError, _now: Instant) {
        let code = match &error {
            SignalingError::Closed { code, .. } => *code,
            _ => None,
        };
        match self.phase {
            Phase::Closing => {}
            Phase::Registering { .. } if code == Some(1002) && error.to_string().contains(INVALID_UID) => {
                self.on_taken()
            }
            // A page from before OFFER_REQUEST drops whoever says it.
            Phase::InCall { offer_at: Some(_), heard: false } if code == Some(1000) => {
                self.offer_at_once = true;
                self.hang_up(None, "the other side ended the call instead of offering");
            }
            Phase::InCall { .. } if code == Some(1000) => self.hang_up(None, "the other side has hung up"),
            _ => self.fail_or_reconnect(error),
        }
        self.phase = Phase::Offline;
    }

    fn wake(&mut self, now: Instant) {
        match self.phase {
            Phase::Registering { answer_by } | Phase::Asking { answer_by } if answer_by <= now => {
                let reason = format!("no answer within {} s", ANSWER.as_secs());
                self.fail_or_reconnect(SignalingError::NoAnswer { host: "the server".into(), reason });
            }
            Phase::InRoom => self.wake_in_room(now),
            Phase::InCall { .. } => self.wake_in_call(now),
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Registering { answer_by } | Phase::Asking { answer_by } => Some(answer_by),
            Phase::InRoom => self.peers.wake_at().into_iter().chain(self.rejoin_at).min(),
            Phase::InCall { offer_at, .. } => self.peers.wake_at().into_iter().chain(offer_at).min(),
            Phase::Offline | Phase::Waiting | Phase::Closing => None,
        }
    }

    fn poll(&mut self, _now: Instant) -> Option<Output> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
