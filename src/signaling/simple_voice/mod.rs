//! The client's side of Simple Voice: a call of two, set up with a handful of HTTP requests.
//!
//! A pure state machine that a transport drives: it wants requests made, one at a time, and reads what comes back. There is
//! no trickle: a description waits for its candidates, which are written into it ([`gathering`]). Whether we
//! offer or answer is known only when we have joined with an offer in our hands; if the room has one already, ours is dropped
//! together with its connection.

mod endings;
mod gathering;
pub(super) mod phase;
mod replies;
pub(super) mod room_url;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use url::Url;

use self::gathering::Gathering;
use self::phase::{OfferBy, Phase, Then};
use self::replies::unexpected;
use self::wire::{Act, Said};
use super::transport::http::{HttpCodec, Output, Response};
use super::{Command, Event, OfferRole, Random, SignalingError};
use crate::terms::{ParticipantId, SdpType, SessionDescription};

/// Our own name, for events only.
const ME: &str = "gateway";
/// The other side. A connection that replaces another has the other name, so that what was meant for one is not taken for
/// the other.
const PEERS: [&str; 2] = ["peer", "peer-2"];

/// Between two polls which the server answers at once.
const POLL_PACE: Duration = Duration::from_millis(500);
/// Between two attempts to enter a full room.
const FULL: Duration = Duration::from_secs(5);
/// How long our own description may take.
const DESCRIPTION: Duration = Duration::from_secs(10);

/// A client of a room.
pub(crate) struct SimpleVoiceClient {
    base: Url,
    room: String,
    offer_by: OfferBy,
    random: Random,
    phase: Phase,
    id: Option<String>,
    joined_once: bool,
    /// Which of [`PEERS`] the other side is.
    peer: usize,
    /// The user of the session knows of the other side.
    told: bool,
    gathering: Gathering,
    /// Failures and refusals in a row.
    attempt: u32,
    trouble: u32,
    invalid: u32,
    outputs: VecDeque<Output>,
}

