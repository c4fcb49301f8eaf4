//! A WHEP stream (draft-ietf-wish-whep) as a room with one participant in it: a pure state machine that a transport
//! drives. [`super::whip`] is the same with media the other way.
//!
//! Our offer is a POST, its answer the participant's; candidates and ICE restarts are PATCHes, a hang-up is a DELETE. A
//! stream that is not live is asked for again; what a person must mend ends the session. Servers that answer with an offer
//! of their own are not supported.

mod manner;
mod replies;
pub(super) mod room_url;
pub(super) mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Method, Url};

use super::sdpfrag::SdpFragment;
use super::transport::http::{HttpCodec, Output, Request, Response, host};
use super::{Command, Event, OfferRole, SignalingError, sdp_candidates};
pub(super) use manner::{Manner, Verdict};

use crate::terms::{IceCandidate, IceServer, ParticipantId, SdpType};

/// How long an offer waits for its candidates; servers without PATCH never learn of later ones.
const GATHERING: Duration = Duration::from_secs(1);
/// Later candidates that are kept while they cannot be sent.
const MAX_LATE: usize = 256;
/// How long the farewell may take.
const LEAVE: Duration = Duration::from_secs(2);

/// A WHEP client, or a WHIP client.
pub(crate) struct WhepClient {
    endpoint: Url,
    shown: String,
    manner: Manner,
    token: Option<String>,
    phase: Phase,
    /// What the request that is on its way is for.
    in_flight: Option<Purpose>,
    /// Requests that wait for it.
    requests: VecDeque<(Purpose, Request)>,
    /// The session of the last offer that was answered.
    live: Option<Live>,
    /// Candidates that no request has taken along.
    late: Vec<IceCandidate>,
    /// We were in the stream once, so it exists and we may.
    was_live: bool,
    attempt: u32,
    leave_by: Option<Instant>,
    outputs: VecDeque<Output>,
}

/// How far we are with the stream.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// The server is being reached.
    Knocking,
    /// The stream was announced; an offer may come.
    Ready,
    /// The offer waits for candidates.
    Gathering {
        offer: String,
        until: Instant,
    },
    /// The offer is on its way.
    Offering {
        offer: String,
    },
    /// The offer was answered.
    Live,
    /// The stream is not live.
    Pausing {
        until: Instant,
    },
    Leaving,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Knock,
    Offer { offer: String },
    Trickle,
    Restart { offer: String },
    End,
}

struct Live {
    session: Option<Url>,
    tag: Option<HeaderValue>,
    offer: String,
    answer: String,
}

impl WhepClient {
    /// A WHEP client for an endpoint; `shown` is how people see it.
    pub(crate) fn new(endpoint: Url, shown: String, token: Option<String>) -> Self {
        Self::with_manner(manner::WHEP, endpoint, shown, token)
    }

    pub(super) fn with_manner(manner: Manner, endpoint: Url, shown: String, token: Option<String>) -> Self {
        Self {
            endpoint,
            shown,
            manner,
            token,
            phase: Phase::Knocking,
            in_flight: None,
            requests: VecDeque::new(),
            live: None,
            late: Vec::new(),
            was_live: false,
            attempt: 0,
            leave_by: None,
            outputs: VecDeque::new(),
        }
    }

