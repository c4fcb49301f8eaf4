//! The connection to an HTTP client: one offer, one complete answer, then candidates and ICE restarts as fragments.
//!
//! The client cannot be told anything later, so the answer waits until all candidates are gathered.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::{Condition, Patched, RelayConfig, RelayError, offer_error};
use crate::peer::{OutboundTrack, Peer, PeerEvent};
use crate::signaling::sdp_candidates;
use crate::signaling::sdpfrag::SdpFragment;
use crate::terms::{Codec, IceCandidate, ParticipantId, SdpType, SessionDescription};

/// Events that may wait.
const EVENTS: usize = 64;
/// How long the answer waits for candidates; STUN servers that answer at all answer sooner.
const GATHERING: Duration = Duration::from_secs(3);

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    peer: Peer,
    events: mpsc::Receiver<PeerEvent>,
    /// What happened while an answer was made.
    early: VecDeque<PeerEvent>,
    /// The client's description in force.
    offer: String,
    etag: String,
}

impl Client {
    pub(super) async fn start(
        id: &ParticipantId,
        config: &RelayConfig,
        codecs: Vec<Codec>,
    ) -> Result<Self, RelayError> {
        let (sender, events) = mpsc::channel(EVENTS);
        // The client's offers are the only ones there are.
        let peer = Peer::start(id.clone(), config.peer(codecs, true), sender).await.map_err(offer_error)?;
        Ok(Self { peer, events, early: VecDeque::new(), offer: String::new(), etag: String::new() })
    }

    /// Adds a track to send; before the offer is answered.
    pub(super) async fn add_outbound(&self, codec: Codec) -> Result<OutboundTrack, RelayError> {
        self.peer.add_outbound(codec).await.map_err(offer_error)
    }

    /// Takes the offer and returns the complete answer.
    pub(super) async fn answer(&mut self, offer: String) -> Result<String, RelayError> {
        let description = SessionDescription { kind: SdpType::Offer, sdp: offer.clone() };
        self.peer.handle_description(description).await.map_err(offer_error)?;
        self.offer = offer;
        self.etag = format!("{:016x}", rand::random::<u64>());
        self.gathered().await
    }

    /// Names the ICE generation.
    pub(super) fn etag(&self) -> &str {
        &self.etag
    }

    /// What happens on the connection; `None` when it is gone. Can be cancelled.
    pub(super) async fn next(&mut self) -> Option<PeerEvent> {
        match self.early.pop_front() {
            Some(event) => Some(event),
            None => self.events.recv().await,
        }
    }

    /// Candidates, or new credentials for an ICE restart (RFC 9725, section 4.3).
    pub(super) async fn patch(&mut self, condition: &Condition, fragment: SdpFragment) -> Result<Patched, RelayError> {
        let current = sdp_candidates::ice_ufrag(&self.offer);
        let same = fragment.credentials.as_ref().is_none_or(|(ufrag, _)| Some(ufrag.as_str()) == current);
        match condition {
            Condition::OneOf(tags) if !same || !tags.contains(&self.etag) => Err(RelayError::OtherIceSession),
            Condition::Any | Condition::OneOf(_) if same => self.trickle(fragment).await,
            _ => self.restart(&fragment).await,
        }
    }

    async fn trickle(&mut self, fragment: SdpFragment) -> Result<Patched, RelayError> {
        let ends = fragment.complete.then_some(None);
        for candidate in fragment.candidates.into_iter().map(Some).chain(ends) {
            let taken = self.peer.handle_candidate(candidate).await;
            taken.map_err(|error| RelayError::BadFragment(error.to_string()))?;
        }
        Ok(Patched::Trickled)
    }

    async fn restart(&mut self, fragment: &SdpFragment) -> Result<Patched, RelayError> {
        let offer = fragment
            .renew(&self.offer)
            .ok_or_else(|| RelayError::BadFragment("its credentials are malformed".to_owned()))?;
        let answer = self.answer(offer).await?;
        Ok(Patched::Restarted { etag: self.etag.clone(), fragment: SdpFragment::of_description(&answer) })
    }

    pub(super) async fn close(self) {
        self.peer.close().await;
    }

    /// Waits for the answer and its candidates.
    async fn gathered(&mut self) -> Result<String, RelayError> {
        let deadline = Instant::now() + GATHERING;
        let mut answer: Option<String> = None;
        let mut waiting: Vec<IceCandidate> = Vec::new();
        loop {
            match timeout_at(deadline, self.events.recv()).await {
                Ok(Some(PeerEvent::LocalDescription(description))) if description.kind == SdpType::Answer => {
                    answer = Some(description.sdp);
                }
                Ok(Some(PeerEvent::LocalCandidate(Some(candidate)))) => waiting.push(candidate),
                Ok(Some(PeerEvent::LocalCandidate(None))) if answer.is_some() => break,
                Ok(Some(PeerEvent::LocalDescription(_) | PeerEvent::LocalCandidate(None))) => {}
                Ok(Some(event)) => self.early.push_back(event),
                Ok(None) => return Err(RelayError::Broken("it has ended".to_owned())),
                Err(_) => break,
            }
        }
        let mut answer = answer.ok_or_else(|| RelayError::Broken("no answer was made in time".to_owned()))?;
        for mut candidate in waiting {
            // Everything is in one bundle, whose first section has the candidates.
            candidate.sdp_mid = None;
            candidate.sdp_m_line_index = Some(0);
            if !answer.contains(candidate.candidate.trim()) && !sdp_candidates::insert(&mut answer, &candidate) {
                debug!("a candidate of ours fits nowhere");
            }
        }
        end_candidates(&mut answer);
        Ok(answer)
    }
}

/// Nothing follows the answer, whether gathering was complete or not: the client need not wait for more.
fn end_candidates(answer: &mut String) {
    const END: &str = "a=end-of-candidates\r\n";
    if !answer.contains(END) {
        let sections: Vec<usize> = answer.match_indices("\nm=").map(|(at, _)| at + 1).collect();
        answer.insert_str(sections.get(1).copied().unwrap_or(answer.len()), END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_end_with_the_first_section() {
        let end = "a=end-of-candidates\r\n";
        for (sdp, expected) in [
            ("v=0\r\nm=a\r\nm=b\r\n".to_owned(), format!("v=0\r\nm=a\r\n{end}m=b\r\n")),
            ("v=0\r\nm=a\r\n".to_owned(), format!("v=0\r\nm=a\r\n{end}")),
            (format!("v=0\r\nm=a\r\n{end}m=b\r\n"), format!("v=0\r\nm=a\r\n{end}m=b\r\n")),
        ] {
            let mut ended = sdp.clone();
            end_candidates(&mut ended);
            assert_eq!(ended, expected, "{sdp}");
        }
    }
}
