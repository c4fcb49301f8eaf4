//! The messages of mesh rooms, as client and embedded server read and write them.
//!
//! One JSON object per WebSocket frame. Unknown fields are dropped; the order of the fields is the original's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::json::{self, JsonError};
use crate::terms::{IceCandidate, ParticipantId, SessionDescription};

/// What the ids of gateways begin with. They sort after the ids of pages, so gateways are the polite side.
pub const GATEWAY_ID_PREFIX: &str = "zzz-gw-";
/// Whether an id is that of a gateway, which calls everybody by itself and has nothing to show.
pub fn is_gateway(id: &ParticipantId) -> bool {
    id.as_str().starts_with(GATEWAY_ID_PREFIX)
}

/// One message of either direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    #[serde(rename = "type", default)]
    pub(crate) kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) room: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sdp: Option<Payload<SessionDescription>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) candidate: Option<Payload<IceCandidate>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) members: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "String")]
pub(crate) enum Kind {
    Join,
    Joined,
    RoomMembers,
    Leave,
    Offer,
    Answer,
    Candidate,
    Hangup,
    Ping,
    Pong,
    Error,
    #[default]
    Unknown,
}

impl From<String> for Kind {
    fn from(name: String) -> Self {
        match name.as_str() {
            "join" => Self::Join,
            "joined" => Self::Joined,
            "room_members" => Self::RoomMembers,
            "leave" => Self::Leave,
            "offer" => Self::Offer,
            "answer" => Self::Answer,
            "candidate" => Self::Candidate,
            "hangup" => Self::Hangup,
            "ping" => Self::Ping,
            "pong" => Self::Pong,
            "error" => Self::Error,
            _ => Self::Unknown,
        }
    }
}

/// Something that the server only passes on: what we know, or whatever else a page sends to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Payload<T> {
    Known(T),
    Other(Value),
}

impl<T> Payload<T> {
    pub(crate) fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Other(_) => None,
        }
    }
}

impl Message {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, JsonError> {
        json::read_object(text)
    }

    /// The message as JSON; the original ends each with a newline.
    pub(crate) fn to_json(&self) -> String {
        // Strings and numbers only: there is nothing in a message that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_survives_a_round_trip_with_the_order_of_its_fields() {
        for text in [
            r#"{"type":"join","room":"r 1","from":"a"}"#,
            r#"{"type":"joined","room":"r 1","from":"a"}"#,
            r#"{"type":"room_members","room":"r 1","from":"","members":["a","b"]}"#,
            r#"{"type":"leave"}"#,
            r#"{"type":"offer","room":"r 1","from":"b","to":"a","sdp":{"type":"offer","sdp":"v=0"}}"#,
            r#"{"type":"answer","to":"a","sdp":{"type":"answer","sdp":"v=0"}}"#,
            r#"{"type":"candidate","to":"a","candidate":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}}"#,
            r#"{"type":"hangup","to":"a"}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"pong","room":"","from":""}"#,
            r#"{"type":"error","room":"r 1","from":"","code":"room_full","error":"room is full"}"#,
        ] {
            assert_eq!(Message::parse(text).unwrap().to_json(), text);
        }
    }

    #[test]
    fn odd_input_is_read_or_refused_but_never_a_panic() {
        let deep = format!(r#"{{"type":"offer","sdp":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for (text, readable) in [
            (r#"{"type":"chat","x":[1]}"#, true),
            ("{}", true),
            (r#"{"type":"offer","to":null,"sdp":null}"#, true),
            (r#"{"type":"offer","sdp":{"type":"nonsense","sdp":7}}"#, true),
            (r#"{"type":"join","room":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#, true),
            (r#"{"type":7}"#, false),
            (r#"{"type":"join","room":[]}"#, false),
            ("[]", false),
            ("", false),
            ("{", false),
            (deep.as_str(), false),
        ] {
            assert_eq!(Message::parse(text).is_ok(), readable, "{}", &text[..text.len().min(80)]);
        }
    }
}