impl SimpleVoiceClient {
    /// For a room under a base path.
    pub(crate) fn new(base: Url, room: &str, offer_by: OfferBy, random: Random) -> Self {
        Self {
            base,
            room: room.to_owned(),
            offer_by,
            random,
            phase: Phase::Over,
            id: None,
            joined_once: false,
            peer: 0,
            told: false,
            gathering: Gathering::default(),
            attempt: 0,
            trouble: 0,
            invalid: 0,
            outputs: VecDeque::new(),
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn peer(&self) -> ParticipantId {
        ParticipantId::new(PEERS[self.peer])
    }

    fn ask(&mut self, act: Act, data: Option<SessionDescription>) {
        let mut form = Vec::new();
        match act {
            Act::Join => form.push(("room", self.room.clone())),
            _ => form.push(("client_id", self.id.clone().unwrap_or_default())),
        }
        if act == Act::Leave {
            form.push(("room", self.room.clone()));
        }
        if let Some(data) = data {
            form.push(("data", serde_json::to_string(&data).unwrap_or_default()));
        }
        self.outputs.push_back(Output::Request(act.request(&self.base, &form)));
    }

    fn begin(&mut self, now: Instant) {
        self.id = None;
        if self.offer_by == OfferBy::Upload {
            self.join(None);
        } else {
            self.prepare_offer(false, now);
        }
    }

    fn join(&mut self, offer: Option<SessionDescription>) {
        self.phase = Phase::Joining { offered: offer.is_some(), leave_by: None };
        self.ask(Act::Join, offer);
    }

    fn prepare_offer(&mut self, upload: bool, now: Instant) {
        self.introduce(OfferRole::WeOfferAhead, now);
        self.phase = Phase::Offering { upload };
    }

    /// A new connection with the other side, in place of any other.
    fn introduce(&mut self, offer: OfferRole, now: Instant) {
        self.forget_peer();
        self.told = true;
        self.gathering = Gathering::new(now + DESCRIPTION);
        self.tell(Event::PeerJoined { peer: self.peer(), offer });
    }

    fn forget_peer(&mut self) {
        if std::mem::take(&mut self.told) {
            self.tell(Event::PeerLeft { peer: self.peer() });
            self.peer = 1 - self.peer;
        }
    }

    /// Our description is complete, or has waited long enough.
    fn send_description(&mut self, description: SessionDescription) {
        match self.phase {
            Phase::Offering { upload: false } => self.join(Some(description)),
            Phase::Offering { upload: true } => {
                self.phase = Phase::Uploading;
                self.ask(Act::Offer, Some(description));
            }
            Phase::Answering => {
                self.phase = Phase::Handing;
                self.ask(Act::Answer, Some(description));
            }
            _ => {}
        }
    }

    fn poll_answer(&mut self, now: Instant) {
        self.phase = Phase::Polling { asked: now, next: None };
        self.ask(Act::GetAnswer, None);
    }
}

impl HttpCodec for SimpleVoiceClient {
    /// A redirected form would lose its parameters.
    const REDIRECTS: usize = 0;

    fn start(&mut self, now: Instant) {
        self.begin(now);
    }

    fn replied(&mut self, reply: Result<Response, SignalingError>, now: Instant) {
        match (std::mem::replace(&mut self.phase, Phase::Over), reply) {
            (Phase::Leaving { then, .. }, _) => self.go_on(then, now),
            (Phase::Joining { leave_by: Some(_), .. }, reply) => self.sign_off(reply, now),
            (Phase::Joining { offered, .. }, Ok(response)) => self.on_join_reply(offered, &response, now),
            (Phase::Joining { .. }, Err(error)) if !self.joined_once => self.leave_and(Then::Fail(error), now),
            (Phase::Uploading, Ok(response)) => self.on_upload_reply(&response, now),
            (Phase::Polling { asked, .. }, Ok(response)) => self.on_poll_reply(asked, &response, now),
            (Phase::Polling { .. }, Err(error)) => self.poll_later(error.to_string(), now),
            (Phase::Handing, Ok(response)) => match response.said() {
                Said::Refused { kind, message } => self.on_invalid(&format!("{message} ({kind})"), now),
                _ if response.is_success() => {
                    self.invalid = 0;
                    self.phase = Phase::InCall { since: now };
                }
                _ => self.on_trouble(&unexpected(&response), now),
            },
            (Phase::Joining { .. } | Phase::Uploading | Phase::Handing, Err(error)) => {
                self.on_trouble(&error.to_string(), now);
            }
            (phase, _) => self.phase = phase,
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        let complete = match command {
            Command::Leave => return self.leave(now),
            Command::Hangup { peer } if peer == self.peer() && self.told => return self.hang_up(now),
            Command::Description { peer, description } if peer == self.peer() => {
                let wanted = match self.phase {
                    Phase::Offering { .. } => SdpType::Offer,
                    Phase::Answering => SdpType::Answer,
                    // There is one negotiation per call.
                    _ => return,
                };
                if description.kind != wanted {
                    return;
                }
                self.gathering.description(description, now)
            }
            Command::Candidate { peer, candidate } if peer == self.peer() => self.gathering.candidate(candidate),
            _ => return,
        };
        if let Some(description) = complete {
            self.send_description(description);
        }
    }

    fn wake(&mut self, now: Instant) {
        match self.phase {
            Phase::Pausing { until } if until <= now => self.begin(now),
            Phase::Polling { next: Some(next), .. } if next <= now => self.poll_answer(now),
            Phase::Offering { .. } | Phase::Answering if self.gathering.until() <= now => match self.gathering.take() {
                Some(description) => self.send_description(description),
                None => self.on_trouble("our connection has no description", now),
            },
            Phase::Joining { leave_by: Some(until), .. } if until <= now => self.go_on(Then::End, now),
            Phase::Leaving { until, .. } if until <= now => {
                if let Phase::Leaving { then, .. } = std::mem::replace(&mut self.phase, Phase::Over) {
                    self.go_on(then, now);
                }
            }
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Pausing { until } | Phase::Leaving { until, .. } => Some(until),
            Phase::Polling { next, .. } => next,
            Phase::Offering { .. } | Phase::Answering => Some(self.gathering.until()),
            Phase::Joining { leave_by, .. } => leave_by,
            Phase::Uploading | Phase::Handing | Phase::InCall { .. } | Phase::Over => None,
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
