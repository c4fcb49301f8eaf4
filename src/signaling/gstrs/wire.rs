//! The messages of gst-plugins-rs' signalling server (webrtcsink, webrtcsrc, gstwebrtc-api), as client and embedded server
//! read and write them. The protocol is described in `docs/protocols/gstrs.md`.
//!
//! One JSON object per WebSocket frame. Unknown keys, roles and types are ignored.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::json::{self, JsonError};
use crate::terms::{IceCandidate, SessionDescription};

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum FromServer {
    /// The first message: who we are.
    Welcome {
        peer_id: String,
    },
    /// For listeners: somebody's roles have changed, perhaps to none.
    PeerStatusChanged(PeerStatus),
    /// To a producer: somebody wants to consume; with an offer or to be offered.
    StartSession {
        peer_id: String,
        session_id: String,
        #[serde(default)]
        offer: Option<String>,
    },
    /// To the consumer.
    SessionStarted {
        peer_id: String,
        session_id: String,
    },
    EndSession {
        session_id: String,
    },
    Peer(PeerMessage),
    List {
        producers: Vec<Peer>,
    },
    ListConsumers {
        consumers: Vec<Peer>,
    },
    /// In words only: it does not say to which request it belongs.
    Error {
        details: String,
    },
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum FromClient {
    SetPeerStatus(PeerStatus),
    StartSession {
        peer_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<String>,
    },
    EndSession {
        session_id: String,
    },
    Peer(PeerMessage),
    List,
    ListConsumers,
    /// One of the future.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// Somebody's roles and self-description.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerStatus {
    #[serde(default)]
    pub(crate) roles: Vec<Role>,
    #[serde(default)]
    pub(crate) meta: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer_id: Option<String>,
}

impl PeerStatus {
    pub(crate) fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Role {
    /// Sends media to whoever starts a session.
    Producer,
    /// Is told of everybody's roles.
    Listener,
    /// Waits for producers to start sessions.
    Consumer,
    /// One of the future.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) meta: Option<Value>,
}

/// What the two sides of a session say to each other: a description or a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerMessage {
    pub(crate) session_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sdp: Option<SessionDescription>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ice: Option<IceCandidate>,
}

/// What people call somebody: `name` in the self-description.
pub(crate) fn name(meta: Option<&Value>) -> Option<&str> {
    meta?.get("name")?.as_str()
}

/// Reads a message of either side.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsonError> {
    json::read(text)
}

/// Writes a message of either side.
pub(crate) fn write(message: &impl Serialize) -> String {
    // Strings, numbers and maps with string keys, and no unknown roles: there is nothing that JSON cannot say.
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_survives_a_round_trip() {
        for text in [
            r#"{"type":"welcome","peerId":"a"}"#,
            r#"{"type":"peerStatusChanged","roles":["producer"],"meta":{"name":"cam"},"peerId":"b"}"#,
            r#"{"type":"peerStatusChanged","roles":[],"meta":null,"peerId":"b"}"#,
            r#"{"type":"startSession","peerId":"a","sessionId":"s","offer":null}"#,
            r#"{"type":"sessionStarted","peerId":"b","sessionId":"s"}"#,
            r#"{"type":"endSession","sessionId":"s"}"#,
            r#"{"type":"peer","sessionId":"s","sdp":{"type":"offer","sdp":"v=0"}}"#,
            r#"{"type":"peer","sessionId":"s","ice":{"candidate":"candidate:1","sdpMLineIndex":0}}"#,
            r#"{"type":"list","producers":[{"id":"b","meta":null}]}"#,
            r#"{"type":"listConsumers","consumers":[]}"#,
            r#"{"type":"error","details":"no"}"#,
        ] {
            assert_eq!(write(&parse::<FromServer>(text).unwrap()), text);
        }
        for text in [
            r#"{"type":"setPeerStatus","roles":["listener","producer"],"meta":{"name":"cam"}}"#,
            r#"{"type":"startSession","peerId":"b"}"#,
            r#"{"type":"startSession","peerId":"b","offer":"v=0"}"#,
            r#"{"type":"endSession","sessionId":"s"}"#,
            r#"{"type":"peer","sessionId":"s","sdp":{"type":"answer","sdp":"v=0"}}"#,
            r#"{"type":"list"}"#,
            r#"{"type":"listConsumers"}"#,
        ] {
            assert_eq!(write(&parse::<FromClient>(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_unknown_is_ignored_and_what_is_wrong_refused() {
        let status: FromClient =
            parse(r#"{"type":"setPeerStatus","roles":["producer","juggler"],"meta":[1],"more":{}}"#).unwrap();
        let FromClient::SetPeerStatus(status) = status else { panic!("no status") };
        assert_eq!((status.roles, name(status.meta.as_ref())), (vec![Role::Producer, Role::Unknown], None));
        assert_eq!(parse::<FromClient>(r#"{"type":"newPeer","more":1}"#).unwrap(), FromClient::Unknown);
        let deep = format!(r#"{{"type":"setPeerStatus","meta":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            "",
            "7",
            "[]",
            "{}",
            r#"{"type":"startSession"}"#,
            r#"{"type":"startSession","peerId":7}"#,
            r#"{"type":"peer","sdp":{"type":"offer","sdp":"v=0"}}"#,
            r#"{"type":"peer","sessionId":"s","sdp":{"type":"nonsense"}}"#,
            r#"{"type":"setPeerStatus","roles":"producer"}"#,
            deep.as_str(),
        ] {
            assert!(parse::<FromClient>(text).is_err(), "{}", &text[..text.len().min(60)]);
        }
    }
}
