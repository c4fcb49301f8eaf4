//! What a registered GStreamer client says to the others and hears from them, in rooms and in sessions.

use std::time::{Duration, Instant};

use super::super::{Event, OfferRole};
use super::payload::Payload;
use super::peers::Sending;
use super::wire::{FromServer, ToServer, is_word};
use super::{GStreamerClient, Phase};
use crate::terms::{IceCandidate, ParticipantId, SdpType, SessionDescription};

/// The pause after a call that we ended because it was of no use.
pub(super) const USELESS: Duration = Duration::from_secs(5);
/// Leaving and joining interrupts everybody in the room, so it is not done more often.
const REJOIN: Duration = Duration::from_secs(60);

impl GStreamerClient {
    pub(super) fn in_room(&mut self, message: FromServer<'_>) {
        match message {
            FromServer::PeerJoined(id) if is_word(id) && id != self.me.as_str() => {
                let peer = ParticipantId::new(id);
                if self.peers.arrive(&peer) {
                    self.tell_arrival(peer, OfferRole::WeWait);
                }
            }
            FromServer::PeerLeft(id) => {
                let left = self.peers.remove(&ParticipantId::new(id));
                self.tell(left);
            }
            FromServer::PeerMessage { from, text } if is_word(from) && from != self.me.as_str() => {
                let peer = ParticipantId::new(from);
                if !self.peers.contains(&peer) && self.peers.arrive(&peer) {
                    self.tell_arrival(peer.clone(), OfferRole::WeWait);
                }
                if self.peers.contains(&peer) {
                    self.on_payload(peer, text);
                }
            }
            // Who it was about has left, which is told on its own.
            FromServer::Error(fault) => tracing::debug!(%fault, "the room reports an error"),
            _ => {}
        }
    }

    pub(super) fn in_call(&mut self, text: &str) {
        if let Phase::InCall { heard, .. } = &mut self.phase {
            *heard = true;
        }
        if text.starts_with("ERROR") {
            let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
            return tracing::warn!(text, "the other side, or the server, reports an error");
        }
        self.on_payload(self.partner(), text);
    }

    fn on_payload(&mut self, peer: ParticipantId, text: &str) {
        match Payload::parse(text) {
            Some(Payload::Description(description)) => self.on_description(peer, description),
            Some(Payload::Candidate(candidate)) => {
                let candidate = candidate.map(|candidate| self.peers.complete(&peer, candidate));
                self.tell([Event::Candidate { peer, candidate }]);
            }
            // Whoever asks for an offer while a call stands has it already.
            Some(Payload::OfferRequest) if !self.peers.in_call(&peer) => {
                self.expect_no_offer();
                self.tell([Event::PeerJoined { peer, offer: OfferRole::WeOffer }]);
            }
            Some(Payload::OfferRequest) => {}
            None => tracing::debug!(%peer, "a message that is neither a description nor a candidate is ignored"),
        }
    }

    fn on_description(&mut self, peer: ParticipantId, description: SessionDescription) {
        if description.kind == SdpType::Offer {
            self.expect_no_offer();
        }
        if self.peers.described(&peer, &description) {
            self.tell([Event::SessionEnded { peer: peer.clone() }]);
        }
        self.tell([Event::Description { peer, description }]);
    }

    fn expect_no_offer(&mut self) {
        if let Phase::InCall { offer_at, .. } = &mut self.phase {
            *offer_at = None;
        }
    }

    fn send(&mut self, peer: &ParticipantId, payload: &Payload) {
        if self.phase == Phase::InRoom {
            self.say(ToServer::PeerMessage { to: peer.as_str(), text: &payload.to_string() });
        } else {
            self.say(payload);
        }
    }

    pub(super) fn send_description(&mut self, peer: &ParticipantId, description: SessionDescription, now: Instant) {
        let in_room = self.phase == Phase::InRoom;
        let sending = match self.phase {
            Phase::InRoom | Phase::InCall { .. } => self.peers.describe(peer, &description, in_room, now),
            _ => Sending::Nobody,
        };
        match sending {
            Sending::Send(candidates) => {
                self.send(peer, &Payload::Description(description));
                for candidate in candidates {
                    let candidate = self.peers.indexed(peer, candidate);
                    self.send(peer, &Payload::Candidate(Some(candidate)));
                }
            }
            Sending::Again => self.leave_and_join_again(peer, now),
            // There is no waiting for what cannot be sent. A call that stands goes on: its media needs no server.
            Sending::Nobody if self.peers.in_call(peer) => {}
            Sending::Nobody => self.tell([Event::SessionEnded { peer: peer.clone() }]),
        }
    }

    pub(super) fn send_candidate(&mut self, peer: &ParticipantId, candidate: IceCandidate) {
        if matches!(self.phase, Phase::InRoom | Phase::InCall { .. })
            && let Some(candidate) = self.peers.hold_or_send(peer, candidate)
        {
            self.send(peer, &Payload::Candidate(Some(candidate)));
        }
    }

    /// A second offer would make GStreamer's own client build a second element: it only understands newcomers.
    fn leave_and_join_again(&mut self, peer: &ParticipantId, now: Instant) {
        match self.rejoined.map(|last| last + REJOIN).filter(|next| now < *next) {
            Some(next) => {
                self.rejoin_at = Some(next);
                self.peers.end_call(peer);
                self.tell([Event::SessionEnded { peer: peer.clone() }]);
            }
            None => self.join_again(format!("the connection with {peer} has to be made anew"), now),
        }
    }

    fn join_again(&mut self, reason: String, now: Instant) {
        self.rejoined = Some(now);
        self.rejoin_at = None;
        let left = self.peers.forget_all();
        self.tell(left);
        self.reconnect(Some(Duration::ZERO), reason);
    }

    /// Ends a session: there is no way but to close.
    pub(super) fn hang_up(&mut self, delay: Option<Duration>, reason: &str) {
        let left = self.peers.forget_all();
        self.tell(left);
        self.reconnect(delay, reason);
    }

    pub(super) fn wake_in_room(&mut self, now: Instant) {
        let events = self.peers.wake(now);
        self.tell(events);
        if self.rejoin_at.is_some_and(|at| at <= now) {
            self.join_again("a connection has to be made anew".into(), now);
        }
    }

    pub(super) fn wake_in_call(&mut self, now: Instant) {
        if let Phase::InCall { offer_at: Some(at), heard } = self.phase
            && at <= now
        {
            self.phase = Phase::InCall { offer_at: None, heard };
            let peer = self.partner();
            self.tell([Event::PeerJoined { peer, offer: OfferRole::WeOffer }]);
        }
        if !self.peers.wake(now).is_empty() {
            self.hang_up(Some(USELESS), "our offer was not answered");
        }
    }
}
