//! RTCMultiConnection's client side: a pure state machine that a transport drives.
//!
//! It opens the engine ([`socketio`]), finds, joins or opens the room, asks those who are in it for offers, and offers
//! to those who come later. Getting into the room is in [`entry`], how the calls stand in [`peers`]; the messages
//! are in [`wire`].

mod entry;
mod peers;
pub(super) mod room_url;
mod socketio;
mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;
use url::Url;

use self::peers::Peers;
use self::socketio::Packet;
use self::wire::{CUSTOM_MESSAGE, Envelope, Heard, MESSAGE, Said, True};
use super::codec::{ClientCodec, Next, Output};
use super::{Command, Event, IdSource, RoomUrl, SignalingError};
use crate::terms::{ParticipantId, SdpType};

/// What the ids of gateways begin with: pages make theirs of digits and lower-case letters only, and so do we.
pub(crate) const GATEWAY: &str = "zzzgw";
/// How many of our requests are under way: one. So they all have the same number.
const NUMBER: u64 = 0;
/// How long the server may take to answer anything.
const REPLY: Duration = Duration::from_secs(10);
/// The first wait for a place in a full room; each further one is twice as long.
const FULL_FIRST: Duration = Duration::from_secs(5);

/// How to be in a room, beyond its name.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// A room that does not exist is opened rather than waited for.
    pub(crate) opens: bool,
    /// We bring media of our own.
    pub(crate) sends: bool,
}

/// An id as pages make them, 10 to 12 digits and lower-case letters.
pub(crate) fn user_id(prefix: Option<&str>, random: &str) -> String {
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit();
    prefix.unwrap_or(GATEWAY).chars().filter(allowed).take(5).chain(random.chars().take(7)).collect()
}

/// A client of an RTCMultiConnection room.
pub(crate) struct RmcClient {
    room: String,
    password: Option<String>,
    manner: Manner,
    me: ParticipantId,
    id_is_fixed: bool,
    new_id: IdSource,
    phase: Phase,
    joined_once: bool,
    /// Somebody who reads the log knows that we wait for the room.
    waiting_told: bool,
    full_wait: Duration,
    /// When those in the room are asked once more to offer.
    ask_again: Option<Instant>,
    peers: Peers,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Offline,
    /// The server owes us something.
    Waiting {
        what: Reply,
        by: Instant,
    },
    /// The room does not exist, or not yet: look again later.
    Looking {
        at: Instant,
    },
    Joined,
    /// The connection is to be closed: whatever still comes is too late.
    Closing,
}

/// What a server answers before we are in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Engine,
    Namespace,
    Presence,
    Joining,
    Opening,
}

impl RmcClient {
    pub(crate) fn new(url: &RoomUrl, manner: Manner, new_id: IdSource) -> Self {
        Self {
            room: url.room().to_owned(),
            password: url.key("password").map(str::to_owned),
            manner,
            id_is_fixed: url.id().is_some(),
            me: url.id().cloned().unwrap_or_else(|| ParticipantId::new(new_id())),
            new_id,
            phase: Phase::Offline,
            joined_once: false,
            waiting_told: false,
            full_wait: FULL_FIRST,
            ask_again: None,
            peers: Peers::default(),
            outputs: VecDeque::new(),
        }
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        self.outputs.extend(events.into_iter().map(Output::Event));
    }

    fn send(&mut self, frame: String) {
        self.outputs.push_back(Output::Frame(frame));
    }

    fn say(&mut self, to: &str, message: Said<'_>) {
        let frame = socketio::event(MESSAGE, &Envelope { remote_user_id: to, message, sender: self.me.as_str() });
        self.send(frame);
    }

    fn disconnect(&mut self, next: Next) {
        self.phase = Phase::Closing;
        self.outputs.push_back(Output::Disconnect(next));
    }

    fn reconnect(&mut self, delay: Option<Duration>, reason: impl Into<String>) {
        self.disconnect(Next::Reconnect { delay, reason: reason.into() });
    }

    fn fail(&mut self, error: SignalingError) {
        if self.joined_once {
            self.reconnect(None, error.to_string());
        } else {
            self.disconnect(Next::Failed(error));
        }
    }

    fn on_event(&mut self, name: &str, args: &[Value], now: Instant) {
        match (name, args) {
            ("userid-already-taken", _) => self.on_taken(),
            ("closed-entire-session", _) => self.reconnect(None, "the room was closed"),
            (MESSAGE, [envelope, ..]) => self.on_message(envelope, now),
            // Comes twice for each.
            ("user-disconnected", [Value::String(id), ..]) => {
                let left = self.peers.left(&ParticipantId::new(id.as_str()));
                self.tell(left);
            }
            _ => tracing::debug!(name, "an event that does not matter to us"),
        }
    }

