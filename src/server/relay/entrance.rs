//! How a relay takes its seat in a room of our own server: over loopback, like everybody else.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{RelayConfig, RelayError};
use crate::signaling::{self, CallPolicy, Command, Event, JoinOptions, RoomUrl, Session, SignalingError};
use crate::terms::ParticipantId;

/// Under which name a relay joins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name<'a> {
    /// This one.
    Given(&'a ParticipantId),
    /// One that is made up, with this beginning.
    Prefixed(&'static str),
}

/// Our own server is on this machine: longer means that it is overwhelmed.
const JOIN: Duration = Duration::from_secs(5);
/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(3);

/// Joins, and waits until we are in. The events that follow are the session's.
pub(super) async fn enter(
    config: &RelayConfig,
    room: &str,
    call: CallPolicy,
    name: Name<'_>,
) -> Result<(Session, ParticipantId), RelayError> {
    let (id, id_prefix) = match name {
        Name::Given(id) => (Some(id), None),
        Name::Prefixed(prefix) => (None, Some(prefix)),
    };
    let url = room_url(config, room, id).ok_or_else(|| RelayError::RoomRefuses("the room has no URL".to_owned()))?;
    let options = JoinOptions { call: Some(call), id_prefix, ..JoinOptions::default() };
    let mut session = signaling::join(url, options, CancellationToken::new());
    match timeout(JOIN, session.events.recv()).await {
        Ok(Some(Event::Joined { me, .. })) => Ok((session, me)),
        // A full room would be tried again; who waits for an answer is told instead.
        Ok(Some(Event::Reconnecting { reason, .. })) => {
            leave(session).await;
            Err(RelayError::RoomRefuses(reason))
        }
        Ok(_) => Err(match session.closed().await {
            Err(SignalingError::IdTaken { id, .. }) => RelayError::NameTaken(id),
            Err(error) => RelayError::RoomRefuses(error.to_string()),
            Ok(()) => RelayError::RoomRefuses("the room is gone".to_owned()),
        }),
        Err(_) => {
            leave(session).await;
            Err(RelayError::RoomRefuses(format!("no answer to the join within {} s", JOIN.as_secs())))
        }
    }
}

/// Ends all calls and leaves.
pub(super) async fn leave(session: Session) {
    session.commands.send(Command::Leave).await.ok();
    if timeout(LEAVE, session.closed()).await.is_err() {
        tracing::debug!("leaving a room took too long");
    }
}

fn room_url(config: &RelayConfig, room: &str, id: Option<&ParticipantId>) -> Option<RoomUrl> {
    let mut url = Url::parse(&format!("mesh+ws://{}/ws", config.addr)).ok()?;
    url.query_pairs_mut().append_pair("room", room).extend_pairs(id.map(|id| ("id", id.as_str())));
    url.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_room_has_a_url() {
        let config = RelayConfig {
            addr: ([127, 0, 0, 1], 8080).into(),
            ice_servers: vec![],
            network: crate::peer::Network::on(vec![]),
            max_sessions: 1,
        };
        for room in ["demo", "r 1&id=x", "é#?/"] {
            for id in [None, Some(ParticipantId::new("camera-1"))] {
                let url = room_url(&config, room, id.as_ref()).unwrap();
                assert_eq!((url.room(), url.id(), url.is_loopback()), (room, id.as_ref(), true));
            }
        }
    }
}
