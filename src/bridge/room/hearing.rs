//! Who is heard: members that say more than is taken lose their call, and are not heard for a while.

use std::time::Instant;

use super::super::talk::{self, Hearing};
use super::Room;
use crate::terms::ParticipantId;

impl Room {
    /// Whether somebody who comes is let in.
    pub(super) async fn welcomes(&mut self, peer: &ParticipantId) -> bool {
        let heard = self.talk.join(peer, Instant::now());
        self.bears(peer, heard).await
    }

    /// Whether somebody who says something is heard.
    pub(super) async fn hears(&mut self, peer: &ParticipantId) -> bool {
        let heard = self.talk.hear(peer, Instant::now());
        self.bears(peer, heard).await
    }

    async fn bears(&mut self, peer: &ParticipantId, heard: Hearing) -> bool {
        if heard == Hearing::TooMany {
            tracing::warn!(participant = %peer, "says too much: not heard for a while");
            if let Some((generation, _)) = self.seat(peer) {
                self.drop_seat(generation, &talk::reason()).await;
            }
        }
        heard == Hearing::Heard
    }
}
