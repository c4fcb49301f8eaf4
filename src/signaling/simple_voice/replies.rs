//! What the replies to a Simple Voice client mean.

use std::time::Instant;

use super::super::transport::http::Response;
use super::super::{Event, OfferRole, SignalingError};
use super::phase::{OfferBy, Phase, Then};
use super::wire::{self, Said};
use super::{FULL, ME, POLL_PACE, SimpleVoiceClient};
use crate::terms::{IceServer, ParticipantId, SdpType, SessionDescription};

impl SimpleVoiceClient {
    pub(super) fn on_joined(
        &mut self,
        offered: bool,
        ice_servers: Vec<IceServer>,
        data: Option<SessionDescription>,
        now: Instant,
    ) {
        self.joined_once = true;
        self.attempt = 0;
        self.tell(Event::Joined { me: ParticipantId::new(ME), ice_servers });
        match data {
            None if offered && !self.told => self.on_trouble("our connection failed", now),
            None if offered => self.poll_answer(now),
            // Gathered anew, with the servers that we know only now.
            None => self.prepare_offer(true, now),
            Some(data) => match wire::as_offer(data) {
                Some(description) => {
                    self.introduce(OfferRole::WeWait, now);
                    self.phase = Phase::Answering;
                    self.tell(Event::Description { peer: self.peer(), description });
                }
                None => self.on_invalid("the room holds something that is no offer", now),
            },
        }
    }

    pub(super) fn on_join_reply(&mut self, offered: bool, response: &Response, now: Instant) {
        match response.said() {
            Said::Refused { kind, message } if kind == "RoomFull" => {
                self.leave_and(Then::Again(FULL, format!("room \"{}\" is full: {message}", self.room)), now);
            }
            Said::Refused { kind, message } => self.on_invalid(&format!("{message} ({kind})"), now),
            Said::Joined { id, ice_servers, data } if response.is_success() => {
                self.id = Some(id);
                self.on_joined(offered, ice_servers, data, now);
            }
            _ if offered && self.offer_by == OfferBy::Auto && matches!(response.status, 400 | 404) => self.join(None),
            _ if self.joined_once || response.status == 429 => self.on_trouble(&unexpected(response), now),
            _ => self.leave_and(Then::Fail(not_spoken(response)), now),
        }
    }

    pub(super) fn on_upload_reply(&mut self, response: &Response, now: Instant) {
        match response.said() {
            Said::Refused { kind, message } => self.on_invalid(&format!("{message} ({kind})"), now),
            _ if response.is_success() => self.poll_answer(now),
            _ if response.status == 404 => self.leave_and(
                Then::Fail(SignalingError::Refused {
                    room: self.room.clone(),
                    code: "HTTP 404".to_owned(),
                    message: "the server does not say where the offer goes".to_owned(),
                    advice: "; neither /join nor /offer takes it",
                }),
                now,
            ),
            _ => self.on_trouble(&unexpected(response), now),
        }
    }

    pub(super) fn on_poll_reply(&mut self, asked: Instant, response: &Response, now: Instant) {
        match response.said() {
            Said::Refused { kind, message } => return self.on_invalid(&format!("{message} ({kind})"), now),
            Said::Data(description) if response.is_success() && description.kind == SdpType::Answer => {
                self.recover();
                self.phase = Phase::InCall { since: now };
                return self.tell(Event::Description { peer: self.peer(), description });
            }
            Said::Again if response.is_success() => self.recover(),
            _ if response.status >= 500 || response.status == 429 => {
                return self.poll_later(unexpected(response), now);
            }
            _ if !response.is_success() => return self.on_invalid(&unexpected(response), now),
            _ => tracing::debug!("a reply that is no answer is ignored"),
        }
        let next = asked + POLL_PACE;
        if next <= now {
            self.poll_answer(now);
        } else {
            self.phase = Phase::Polling { asked, next: Some(next) };
        }
    }
}

pub(super) fn unexpected(response: &Response) -> String {
    format!("the server answers HTTP {} with something unexpected", response.status)
}

fn not_spoken(response: &Response) -> SignalingError {
    SignalingError::NoAnswer { host: "the server".to_owned(), reason: unexpected(response) }
}
