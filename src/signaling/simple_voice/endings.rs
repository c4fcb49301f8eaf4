//! How a Simple Voice client leaves a room: for good, or to try again after a while.

use std::time::{Duration, Instant};

use super::super::transport::http::{Output, Response};
use super::super::{Event, SignalingError};
use super::phase::{Phase, Then};
use super::wire::{Act, Said};
use super::{ME, SimpleVoiceClient};
use crate::terms::ParticipantId;

/// The last of the growing waits 1, 2, 4 .. s.
const LONGEST: Duration = Duration::from_secs(8);
/// `InvalidState` so often in a row ends the session.
const INVALID: u32 = 3;
/// A call that lasted longer was a call: the next one is tried without delay.
const A_CALL: Duration = Duration::from_secs(30);
/// How long the farewell may take.
const LEAVE: Duration = Duration::from_secs(2);

impl SimpleVoiceClient {
    pub(super) fn hang_up(&mut self, now: Instant) {
        match self.phase {
            Phase::InCall { since } if now.duration_since(since) >= A_CALL => {
                self.trouble = 0;
                self.on_trouble("the call has ended", now);
                self.trouble = 0;
            }
            Phase::InCall { .. } => self.on_trouble("the call has ended", now),
            // The user of the session could not make a connection.
            Phase::Offering { .. } | Phase::Answering | Phase::Polling { .. } | Phase::Uploading | Phase::Handing => {
                self.on_trouble("our connection failed", now);
            }
            // The reply says whether there is anything to leave.
            Phase::Joining { .. } => self.forget_peer(),
            _ => {}
        }
    }

    pub(super) fn on_invalid(&mut self, message: &str, now: Instant) {
        let delay = self.growing(self.invalid);
        self.invalid += 1;
        let then = if self.invalid < INVALID {
            Then::Again(delay, format!("room \"{}\" refuses us: {message}", self.room))
        } else {
            Then::Fail(SignalingError::Refused {
                room: self.room.clone(),
                code: "InvalidState".to_owned(),
                message: message.to_owned(),
                advice: "; it said so three times in a row",
            })
        };
        self.leave_and(then, now);
    }

    /// Something that may go away by itself.
    pub(super) fn on_trouble(&mut self, reason: &str, now: Instant) {
        let delay = self.growing(self.trouble);
        self.trouble += 1;
        self.leave_and(Then::Again(delay, reason.to_owned()), now);
    }

    /// The same id is good until the server says otherwise.
    pub(super) fn poll_later(&mut self, reason: String, now: Instant) {
        let delay = self.growing(self.trouble);
        self.trouble += 1;
        self.announce(delay, reason);
        self.phase = Phase::Polling { asked: now, next: Some(now + delay) };
    }

    pub(super) fn leave(&mut self, now: Instant) {
        match &mut self.phase {
            // Only the reply says whom to sign off.
            Phase::Joining { leave_by, .. } => *leave_by = leave_by.or(Some(now + LEAVE)),
            Phase::Leaving { then, .. } => *then = Then::End,
            Phase::Over => {}
            _ => self.leave_and(Then::End, now),
        }
    }

    /// Leaves the room if we are in it, and then does what is said.
    pub(super) fn leave_and(&mut self, then: Then, now: Instant) {
        self.forget_peer();
        if self.id.is_some() {
            self.phase = Phase::Leaving { until: now + LEAVE, then };
            self.ask(Act::Leave, None);
        } else {
            self.go_on(then, now);
        }
    }

    pub(super) fn go_on(&mut self, then: Then, now: Instant) {
        self.id = None;
        match then {
            Then::Again(delay, reason) => {
                self.announce(delay, reason);
                self.phase = Phase::Pausing { until: now + delay };
            }
            Then::End => {
                self.phase = Phase::Over;
                self.outputs.push_back(Output::Ended);
            }
            Then::Fail(error) => {
                self.phase = Phase::Over;
                self.outputs.push_back(Output::Failed(error));
            }
        }
    }

    /// The reply to a join that came while we leave: it says whom to sign off.
    pub(super) fn sign_off(&mut self, reply: Result<Response, SignalingError>, now: Instant) {
        if let Ok(Said::Joined { id, .. }) = reply.map(|response| response.said()) {
            self.id = Some(id);
        }
        self.leave_and(Then::End, now);
    }

    fn announce(&mut self, retry_in: Duration, reason: String) {
        self.attempt += 1;
        self.tell(Event::Reconnecting { attempt: self.attempt, retry_in, reason });
    }

    /// The server is there and knows us.
    pub(super) fn recover(&mut self) {
        self.invalid = 0;
        self.trouble = 0;
        if std::mem::take(&mut self.attempt) > 0 {
            self.tell(Event::Joined { me: ParticipantId::new(ME), ice_servers: Vec::new() });
        }
    }

    /// 1, 2, 4, 8, 8 .. s, a fifth more or less.
    fn growing(&self, times: u32) -> Duration {
        let wait = Duration::from_secs(1 << times.min(3)).min(LONGEST);
        wait.mul_f64(0.8 + 0.4 * (self.random)().clamp(0.0, 1.0))
    }
}
