//! What a client of GStreamer's server does when it is refused.

use std::time::Duration;

use super::super::SignalingError;
use super::super::codec::Next;
use super::GStreamerClient;
use super::wire::Fault;
use crate::terms::ParticipantId;

/// How often an id that the user gave is asked for: our own old socket may linger at the server.
const ID_RETRY: Duration = Duration::from_secs(6);
const ID_RETRIES: u32 = 5;
/// The last of the growing waits for a place.
const FULL_LAST: Duration = Duration::from_secs(60);

impl GStreamerClient {
    pub(super) fn on_refused(&mut self, fault: Fault) {
        let reason = fault.to_string();
        match fault {
            Fault::RoomFull | Fault::TooManyRooms | Fault::Busy(_) => {
                let wait = self.full_wait;
                self.full_wait = (wait * 2).min(FULL_LAST);
                self.reconnect(Some(wait), format!("\"{}\" cannot be entered: {reason}", self.place()));
            }
            Fault::NotFound(peer) => {
                self.fail_or_reconnect(SignalingError::CannotCall { peer: ParticipantId::new(peer), reason });
            }
            fault => {
                let advice = if matches!(fault, Fault::InvalidRoom(_)) { "; choose another room" } else { "" };
                let (room, code) = (self.place().to_owned(), "ERROR".to_owned());
                self.fail_or_reconnect(SignalingError::Refused { room, code, message: reason, advice });
            }
        }
    }

    /// Our id is in use: by our own old socket if we were here before, else by somebody else.
    pub(super) fn on_taken(&mut self) {
        self.refusals += 1;
        let reason = format!("the id \"{}\" is still taken", self.me);
        if !self.id_is_fixed {
            self.me = ParticipantId::new((self.new_id)());
            self.renamed = true;
            // A server that refuses every id is asked ever more slowly.
            let at_once = (self.refusals == 1).then_some(Duration::ZERO);
            return self.reconnect(at_once, reason);
        }
        if self.joined_once || self.refusals <= ID_RETRIES {
            return self.reconnect(Some(ID_RETRY), reason);
        }
        let error = SignalingError::IdTaken { id: self.me.clone(), room: self.place().to_owned() };
        self.disconnect(Next::Failed(error));
    }

    /// What ends us at first is worth another attempt once it has worked.
    pub(super) fn fail_or_reconnect(&mut self, error: SignalingError) {
        if self.joined_once {
            self.reconnect(None, error.to_string());
        } else {
            self.disconnect(Next::Failed(error));
        }
    }
}
