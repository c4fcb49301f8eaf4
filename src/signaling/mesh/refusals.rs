//! What a mesh client does when the server refuses something, or has lost it.

use std::time::{Duration, Instant};

use super::super::SignalingError;
use super::super::codec::Next;
use super::wire::Message;
use super::{MeshClient, Phase};
use crate::terms::ParticipantId;

/// The last of the growing waits for a place.
const FULL_LAST: Duration = Duration::from_secs(60);
/// How long our own ghost may hold our id after a lost connection.
const GHOST: Duration = Duration::from_secs(25);
/// How often we ask whether the ghost is gone.
const GHOST_RETRY: Duration = Duration::from_secs(2);

impl MeshClient {
    pub(super) fn on_error(&mut self, message: &Message, now: Instant) {
        let (code, text) = (message.code.as_deref().unwrap_or_default(), message.error.as_deref().unwrap_or_default());
        match (self.phase, code) {
            (Phase::Joining { .. }, _) => self.on_refused(code, text, now),
            (_, "rate_limited") => self.outgoing.rate_limited(now),
            (Phase::Joined, "membership_lost" | "room_missing" | "not_joined") => {
                self.reconnect(None, format!("the server has lost us: {text} ({code})"));
            }
            // Who it was is not said; the member list that follows ends the call.
            _ => tracing::debug!(code, text, "the room reports an error"),
        }
    }

    fn on_refused(&mut self, code: &str, message: &str, now: Instant) {
        let refused = |room: &str, advice| SignalingError::Refused {
            room: room.to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
            advice,
        };
        match code {
            "duplicate_id" => self.on_taken(now),
            "room_full" | "room_limit_reached" => {
                let wait = self.full_wait;
                self.full_wait = (wait * 2).min(FULL_LAST);
                self.reconnect(Some(wait), format!("room \"{}\" refuses us: {message} ({code})", self.room));
            }
            "rate_limited" => self.reconnect(None, "the server wants fewer messages"),
            "invalid_id" => {
                let error = refused(&self.room, "; choose another id=");
                self.disconnect(Next::Failed(error));
            }
            "invalid_room" => {
                let error = refused(&self.room, "; choose another room=");
                self.disconnect(Next::Failed(error));
            }
            _ => {
                let error = refused(&self.room, "");
                self.disconnect(Next::Failed(error));
            }
        }
    }

    /// Our id is in use: by our own ghost if we were in the room before, else by somebody else. The original keeps a
    /// refused id bound to its connection, so each attempt needs a new one.
    fn on_taken(&mut self, now: Instant) {
        let reason = format!("the id \"{}\" is still taken in room \"{}\"", self.me, self.room);
        if self.joined_once {
            let since = *self.taken_since.get_or_insert(now);
            if now.duration_since(since) < GHOST || self.id_is_fixed {
                return self.reconnect(Some(GHOST_RETRY), reason);
            }
        } else if self.id_is_fixed {
            let error = SignalingError::IdTaken { id: self.me.clone(), room: self.room.clone() };
            return self.disconnect(Next::Failed(error));
        }
        self.me = ParticipantId::new((self.new_id)());
        self.renamed = true;
        self.taken_since = None;
        self.reconnect(Some(Duration::ZERO), reason);
    }
}
