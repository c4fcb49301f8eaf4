//! Rooms that are recorded: each gets a bridge as soon as somebody is in it, whether it is watched or not.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{GatewayError, Owner};
use crate::signaling::is_gateway;
use crate::terms::ParticipantId;

/// How often the rooms are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// A bridge that cannot work, and one that there is no place for, is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// When a bridge was last started for each room, or could not be.
#[derive(Debug, Default)]
pub(super) struct Recorded(BTreeMap<String, Instant>);

impl Owner {
    /// Starts the bridges of rooms that have members and no bridge.
    pub(super) async fn record(&mut self) {
        let now = Instant::now();
        self.recorded.0.retain(|_, tried| now.duration_since(*tried) < AGAIN);
        let people = |members: &[String]| members.iter().any(|member| !is_gateway(&ParticipantId::new(member)));
        for info in self.rooms.list().await.into_iter().filter(|info| people(&info.members)) {
            let runs = self.bridges.get(&info.room).is_some_and(|viewing| !viewing.has_ended());
            if runs || self.recorded.0.contains_key(&info.room) {
                continue;
            }
            self.recorded.0.insert(info.room.clone(), now);
            match self.on_demand(&info.room) {
                Ok(_) => tracing::info!(room = info.room, "is recorded"),
                Err(GatewayError::TooMany(most)) => {
                    tracing::error!(
                        room = info.room,
                        most,
                        "is NOT recorded: as many bridges run as this server carries"
                    );
                }
                Err(error) => tracing::error!(room = info.room, %error, "is NOT recorded"),
            }
        }
    }
}
