//! What the interceptors have told of RTCP and of sources.

use super::super::PeerEvent;
use super::super::intake::MOST_SOURCES;
use super::super::rtcp_tap::Feedback;
use super::Connection;

impl Connection {
    pub(super) fn feedback(&mut self, feedback: Feedback, keeps_up: bool) {
        match feedback {
            Feedback::SenderReport { ssrc, compound } if keeps_up => {
                if let Some((ssrc, compound)) = self.simulcasts.as_shown(ssrc, compound) {
                    self.outbox.push_back(PeerEvent::SenderReport { ssrc, compound });
                }
            }
            Feedback::SenderReport { .. } => {}
            Feedback::KeyframeRequest { ssrc } => {
                for (track, _) in self.outbound.iter().filter(|(track, _)| track.ssrc() == ssrc) {
                    track.request_keyframe();
                }
            }
            Feedback::TooManySources => {
                let reason =
                    format!("sent from more than the {MOST_SOURCES} sources that one connection may have: join anew");
                if !std::mem::replace(&mut self.misused, true) {
                    self.outbox.push_back(PeerEvent::Misused { reason });
                }
            }
            Feedback::Reception { ssrc } => {
                for (track, _) in self.outbound.iter().filter(|(track, _)| track.ssrc() == ssrc) {
                    track.arrives();
                }
            }
        }
    }
}
