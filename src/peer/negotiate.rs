//! Carries out what [`super::negotiation`] decides: offers, answers, rollbacks, candidates, and what follows from them.

use std::sync::Arc;

use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::shared::error::Error;
use tracing::debug;
use webrtc::peer_connection::{RTCIceCandidateInit, RTCSessionDescription};
use webrtc::rtp_transceiver::RtpTransceiver;

use super::connection::Connection;
use super::negotiation::{Action, Input};
use super::{PeerError, PeerEvent, codecs, fec, sdp};
use crate::terms::{IceCandidate, SdpType, SessionDescription};

impl Connection {
    /// Takes a description from the other side, whatever it holds.
    pub(super) async fn remote_description(&mut self, description: SessionDescription) -> Result<(), PeerError> {
        let SessionDescription { kind, sdp } = description;
        if kind != SdpType::Rollback {
            sdp::check(&sdp)?;
        }
        self.negotiate(Input::Remote(kind), Some(&sdp)).await
    }

    /// Feeds the state machine and does what it says, until there is nothing left to do.
    pub(super) async fn negotiate(&mut self, input: Input, remote: Option<&str>) -> Result<(), PeerError> {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for action in self.negotiation.handle(input) {
                debug!(?action, "negotiates");
                match (action, remote) {
                    (Action::MakeOffer { ice_restart }, _) => {
                        self.offer(ice_restart).await.map_err(local(SdpType::Offer))?;
                        inputs.push(Input::OfferSet);
                    }
                    (Action::RollBack, _) => self.roll_back().await.map_err(local(SdpType::Rollback))?,
                    (Action::Answer, Some(sdp)) => {
                        let prepared = self.prepare_receivers(sdp).await.map_err(local(SdpType::Answer))?;
                        self.apply(SdpType::Offer, sdp).await?;
                        for transceiver in prepared {
                            let direction = RTCRtpTransceiverDirection::Inactive;
                            transceiver.set_direction(direction).await.map_err(local(SdpType::Answer))?;
                        }
                        self.answer().await.map_err(local(SdpType::Answer))?;
                        self.agreed(sdp).await;
                        self.dtls_server.get_or_insert(false);
                        inputs.push(Input::AnswerSet);
                    }
                    (Action::ApplyAnswer, Some(sdp)) => {
                        self.apply(SdpType::Answer, sdp).await?;
                        self.agreed(sdp).await;
                        self.dtls_server.get_or_insert_with(|| sdp::opens_dtls(sdp));
                        inputs.push(Input::AnswerApplied);
                    }
                    (Action::ApplyProvisional, Some(sdp)) => self.apply(SdpType::Pranswer, sdp).await?,
                    (Action::Ignore(_) | Action::Answer | Action::ApplyAnswer | Action::ApplyProvisional, _) => {}
                }
            }
            let agreed = matches!(input, Input::AnswerSet | Input::AnswerApplied);
            if agreed && self.has_unoffered_tracks().await {
                inputs.push(Input::Needed { ice_restart: false });
            }
        }
        Ok(())
    }

    /// Makes transceivers for new sections in which the other side only listens, if we send nothing there ourselves.
    ///
    /// Those that the engine would make have no receiver: whoever joins without a camera and switches it on later, on
    /// the same section, would never be seen. Made as recvonly they have one, as sendonly they match the section, and
    /// as inactive, once the offer is applied, they give the answer that is true: nobody sends.
    async fn prepare_receivers(&mut self, sdp: &str) -> Result<Vec<Arc<dyn RtpTransceiver>>, Error> {
        let mut free = self.unnegotiated_outbound().await;
        let mut prepared = Vec::new();
        for section in sdp::sections(sdp).into_iter().filter(|section| !section.sends) {
            if self.sending.contains_key(&section.mid) || !self.kinds.contains(&section.kind) {
                continue;
            }
            if let Some(index) = free.iter().position(|kind| *kind == section.kind) {
                free.swap_remove(index);
                continue;
            }
            let init = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
            let transceiver = self.pc.add_transceiver_from_kind(codecs::rtc_kind(section.kind), Some(init)).await?;
            transceiver.set_direction(RTCRtpTransceiverDirection::Sendonly).await?;
            prepared.push(transceiver);
        }
        Ok(prepared)
    }

    async fn offer(&mut self, ice_restart: bool) -> Result<(), Error> {
        if ice_restart {
            self.pc.restart_ice().await?;
        }
        let offer = self.pc.create_offer(None).await?;
        self.pc.set_local_description(offer).await?;
        self.send_local(SdpType::Offer).await;
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), Error> {
        self.pc.set_local_description(RTCSessionDescription::rollback(None)?).await
    }

    async fn answer(&mut self) -> Result<(), Error> {
        let answer = self.pc.create_answer(None).await?;
        self.pc.set_local_description(answer).await?;
        self.send_local(SdpType::Answer).await;
        Ok(())
    }

    /// Sends the description with the candidates found so far: those of a rolled back offer may have been thrown away.
    async fn send_local(&mut self, kind: SdpType) {
        if let Some(description) = self.pc.local_description().await {
            self.payload_types.learn(&sdp::payload_types(&description.sdp));
            let mut sdp = self.attachment.announce(&description.sdp);
            // Roles stay as they were first agreed on (RFC 8842, section 5.3); the engine's answers always say active.
            if kind == SdpType::Answer && self.dtls_server == Some(true) {
                sdp = sdp::as_dtls_server(&sdp);
            }
            self.outbox.push_back(PeerEvent::LocalDescription(SessionDescription { kind, sdp }));
        }
    }

    async fn apply(&mut self, kind: SdpType, sdp: &str) -> Result<(), PeerError> {
        let (tcp, sdp) = (sdp::tcp_candidates(sdp), fec::beside_ours(sdp, &self.codecs).into_owned());
        let description = match kind {
            SdpType::Offer => RTCSessionDescription::offer(sdp),
            SdpType::Pranswer => RTCSessionDescription::pranswer(sdp),
            SdpType::Answer | SdpType::Rollback => RTCSessionDescription::answer(sdp),
        };
        let applied = match description {
            Ok(description) => self.pc.set_remote_description(description).await,
            Err(error) => Err(error),
        };
        applied.map_err(|cause| PeerError::BadDescription { kind, cause: cause.to_string() })?;
        // The engine dials a TCP candidate only when it comes by itself (`add_ice_candidate` of webrtc 0.21.1), not when it
        // stands in the description.
        for candidate in tcp.into_iter().chain(self.candidates.release()) {
            self.apply_candidate(candidate).await;
        }
        Ok(())
    }

    /// A candidate that cannot be used is no reason to end the call: others may work.
    pub(super) async fn apply_candidate(&mut self, candidate: IceCandidate) {
        let init = RTCIceCandidateInit {
            candidate: candidate.candidate,
            sdp_mid: candidate.sdp_mid,
            sdp_mline_index: candidate.sdp_m_line_index,
            username_fragment: candidate.username_fragment,
            ..Default::default()
        };
        if let Err(error) = self.pc.add_ice_candidate(init).await {
            debug!(%error, of_ignored_offer = self.negotiation.is_ignoring_offer(), "ignores a candidate");
        }
    }

    /// Both descriptions are in force: says which tracks came or went. The engine's own mute events never fire.
    async fn agreed(&mut self, remote: &str) {
        let sections = sdp::sections(remote);
        self.rejected = sections.iter().filter(|section| section.rejected).map(|section| section.mid.clone()).collect();
        self.refresh_outbound().await;
        for section in sections {
            let before = self.sending.insert(section.mid.clone(), (section.kind, section.sends));
            if before.is_some_and(|(_, sent)| sent != section.sends) {
                let event = PeerEvent::TrackActive { mid: section.mid, kind: section.kind, active: section.sends };
                self.outbox.push_back(event);
            }
        }
    }

    async fn has_unoffered_tracks(&self) -> bool {
        for transceiver in self.pc.get_transceivers().await {
            if matches!(transceiver.mid().await, Ok(None)) {
                return true;
            }
        }
        false
    }
}

fn local(kind: SdpType) -> impl Fn(Error) -> PeerError {
    move |cause| PeerError::LocalDescription { kind, cause: cause.to_string() }
}
