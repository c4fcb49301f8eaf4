//! The client's side of notify: two peers that share a path, and a queue for the one that is not there yet.
//!
//! A pure state machine that a transport drives. The protocol has neither ids nor presence: the other side is called
//! [`PEER`], it is there when it says something, and it has left when the server closes our connection. A connection that is
//! lost in another way says nothing about the other side, whose media may go on: it keeps its seat under its old name until
//! somebody talks on the next connection, or until its media connection ends ([`endings`]).

mod endings;
pub(super) mod room_url;
pub(super) mod talk;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::talk::{Role, Talk};
use self::wire::{Message, Signal};
use super::codec::{ClientCodec, Next, Output};
use super::sdp_candidates::complete;
use super::{Command, Event, OfferRole, Random, SignalingError, sdp_candidates};
use crate::terms::{IceServer, ParticipantId, SdpType, SessionDescription};

/// Our own name, for events only. It sorts before [`PEER`]: we keep our offer when two cross.
const ME: &str = "gateway";
/// The other side.
const PEER: &str = "peer";
/// The other side while the one of a lost connection still has its seat.
const NEXT_PEER: &str = "peer-2";

/// How long the server may take to give the configuration; we go on without.
const CONFIGURATION: Duration = Duration::from_secs(5);
/// How long a queued offer may take to arrive before we offer, with as much again by chance as [`OFFER_SPREAD`].
const OFFER_AFTER: Duration = Duration::from_secs(2);
const OFFER_SPREAD: Duration = Duration::from_secs(1);
/// How long we wait for an answer when both sides have offered.
const GLARE: Duration = Duration::from_secs(10);
/// How long we wait for an answer of a side that has said something else.
const ANSWER: Duration = Duration::from_secs(30);
/// How long after glare we start again: at least, and by chance in addition.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_SPREAD: Duration = Duration::from_secs(3);
/// The first wait for a place; it doubles.
const FULL_FIRST: Duration = Duration::from_secs(5);
/// Signals that may wait for the configuration.
const EARLY: usize = 256;

/// A client of a call.
pub(crate) struct NotifyClient {
    role: Role,
    random: Random,
    phase: Phase,
    joined_once: bool,
    full_wait: Duration,
    opened_at: Option<Instant>,
    heard: bool,
    talk: Talk,
    /// Whoever was in the call on a connection that was lost: the media may still flow.
    kept: Option<ParticipantId>,
    outputs: VecDeque<Output>,
}

#[derive(Debug, PartialEq)]
enum Phase {
    Offline,
    /// The configuration was asked for; what the other side says waits.
    Asking {
        until: Instant,
        early: Vec<Signal>,
    },
    Joined,
    /// The connection is to be closed: whatever still comes is too late.
    Closing,
}

impl NotifyClient {
    pub(crate) fn new(role: Role, random: Random) -> Self {
        Self {
            role,
            random,
            phase: Phase::Offline,
            joined_once: false,
            full_wait: FULL_FIRST,
            opened_at: None,
            heard: false,
            talk: Talk::with(PEER),
            kept: None,
            outputs: VecDeque::new(),
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn say(&mut self, message: &Message) {
        self.outputs.push_back(Output::Frame(message.to_json()));
    }

    fn notify(&mut self, signal: &Signal) {
        self.say(&Message::Notify(signal.write()));
    }

    fn by_chance(&self, at_most: Duration) -> Duration {
        at_most.mul_f64((self.random)().clamp(0.0, 1.0))
    }

    fn disconnect(&mut self, next: Next) {
        self.phase = Phase::Closing;
        self.outputs.push_back(Output::Disconnect(next));
    }

    fn reconnect(&mut self, delay: Option<Duration>, reason: impl Into<String>) {
        self.disconnect(Next::Reconnect { delay, reason: reason.into() });
    }

    /// Ends the call of this connection; the next one is with somebody new.
    fn forget_peer(&mut self) {
        if std::mem::take(&mut self.talk.told) {
            let peer = self.talk.peer.clone();
            self.tell(Event::PeerLeft { peer });
        }
    }

    /// Somebody talks to us: whoever was there before is gone.
    fn forget_kept(&mut self) {
        if let Some(peer) = self.kept.take() {
            self.tell(Event::PeerLeft { peer });
        }
    }

    fn join(&mut self, ice_servers: Vec<IceServer>, now: Instant) {
        let Phase::Asking { early, .. } = std::mem::replace(&mut self.phase, Phase::Joined) else { return };
        self.joined_once = true;
        self.full_wait = FULL_FIRST;
        self.tell(Event::Joined { me: ParticipantId::new(ME), ice_servers });
        for signal in early {
            self.hear(signal, now);
        }
        if !self.talk.told {
            self.talk.offer_at = match self.role {
                Role::Caller => Some(now),
                Role::Callee => None,
                Role::Auto => Some(self.opened_at.unwrap_or(now) + OFFER_AFTER + self.by_chance(OFFER_SPREAD)),
            };
            self.offer_if_due(now);
        }
    }

    fn offer_if_due(&mut self, now: Instant) {
        if self.talk.offer_at.is_none_or(|at| at > now) {
            return;
        }
        self.talk.offer_at = None;
        self.talk.offering = true;
        self.introduce(OfferRole::WeOfferAhead);
    }

    fn introduce(&mut self, offer: OfferRole) {
        if !std::mem::replace(&mut self.talk.told, true) {
            self.tell(Event::PeerJoined { peer: self.talk.peer.clone(), offer });
        }
    }

    fn hear(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::Description(description) => self.hear_description(description, now),
            Signal::Candidate(_) if self.talk.glare => tracing::debug!("a candidate of an offer that we ignore"),
            Signal::Candidate(candidate) => {
                if self.talk.offering {
                    self.talk.answer_by.get_or_insert(now + ANSWER);
                }
                let candidate = candidate.map(|candidate| complete(&self.talk.mids, candidate));
                self.tell(Event::Candidate { peer: self.talk.peer.clone(), candidate });
            }
            Signal::Unknown => tracing::debug!("a signal of unknown kind is ignored"),
        }
    }

    fn hear_description(&mut self, description: SessionDescription, now: Instant) {
        match description.kind {
            SdpType::Offer if self.talk.offering => {
                tracing::debug!("both sides have offered: we keep ours");
                self.talk.glare = true;
                let by = now + GLARE;
                self.talk.answer_by = Some(self.talk.answer_by.map_or(by, |before| before.min(by)));
                return;
            }
            SdpType::Offer => {
                self.talk.offer_at = None;
                self.forget_kept();
                self.introduce(OfferRole::WeWait);
            }
            SdpType::Answer | SdpType::Pranswer if !self.talk.offering => {
                return tracing::debug!("an answer to no offer is ignored");
            }
            SdpType::Answer => {
                (self.talk.offering, self.talk.glare, self.talk.answer_by) = (false, false, None);
                self.forget_kept();
            }
            SdpType::Pranswer | SdpType::Rollback => {}
        }
        if description.kind != SdpType::Rollback {
            self.talk.met = true;
            self.talk.mids = sdp_candidates::mids(&description.sdp);
        }
        self.tell(Event::Description { peer: self.talk.peer.clone(), description });
    }
}

impl ClientCodec for NotifyClient {
    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Asking { until: now + CONFIGURATION, early: Vec::new() };
        self.opened_at = Some(now);
        self.heard = false;
        let name = if self.kept.as_ref().is_some_and(|kept| kept.as_str() == PEER) { NEXT_PEER } else { PEER };
        self.talk = Talk::with(name);
        self.say(&Message::Get { msg_id: Some(1.into()) });
    }