    fn them(&self) -> ParticipantId {
        ParticipantId::new(self.manner.them)
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn ask(&mut self, purpose: Purpose, request: Request) {
        self.requests.push_back((purpose, request));
    }

    fn request(&self, method: Method, url: &Url) -> Request {
        // The token is for the server that it was given for.
        let ours = url.origin() == self.endpoint.origin();
        Request::new(method, url, self.token.as_deref().filter(|_| ours))
    }

    fn fail(&mut self, error: SignalingError) {
        self.phase = Phase::Leaving;
        self.requests.clear();
        self.outputs.push_back(Output::Failed(error));
    }

    fn announce(&mut self, ice_servers: Vec<IceServer>) {
        self.phase = Phase::Ready;
        self.tell(Event::Joined { me: ParticipantId::new(self.manner.me), ice_servers });
        self.tell(Event::PeerJoined { peer: self.them(), offer: OfferRole::WeOffer });
    }

    fn post(&mut self) {
        let Phase::Gathering { offer, .. } = std::mem::replace(&mut self.phase, Phase::Ready) else { return };
        let request = self.request(Method::POST, &self.endpoint).offer(offer.clone());
        self.phase = Phase::Offering { offer: offer.clone() };
        self.ask(Purpose::Offer { offer }, request);
    }

    fn offer(&mut self, sdp: String, now: Instant) {
        let generation = sdp_candidates::ice_ufrag(&sdp).map(str::to_owned);
        match (&self.phase, &self.live) {
            (Phase::Live, Some(live)) if generation.as_deref() != sdp_candidates::ice_ufrag(&live.offer) => {
                self.late.clear();
                let (Some(session), Some(_)) = (live.session.clone(), &live.tag) else {
                    return tracing::debug!("the server cannot restart ICE; a lost connection is made anew");
                };
                let fragment = SdpFragment { complete: false, ..SdpFragment::of_description(&sdp) }.write();
                let request = self.request(Method::PATCH, &session);
                let any = HeaderValue::from_static("*");
                self.ask(Purpose::Restart { offer: sdp }, request.fragment(fragment, &any));
            }
            (Phase::Live, _) => tracing::debug!("neither WHEP nor WHIP knows a renegotiation; the offer is not sent"),
            (Phase::Ready | Phase::Gathering { .. }, _) => {
                self.late.clear();
                self.phase = Phase::Gathering { offer: sdp, until: now + GATHERING };
            }
            _ => tracing::debug!("an offer at the wrong time is not sent"),
        }
    }

    fn candidate(&mut self, candidate: Option<IceCandidate>) {
        let candidate = candidate.filter(|candidate| !candidate.candidate.is_empty());
        match (&mut self.phase, candidate) {
            (Phase::Gathering { offer, .. }, Some(candidate)) => {
                let known = offer.contains(candidate.candidate.trim());
                if !known && !sdp_candidates::insert(offer, &candidate) {
                    tracing::debug!("a candidate of ours fits nowhere");
                }
            }
            (Phase::Gathering { .. }, None) => self.post(),
            (Phase::Offering { .. } | Phase::Live, Some(candidate)) if self.late.len() < MAX_LATE => {
                self.late.push(candidate);
                self.trickle();
            }
            _ => {}
        }
    }

    fn trickle(&mut self) {
        let (Phase::Live, Some(live), None) = (&self.phase, &self.live, &self.in_flight) else { return };
        let (Some(session), Some(tag)) = (&live.session, &live.tag) else { return self.late.clear() };
        if self.late.is_empty() {
            return;
        }
        let credentials = SdpFragment::of_description(&live.offer).credentials;
        let fragment = SdpFragment { credentials, candidates: std::mem::take(&mut self.late), complete: false };
        let request = self.request(Method::PATCH, session).fragment(fragment.write(), tag);
        self.ask(Purpose::Trickle, request);
    }

    /// Ends the session, if there is one.
    fn end(&mut self) {
        self.late.clear();
        if let Some(session) = self.live.take().and_then(|live| live.session) {
            let request = self.request(Method::DELETE, &session);
            self.ask(Purpose::End, request);
        }
    }
}

impl HttpCodec for WhepClient {
    const REDIRECTS: usize = 5;

    fn start(&mut self, _now: Instant) {
        // Tells whether there is a server at all, and perhaps its ICE servers.
        let request = self.request(Method::OPTIONS, &self.endpoint);
        self.ask(Purpose::Knock, request);
    }

    fn replied(&mut self, reply: Result<Response, SignalingError>, now: Instant) {
        let Some(purpose) = self.in_flight.take() else { return };
        match (reply, purpose) {
            (Err(error), purpose) => self.unanswered(&purpose, error, now),
            (Ok(response), Purpose::Knock) if self.phase == Phase::Knocking => self.announce(response.ice_servers()),
            (Ok(response), Purpose::Offer { offer }) => self.answered(offer, response, now),
            (Ok(response), Purpose::Restart { offer }) => self.restarted(offer, &response),
            (Ok(response), Purpose::Trickle) => {
                if matches!(response.status, 405 | 422 | 501)
                    && let Some(live) = &mut self.live
                {
                    live.tag = None;
                }
                self.trickle();
            }
            (Ok(_), Purpose::Knock | Purpose::End) => {}
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            _ if self.phase == Phase::Leaving => {}
            Command::Leave => {
                self.requests.clear();
                self.end();
                self.phase = Phase::Leaving;
                self.leave_by = Some(now + LEAVE);
            }
            Command::Hangup { .. } => {
                self.end();
                if matches!(self.phase, Phase::Live | Phase::Gathering { .. } | Phase::Offering { .. }) {
                    self.phase = Phase::Ready;
                }
            }
            Command::Description { description, .. } if description.kind == SdpType::Offer => {
                self.offer(description.sdp, now);
            }
            Command::Candidate { candidate, .. } => self.candidate(candidate),
            Command::Description { .. } | Command::Call { .. } => {}
        }
    }

    fn wake(&mut self, now: Instant) {
        match self.phase {
            Phase::Gathering { until, .. } if until <= now => self.post(),
            Phase::Pausing { until } if until <= now => self.announce(Vec::new()),
            Phase::Leaving if self.leave_by.is_some_and(|by| by <= now) => {
                tracing::debug!(host = host(&self.endpoint), "the server did not confirm the end");
                (self.in_flight, self.leave_by) = (None, None);
                self.requests.clear();
                self.outputs.push_back(Output::Ended);
            }
            _ => {}
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Gathering { until, .. } | Phase::Pausing { until } => Some(until),
            Phase::Leaving => self.leave_by,
            _ => None,
        }
    }

    fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if self.in_flight.is_none() {
            if let Some((purpose, request)) = self.requests.pop_front() {
                self.in_flight = Some(purpose);
                return Some(Output::Request(request));
            }
            if self.phase == Phase::Leaving && self.leave_by.take().is_some() {
                return Some(Output::Ended);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
