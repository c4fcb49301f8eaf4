//! What a connection does for the tracks that we send: adds them, offers them, and knows which may be sent.

use rtc::rtp_transceiver::RTCRtpTransceiverDirection;

use super::PeerError;
use super::connection::{Connection, offer_error};
use super::negotiation::Input;
use super::outbound::OutboundTrack;
use crate::terms::{Codec, MediaKind};

impl Connection {
    pub(super) async fn add_outbound(&mut self, codec: Codec) -> Result<OutboundTrack, PeerError> {
        let failed = |cause: rtc::shared::error::Error| PeerError::Track { codec, cause: cause.to_string() };
        let Some(captures) = self.captures.clone() else {
            return Err(PeerError::Track { codec, cause: "this connection was made to receive only".into() });
        };
        let track = OutboundTrack::new(codec, &self.stream, captures);
        let sender = self.pc.add_track(track.local()).await.map_err(failed)?;
        self.outbound.push((track.clone(), sender));
        self.negotiate(Input::Needed { ice_restart: false }, None).await?;
        Ok(track)
    }

    /// Offers to send what there is, and to receive nothing.
    pub(super) async fn push(&mut self) -> Result<(), PeerError> {
        for transceiver in self.pc.get_transceivers().await {
            let direction = RTCRtpTransceiverDirection::Sendonly;
            transceiver.set_direction(direction).await.map_err(offer_error)?;
        }
        self.negotiate(Input::Call, None).await
    }

    /// Our own tracks that may be sent from now on, or no longer.
    pub(super) async fn refresh_outbound(&self) {
        // The engine goes on to know a format for a section that was rejected.
        let mut rejected = Vec::new();
        for transceiver in self.pc.get_transceivers().await {
            if let (Ok(Some(mid)), Ok(Some(sender))) = (transceiver.mid().await, transceiver.sender().await)
                && self.rejected.contains(&mid)
            {
                rejected.push(sender.id());
            }
        }
        for (track, sender) in &self.outbound {
            track.refresh(&**sender, self.connected && !rejected.contains(&sender.id())).await;
        }
    }

    /// The kinds of our own tracks that have no section yet.
    pub(super) async fn unnegotiated_outbound(&self) -> Vec<MediaKind> {
        let mut kinds = Vec::new();
        for transceiver in self.pc.get_transceivers().await {
            if let (Ok(None), Ok(Some(sender))) = (transceiver.mid().await, transceiver.sender().await) {
                let own = self.outbound.iter().find(|(_, known)| known.id() == sender.id());
                kinds.extend(own.map(|(track, _)| track.codec().kind()));
            }
        }
        kinds
    }
}