    fn receive(&mut self, text: &str, now: Instant) {
        if matches!(self.phase, Phase::Offline | Phase::Closing) {
            return;
        }
        self.heard = true;
        match Message::parse(text) {
            Some(Message::Configuration { ice_servers, .. }) => self.join(ice_servers, now),
            Some(Message::Notify(data)) => match (&mut self.phase, Signal::read(data)) {
                (Phase::Asking { early, .. }, signal) if early.len() < EARLY => early.push(signal),
                (Phase::Asking { .. }, _) => tracing::debug!("too much waits for the configuration"),
                (_, signal) => self.hear(signal, now),
            },
            Some(Message::Get { .. }) | None => tracing::debug!("a frame of unknown kind is ignored"),
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Leave if self.phase != Phase::Closing => self.disconnect(Next::Ended),
            Command::Hangup { peer } => self.hang_up(&peer),
            // A new path is wanted for media that does not flow any more, and there is no way to ask for it.
            Command::Description { peer, .. } if self.kept.as_ref() == Some(&peer) => self.forget_kept(),
            Command::Description { peer, description } if peer == self.talk.peer && self.phase == Phase::Joined => {
                if description.kind == SdpType::Offer {
                    self.talk.offering = true;
                    // Whoever is in a call with us is there to answer. If not, nobody tells us (bug B): he is dead.
                    self.talk.answer_by = self.talk.answer_by.or(self.talk.met.then(|| now + GLARE));
                }
                self.talk.own_mids = sdp_candidates::mids(&description.sdp);
                self.notify(&Signal::Description(description));
            }
            Command::Candidate { peer, candidate } if peer == self.talk.peer && self.phase == Phase::Joined => {
                let candidate = candidate.filter(|candidate| !candidate.candidate.is_empty());
                let candidate = candidate.map(|candidate| complete(&self.talk.own_mids, candidate));
                self.notify(&Signal::Candidate(candidate));
            }
            // The offer is the call. Candidates for somebody of a lost connection cannot reach him.
            _ => {}
        }
    }

    fn lost(&mut self, error: SignalingError, now: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Offline) {
            Phase::Closing => {}
            Phase::Offline => self.not_opened(error),
            Phase::Asking { .. } if !self.joined_once && !matches!(error, SignalingError::Closed { .. }) => {
                self.disconnect(Next::Failed(error));
            }
            Phase::Asking { .. } | Phase::Joined => self.closed(&error, self.opened_at.unwrap_or(now), now),
        }
        self.phase = Phase::Offline;
    }

    fn wake(&mut self, now: Instant) {
        match self.phase {
            Phase::Asking { until, .. } if until <= now => {
                tracing::debug!("no configuration in time: our own ICE servers are used");
                self.join(Vec::new(), now);
            }
            Phase::Joined if self.talk.answer_by.is_some_and(|by| by <= now) => {
                self.forget_peer();
                let delay = AGAIN + self.by_chance(AGAIN_SPREAD);
                self.reconnect(Some(delay), "our offer was not answered");
            }
            Phase::Joined => self.offer_if_due(now),
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Asking { until, .. } => Some(until),
            Phase::Joined => self.talk.offer_at.into_iter().chain(self.talk.answer_by).min(),
            Phase::Offline | Phase::Closing => None,
        }
    }

    fn poll(&mut self, _now: Instant) -> Option<Output> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
