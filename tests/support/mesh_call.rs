//! A member of a mesh room that has a real connection to another one, as browsers do.

use std::net::IpAddr;

use roomcast::peer::{Network, Peer, PeerConfig, PeerEvent};
use roomcast::terms::{Codec, IceCandidate, ParticipantId};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::MeshMember;

/// A connection to `them` that has not begun.
pub(crate) async fn connection(them: &str) -> (Peer, mpsc::Receiver<PeerEvent>) {
    let (sender, events) = mpsc::channel(256);
    let network = Network::on(vec![IpAddr::from([127, 0, 0, 1])]);
    let config = PeerConfig { ice_servers: vec![], network, codecs: Codec::ALL.to_vec(), polite: false, sends: true };
    (Peer::start(ParticipantId::new(them), config, sender).await.unwrap(), events)
}

/// What comes next.
pub(crate) enum Said {
    /// Somebody in the room said it.
    Room(Value),
    /// The connection said it.
    Connection(PeerEvent),
}

/// Somebody in a room, and the connection to `them`.
pub(crate) struct MeshCall {
    pub(crate) peer: Peer,
    member: MeshMember,
    them: &'static str,
    events: mpsc::Receiver<PeerEvent>,
}

impl MeshCall {
    /// Joins a room of the server at `base`.
    pub(crate) async fn join(base: &str, room: &str, id: &str, them: &'static str) -> Self {
        let member = MeshMember::join(base, room, id).await;
        let (peer, events) = connection(them).await;
        Self { peer, member, them, events }
    }

    /// What comes next. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Said {
        tokio::select! {
            message = self.member.hear() => Said::Room(message.expect("the room stays")),
            event = self.events.recv() => Said::Connection(event.expect("a connection that stands")),
        }
    }

    /// Passes it on between the room and the connection. True when the connection stands now.
    pub(crate) async fn pass_on(&mut self, said: Said) -> bool {
        let them = self.them;
        match said {
            Said::Room(message) if message["from"] == them => self.hear(&message).await,
            Said::Connection(PeerEvent::LocalDescription(description)) => {
                let kind = serde_json::to_value(description.kind).unwrap();
                self.member.say(&json!({ "type": kind, "to": them, "sdp": description })).await;
            }
            Said::Connection(PeerEvent::LocalCandidate(candidate)) => {
                self.member.say(&json!({ "type": "candidate", "to": them, "candidate": candidate })).await;
            }
            Said::Connection(PeerEvent::Connected) => return true,
            _ => {}
        }
        false
    }

    async fn hear(&self, message: &Value) {
        match message["type"].as_str().unwrap_or_default() {
            "offer" | "answer" => {
                let description = serde_json::from_value(message["sdp"].clone()).unwrap();
                self.peer.handle_description(description).await.unwrap();
            }
            "candidate" => {
                let candidate: Option<IceCandidate> = serde_json::from_value(message["candidate"].clone()).unwrap();
                self.peer.handle_candidate(candidate).await.unwrap();
            }
            _ => {}
        }
    }

    /// Leaves the room and ends the connection.
    pub(crate) async fn leave(mut self) {
        self.member.say(&json!({ "type": "leave" })).await;
        self.peer.close().await;
    }
}