    fn on_message(&mut self, envelope: &Value, now: Instant) {
        let Some((sender, to, heard)) = wire::read(envelope) else { return };
        if self.phase != Phase::Joined || to != self.me.as_str() || sender == to {
            return;
        }
        let peer = ParticipantId::new(sender);
        match heard {
            // Another gateway has nothing to show either.
            Heard::Request if sender.starts_with(GATEWAY) && self.me.as_str().starts_with(GATEWAY) => {}
            Heard::Request => {
                let events = self.peers.requested(&peer, now);
                self.tell(events);
            }
            Heard::EnableMedia { preferences } => {
                self.ask_again = None;
                self.say(sender, Said::Ready { ready_for_offer: True, user_preferences: preferences });
            }
            Heard::Description { description, renegotiates, roomcast } => {
                self.ask_again = None;
                let events = self.peers.described(&self.me, &peer, description, renegotiates, roomcast);
                self.tell(events);
            }
            Heard::Candidate(candidate) => {
                let event = self.peers.candidate(&peer, candidate);
                self.tell(event);
            }
            Heard::Left => {
                let left = self.peers.left(&peer);
                self.tell(left);
            }
            Heard::Dropped => {
                let events = self.peers.dropped(&peer);
                self.tell(events);
            }
            Heard::Other => {}
        }
    }

    fn leave(&mut self) {
        if self.phase == Phase::Joined {
            for peer in self.peers.in_call() {
                self.say(peer.as_str(), Said::Left { user_left: True });
            }
            self.send(socketio::DISCONNECT.to_owned());
        }
        if self.phase != Phase::Closing {
            self.disconnect(Next::Ended);
        }
    }
}

impl ClientCodec for RmcClient {
    /// The engine's query carries who we are.
    fn dialing(&mut self, url: &mut Url) {
        url.query_pairs_mut().extend_pairs([
            ("EIO", "4"),
            ("transport", "websocket"),
            ("userid", self.me.as_str()),
            ("sessionid", self.room.as_str()),
            ("msgEvent", MESSAGE),
            ("socketCustomEvent", CUSTOM_MESSAGE),
            ("autoCloseEntireSession", "false"),
            ("maxParticipantsAllowed", "1000"),
            ("extra", "{}"),
        ]);
    }

    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Waiting { what: Reply::Engine, by: now + REPLY };
        self.ask_again = None;
    }

    fn receive(&mut self, text: &str, now: Instant) {
        if self.phase == Phase::Closing {
            return;
        }
        match socketio::parse(text) {
            Packet::Open if matches!(self.phase, Phase::Waiting { what: Reply::Engine, .. }) => {
                self.send(socketio::CONNECT.to_owned());
                self.phase = Phase::Waiting { what: Reply::Namespace, by: now + REPLY };
            }
            Packet::Ping(payload) => self.send(socketio::pong(payload)),
            Packet::Connected if matches!(self.phase, Phase::Waiting { what: Reply::Namespace, .. }) => self.look(now),
            Packet::Refused(message) => {
                let (room, code) = (self.room.clone(), "connect".to_owned());
                self.fail(SignalingError::Refused { room, code, message, advice: "" });
            }
            Packet::Closed => self.reconnect(None, "the server has closed the session"),
            Packet::Event { name, args, ack } => {
                if let Some(number) = ack {
                    self.send(socketio::ack(number));
                }
                self.on_event(&name, &args, now);
            }
            Packet::Ack { number: NUMBER, args } => self.on_ack(&args, now),
            Packet::Open | Packet::Connected | Packet::Ack { .. } | Packet::Other => {}
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Leave => self.leave(),
            _ if self.phase == Phase::Closing => {}
            Command::Description { peer, description } => {
                let Some(outgoing) = self.peers.describe(&peer, description.kind, now) else { return };
                let (r#type, sdp) = (description.kind, description.sdp.as_str());
                let said = if r#type == SdpType::Offer {
                    let renegotiating_peer = outgoing.renegotiates;
                    Said::Offer { r#type, sdp, renegotiating_peer, roomcast: True }
                } else {
                    Said::Answer { r#type, sdp }
                };
                self.say(peer.as_str(), said);
                for candidate in outgoing.candidates {
                    self.say(peer.as_str(), Said::from(&candidate));
                }
            }
            // The end of candidates has no message here.
            Command::Candidate { candidate: None, .. } => {}
            Command::Candidate { peer, candidate: Some(candidate) } => {
                if let Some(candidate) = self.peers.offer_candidate(&peer, candidate) {
                    self.say(peer.as_str(), Said::from(&candidate));
                }
            }
            Command::Hangup { peer } => {
                if self.peers.hang_up(&peer) {
                    self.say(peer.as_str(), Said::Left { user_left: True });
                }
            }
            // The offer is the call.
            Command::Call { .. } => {}
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
            Phase::Waiting { what, by } if by <= now => {
                let reason = match what {
                    Reply::Engine | Reply::Namespace => "no Socket.IO session",
                    Reply::Presence | Reply::Joining | Reply::Opening => "no answer about the room",
                };
                let reason = format!("{reason} within {} s", REPLY.as_secs());
                self.fail(SignalingError::NoAnswer { host: "the server".into(), reason });
            }
            Phase::Looking { at } if at <= now => self.look(now),
            Phase::Joined => {
                if self.ask_again.is_some_and(|at| at <= now) {
                    self.ask(now);
                    self.ask_again = None;
                }
                let (events, unanswered) = self.peers.wake(now);
                for peer in unanswered {
                    self.say(peer.as_str(), Said::Left { user_left: True });
                }
                self.tell(events);
            }
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { by, .. } => Some(by),
            Phase::Looking { at } => Some(at),
            Phase::Joined => self.peers.wake_at().into_iter().chain(self.ask_again).min(),
            Phase::Offline | Phase::Closing => None,
        }
    }

    fn poll(&mut self, _now: Instant) -> Option<Output> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
