//! The mesh protocol's client side: a pure state machine that a transport drives.
//!
//! It joins, compares member lists, carries descriptions and candidates, and decides what a lost connection means. What a
//! refusal means is in [`refusals`], what waits to be sent in [`outgoing`], who is in the room in [`members`].

mod members;
pub(super) mod order;
mod outgoing;
mod refusals;
pub(super) mod room_url;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::members::Members;
use self::outgoing::Outgoing;
use self::wire::{Kind, Message, Payload};
use super::codec::{ClientCodec, Next, Output};
use super::limits::is_name;
use super::{CallPolicy, Command, Event, IdSource, SignalingError};
use crate::terms::{IceCandidate, ParticipantId};

/// How long the server may take to answer a join.
const JOIN: Duration = Duration::from_secs(10);
/// The first wait for a place in a full room; it doubles.
const FULL_FIRST: Duration = Duration::from_secs(5);
/// How long the farewell may take.
const LEAVE: Duration = Duration::from_secs(2);

/// A client of a mesh room.
pub(crate) struct MeshClient {
    room: String,
    me: ParticipantId,
    /// The id comes from the user, so no other may be taken instead.
    id_is_fixed: bool,
    new_id: IdSource,
    phase: Phase,
    joined_once: bool,
    /// The id was changed since we were last in the room: to the others we are somebody new.
    renamed: bool,
    /// Since when our id is said to be taken.
    taken_since: Option<Instant>,
    full_wait: Duration,
    members: Members,
    outgoing: Outgoing,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Offline,
    Joining {
        answer_by: Instant,
    },
    Joined,
    Leaving {
        until: Instant,
    },
    /// The connection is to be closed: whatever still comes is too late.
    Closing,
}

impl MeshClient {
    pub(crate) fn new(room: &str, id: Option<ParticipantId>, policy: CallPolicy, new_id: IdSource) -> Self {
        Self {
            room: room.to_owned(),
            id_is_fixed: id.is_some(),
            me: id.unwrap_or_else(|| ParticipantId::new(new_id())),
            new_id,
            phase: Phase::Offline,
            joined_once: false,
            renamed: false,
            taken_since: None,
            full_wait: FULL_FIRST,
            members: Members::new(policy),
            outgoing: Outgoing::default(),
            outputs: VecDeque::new(),
        }
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if let Event::PeerLeft { peer } | Event::SessionEnded { peer } = &event {
                self.outgoing.forget(peer);
            }
            self.outputs.push_back(Output::Event(event));
        }
    }

    fn disconnect(&mut self, next: Next) {
        self.phase = Phase::Closing;
        self.outputs.push_back(Output::Disconnect(next));
    }

    fn reconnect(&mut self, delay: Option<Duration>, reason: impl Into<String>) {
        self.disconnect(Next::Reconnect { delay, reason: reason.into() });
    }

    fn on_joined(&mut self, id: Option<String>, now: Instant) {
        if !matches!(self.phase, Phase::Joining { .. }) {
            return;
        }
        // The server has the last word on how our id is spelt, if it spells a name.
        if let Some(id) = id.filter(|id| is_name(id)) {
            self.me = ParticipantId::new(id);
        }
        self.phase = Phase::Joined;
        self.taken_since = None;
        self.full_wait = FULL_FIRST;
        if std::mem::take(&mut self.renamed) && self.joined_once {
            self.outgoing.clear();
            let left = self.members.forget_all();
            self.tell(left);
        }
        self.members.joined(self.joined_once, now);
        self.joined_once = true;
        self.tell([Event::Joined { me: self.me.clone(), ice_servers: Vec::new() }]);
    }

    fn on_peer_message(&mut self, message: Message) {
        let Some(peer) = message.from.filter(|from| is_name(from)).map(ParticipantId::new) else { return };
        if self.phase != Phase::Joined || peer == self.me {
            return;
        }
        let joined = self.members.heard(&peer);
        self.tell(joined);
        if !self.members.contains(&peer) {
            return;
        }
        match message.kind {
            Kind::Offer | Kind::Answer => {
                let Some(description) = message.sdp.and_then(Payload::known) else {
                    return tracing::debug!(%peer, "a description without SDP is ignored");
                };
                self.members.described(&peer, &description);
                self.tell([Event::Description { peer, description }]);
            }
            Kind::Candidate => {
                let candidate = match message.candidate {
                    None => None,
                    Some(Payload::Known(candidate)) if candidate.candidate.is_empty() => None,
                    Some(Payload::Known(candidate)) => Some(self.members.complete(&peer, candidate)),
                    Some(Payload::Other(_)) => return tracing::debug!(%peer, "a malformed candidate is ignored"),
                };
                self.tell([Event::Candidate { peer, candidate }]);
            }
            Kind::Hangup => {
                self.members.end_call(&peer);
                self.tell([Event::SessionEnded { peer }]);
            }
            _ => {}
        }
    }

    fn leave(&mut self, now: Instant) {
        match self.phase {
            Phase::Leaving { .. } | Phase::Closing => {}
            Phase::Joined => {
                self.outgoing.clear();
                for peer in self.members.in_call() {
                    self.outgoing.push(Kind::Hangup, Some(&peer));
                }
                self.outgoing.push(Kind::Leave, None);
                self.phase = Phase::Leaving { until: now + LEAVE };
            }
            Phase::Offline | Phase::Joining { .. } => self.disconnect(Next::Ended),
        }
    }

    fn send_candidate(&mut self, peer: &ParticipantId, candidate: Option<IceCandidate>) {
        let candidate = candidate.filter(|candidate| !candidate.candidate.is_empty());
        if self.members.contains(peer) {
            self.outgoing.candidate(peer, candidate);
        }
    }
}

