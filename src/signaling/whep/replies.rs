//! What the replies to a WHEP client mean.

use std::time::{Duration, Instant};

use reqwest::Method;

use super::super::sdpfrag::SdpFragment;
use super::super::transport::http::Response;
use super::super::{Event, SignalingError};
use super::{Live, Phase, Purpose, Verdict, WhepClient};
use crate::terms::{SdpType, SessionDescription};

/// The first pause before a stream that is not live is asked for again; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

impl WhepClient {
    pub(super) fn answered(&mut self, offer: String, response: Response, now: Instant) {
        if !self.offers(&offer) {
            return self.answered_too_late(&response);
        }
        if response.status == 201 && response.has_description() {
            let answer = response.body.clone();
            self.live = Some(Live { session: response.session(), tag: response.tag(), offer, answer: answer.clone() });
            (self.phase, self.was_live, self.attempt) = (Phase::Live, true, 0);
            let description = SessionDescription { kind: SdpType::Answer, sdp: answer };
            self.tell(Event::Description { peer: self.them(), description });
            return self.trickle();
        }
        match (self.manner.judge)(&self.shown, &response, self.was_live) {
            Verdict::Pause => self.pause(response.words(), response.retry_after(), now),
            Verdict::Fail(error) => self.fail(error),
        }
    }

    /// The offer was withdrawn while it was on its way: what it has opened is closed.
    fn answered_too_late(&mut self, response: &Response) {
        if let Some(session) = response.session().filter(|_| response.status == 201) {
            let request = self.request(Method::DELETE, &session);
            self.ask(Purpose::End, request);
        }
    }

    pub(super) fn restarted(&mut self, offer: String, response: &Response) {
        let Some(live) = &mut self.live else { return };
        let renewed = SdpFragment::parse(&response.body).ok().and_then(|fragment| fragment.renew(&live.answer));
        let (200, Some(answer)) = (response.status, renewed) else {
            return tracing::debug!(status = response.status, "the server did not restart ICE");
        };
        (live.offer, live.answer) = (offer, answer.clone());
        live.tag = response.tag().or(live.tag.take());
        let description = SessionDescription { kind: SdpType::Answer, sdp: answer };
        self.tell(Event::Description { peer: self.them(), description });
        self.trickle();
    }

    pub(super) fn unanswered(&mut self, purpose: &Purpose, error: SignalingError, now: Instant) {
        match purpose {
            Purpose::Knock if self.phase == Phase::Leaving => {}
            Purpose::Knock => self.fail(error),
            Purpose::Offer { offer } if !self.offers(offer) => {}
            Purpose::Offer { .. } if self.was_live && self.manner.patient => self.pause(error.to_string(), None, now),
            Purpose::Offer { .. } => self.fail(error),
            Purpose::Trickle | Purpose::Restart { .. } | Purpose::End => tracing::debug!(%error, "a request is lost"),
        }
    }

    /// Whether this offer is the one that waits for its answer.
    fn offers(&self, offer: &str) -> bool {
        matches!(&self.phase, Phase::Offering { offer: waiting } if waiting == offer)
    }

    /// The stream cannot be had now: the offer is withdrawn, and asked for again later.
    fn pause(&mut self, reason: String, at_least: Option<Duration>, now: Instant) {
        let doubled = FIRST_PAUSE * 2_u32.saturating_pow(self.attempt.min(8));
        let pause = doubled.min(LAST_PAUSE).max(at_least.unwrap_or_default());
        self.attempt += 1;
        self.late.clear();
        self.tell(Event::PeerLeft { peer: self.them() });
        self.tell(Event::Reconnecting { attempt: self.attempt, retry_in: pause, reason });
        self.phase = Phase::Pausing { until: now + pause };
    }
}
