//! What a notify client does when a call ends, or a connection: the protocol does not tell one from the other.

use std::time::{Duration, Instant};

use super::super::SignalingError;
use super::super::codec::Next;
use super::{NotifyClient, Phase};
use crate::terms::ParticipantId;

/// How long the path is left alone after a call: rtclite takes the late end of the old connection for one of the new call.
const PATH_REST: Duration = Duration::from_secs(1);
/// The last of the growing waits for a place.
const FULL_LAST: Duration = Duration::from_secs(60);
/// A connection that is closed sooner than this, with nothing received, was meant for the call before.
const STILLBORN: Duration = Duration::from_secs(3);

impl NotifyClient {
    pub(super) fn hang_up(&mut self, peer: &ParticipantId) {
        if self.kept.as_ref() == Some(peer) {
            self.forget_kept();
        } else if *peer == self.talk.peer && self.phase == Phase::Joined {
            // The end of the connection is the only word for it.
            self.forget_peer();
            let delay = PATH_REST + self.by_chance(PATH_REST);
            self.reconnect(Some(delay), "the call has ended");
        } else if *peer == self.talk.peer {
            self.forget_peer();
        }
    }

    /// No connection came about.
    pub(super) fn not_opened(&mut self, error: SignalingError) {
        match error {
            SignalingError::Full { .. } => {
                let wait = self.full_wait;
                self.full_wait = (wait * 2).min(FULL_LAST);
                self.reconnect(Some(wait), error.to_string());
            }
            SignalingError::NotAWebSocket { status, .. } if status < 500 => self.disconnect(Next::Failed(error)),
            SignalingError::OriginRefused { .. } => self.disconnect(Next::Failed(error)),
            _ if self.joined_once => self.reconnect(None, error.to_string()),
            _ => self.disconnect(Next::Failed(error)),
        }
    }

    /// A connection ended that stood.
    pub(super) fn closed(&mut self, error: &SignalingError, opened_at: Instant, now: Instant) {
        /// "Going away" and "service restart": it is the server that ends, not the other side.
        const SERVER_ENDS: [Option<u16>; 2] = [Some(1001), Some(1012)];
        let delay = PATH_REST + self.by_chance(PATH_REST);
        let left = matches!(error, SignalingError::Closed { code, .. } if !SERVER_ENDS.contains(code));
        if left && !self.heard && now.duration_since(opened_at) < STILLBORN {
            self.forget_peer();
            self.reconnect(Some(delay), "the end of the call before was taken for ours");
        } else if left {
            self.forget_peer();
            self.reconnect(Some(delay), "the other side has left");
        } else {
            if self.talk.met {
                self.forget_kept();
                self.kept = Some(self.talk.peer.clone());
                self.talk.told = false;
            }
            self.forget_peer();
            let server_ends = matches!(error, SignalingError::Closed { .. });
            self.reconnect(server_ends.then_some(delay), error.to_string());
        }
    }
}