impl ClientCodec for MeshClient {
    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Joining { answer_by: now + JOIN };
        let join = Message {
            room: Some(self.room.clone()),
            from: Some(self.me.as_str().to_owned()),
            ..Message::new(Kind::Join)
        };
        self.outputs.push_back(Output::Frame(join.to_json()));
        self.outgoing.count(join, now);
    }

    fn receive(&mut self, text: &str, now: Instant) {
        if self.phase == Phase::Closing {
            return;
        }
        let message = match Message::parse(text) {
            Ok(message) => message,
            Err(error) => return tracing::debug!(%error, "a frame that is no message is ignored"),
        };
        match message.kind {
            Kind::Joined => self.on_joined(message.from, now),
            Kind::RoomMembers if self.phase == Phase::Joined => {
                let events = self.members.list(&self.me, message.members.unwrap_or_default(), now);
                self.tell(events);
            }
            Kind::Error => self.on_error(&message, now),
            Kind::Ping => self.outgoing.push(Kind::Pong, None),
            _ => self.on_peer_message(message),
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Leave => self.leave(now),
            _ if matches!(self.phase, Phase::Leaving { .. }) => {}
            Command::Description { peer, description } => {
                if self.members.describe(&peer, description.kind, now) {
                    self.outgoing.description(&peer, description, now);
                }
            }
            Command::Candidate { peer, candidate } => self.send_candidate(&peer, candidate),
            Command::Hangup { peer } => {
                if self.members.end_call(&peer) {
                    self.outgoing.forget(&peer);
                    self.outgoing.push(Kind::Hangup, Some(&peer));
                }
            }
            // The offer is the call.
            Command::Call { .. } => {}
        }
    }

    fn lost(&mut self, error: SignalingError, _now: Instant) {
        if matches!(self.phase, Phase::Leaving { .. }) {
            self.disconnect(Next::Ended);
        } else if self.phase != Phase::Closing {
            if self.joined_once {
                self.reconnect(None, error.to_string());
            } else {
                self.disconnect(Next::Failed(error));
            }
        }
        self.phase = Phase::Offline;
    }

    fn wake(&mut self, now: Instant) {
        match self.phase {
            Phase::Joining { answer_by } if answer_by <= now => {
                let reason = format!("no answer to the join within {} s", JOIN.as_secs());
                if self.joined_once {
                    self.reconnect(None, reason);
                } else {
                    self.disconnect(Next::Failed(SignalingError::NoAnswer { host: "the server".into(), reason }));
                }
            }
            Phase::Leaving { until } if until <= now => self.disconnect(Next::Ended),
            Phase::Joined => {
                let (events, unanswered) = self.members.wake(now);
                self.tell(events);
                for peer in unanswered {
                    self.outgoing.push(Kind::Hangup, Some(&peer));
                }
            }
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Joining { answer_by } => Some(answer_by),
            Phase::Leaving { until } => Some(self.outgoing.wake_at().map_or(until, |at| at.min(until))),
            Phase::Joined => self.outgoing.wake_at().into_iter().chain(self.members.wake_at()).min(),
            Phase::Offline | Phase::Closing => None,
        }
    }

    fn poll(&mut self, now: Instant) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        match self.phase {
            Phase::Joined | Phase::Leaving { .. } => {}
            _ => return None,
        }
        if let Some(message) = self.outgoing.poll(now) {
            return Some(Output::Frame(message.to_json()));
        }
        if matches!(self.phase, Phase::Leaving { .. }) && self.outgoing.is_empty() {
            self.disconnect(Next::Ended);
            return self.outputs.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests;
