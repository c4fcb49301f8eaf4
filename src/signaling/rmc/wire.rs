//! The messages of RTCMultiConnection, which travel inside Socket.IO events ([`super::socketio`]): what the client writes and
//! how it reads what pages write. Unknown keys are ignored; what is sent has the keys of the original in its order.

use serde::Serialize;
use serde_json::Value;

use crate::terms::{IceCandidate, SdpType, SessionDescription};

/// The event that carries a message between participants; the name is ours to choose in the query of the connection.
pub(crate) const MESSAGE: &str = "RTCMultiConnection-Message";
/// The same for messages of applications, which we neither send nor read.
pub(crate) const CUSTOM_MESSAGE: &str = "RTCMultiConnection-Custom-Message";

/// One message with its address. The server believes the sender.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope<'a> {
    pub(crate) remote_user_id: &'a str,
    pub(crate) message: Said<'a>,
    pub(crate) sender: &'a str,
}

/// What we say to another participant, or to a room.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Said<'a> {
    /// To the room: whoever is there may offer.
    #[serde(rename_all = "camelCase")]
    Request {
        new_participation_request: True,
        is_one_way: bool,
        is_data_only: bool,
        /// What we want to receive.
        local_peer_sdp_constraints: Receives,
        /// What the others shall want to receive from us.
        remote_peer_sdp_constraints: Receives,
    },
    #[serde(rename_all = "camelCase")]
    Ready {
        ready_for_offer: True,
        user_preferences: &'a Value,
    },
    #[serde(rename_all = "camelCase")]
    Offer {
        r#type: SdpType,
        sdp: &'a str,
        renegotiating_peer: bool,
        /// Tells our own clients from pages, which settle crossing offers in different ways.
        roomcast: True,
    },
    Answer {
        r#type: SdpType,
        sdp: &'a str,
    },
    #[serde(rename_all = "camelCase")]
    Candidate {
        candidate: &'a str,
        sdp_mid: Option<&'a str>,
        #[serde(rename = "sdpMLineIndex")]
        sdp_m_line_index: Option<u16>,
    },
    #[serde(rename_all = "camelCase")]
    Left {
        user_left: True,
    },
}

impl<'a> From<&'a IceCandidate> for Said<'a> {
    fn from(candidate: &'a IceCandidate) -> Self {
        Self::Candidate {
            candidate: &candidate.candidate,
            sdp_mid: candidate.sdp_mid.as_deref(),
            sdp_m_line_index: candidate.sdp_m_line_index,
        }
    }
}

/// Is always `true`.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct True;

impl Serialize for True {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

/// What a side wants to receive.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Receives {
    offer_to_receive_audio: bool,
    offer_to_receive_video: bool,
}

impl From<bool> for Receives {
    fn from(both: bool) -> Self {
        Self { offer_to_receive_audio: both, offer_to_receive_video: both }
    }
}

/// The argument of `join-room` and `open-room`.
#[derive(Debug, Serialize)]
pub(crate) struct RoomRequest<'a> {
    pub(crate) sessionid: &'a str,
    session: Kinds,
    #[serde(rename = "mediaConstraints")]
    media_constraints: Kinds,
    #[serde(rename = "sdpConstraints")]
    sdp_constraints: Mandatory,
    streams: [(); 0],
    extra: Empty,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Kinds {
    audio: bool,
    video: bool,
}

#[derive(Debug, Serialize)]
struct Mandatory {
    mandatory: Receives,
}

#[derive(Debug, Serialize)]
struct Empty {}

impl<'a> RoomRequest<'a> {
    /// For `join-room`.
    pub(crate) fn join(room: &'a str, password: Option<&'a str>) -> Self {
        Self {
            sessionid: room,
            session: Kinds { audio: true, video: true },
            media_constraints: Kinds { audio: true, video: true },
            sdp_constraints: Mandatory { mandatory: true.into() },
            streams: [],
            extra: Empty {},
            identifier: None,
            password,
        }
    }

    /// For `open-room`. Without an identifier the room is in no public list.
    pub(crate) fn open(room: &'a str, password: Option<&'a str>) -> Self {
        Self { identifier: Some(""), ..Self::join(room, password) }
    }
}

/// What a participant says to us.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard<'a> {
    /// Came into the room and wants to be offered.
    Request,
    /// Wants to know whether our media are ready; the preferences are to come back unchanged.
    EnableMedia {
        preferences: &'a Value,
    },
    Description {
        description: SessionDescription,
        renegotiates: bool,
        roomcast: bool,
    },
    /// `None` at the end of candidates, which the original page never says.
    Candidate(Option<IceCandidate>),
    Left,
    /// Ends the call and stays.
    Dropped,
    /// Nothing that matters here.
    Other,
}

/// An incoming message: from whom, to whom, and what.
pub(crate) fn read(envelope: &Value) -> Option<(&str, &str, Heard<'_>)> {
    let sender = envelope.get("sender")?.as_str()?;
    let to = envelope.get("remoteUserId")?.as_str()?;
    Some((sender, to, heard(envelope.get("message")?)))
}

/// In the order in which the page looks at the keys.
fn heard(message: &Value) -> Heard<'_> {
    let says = |key: &str| message.get(key).and_then(Value::as_bool) == Some(true);
    if says("streamSyncNeeded") {
        return Heard::Other;
    }
    if message.as_str() == Some("dropPeerConnection") {
        return Heard::Dropped;
    }
    if says("newParticipationRequest") {
        return Heard::Request;
    }
    if says("userLeft") {
        return Heard::Left;
    }
    if let (Some(kind), Some(sdp)) = (message.get("type"), message.get("sdp").and_then(Value::as_str)) {
        let kind = match kind.as_str() {
            Some("offer") => SdpType::Offer,
            Some("answer") => SdpType::Answer,
            _ => return Heard::Other,
        };
        return Heard::Description {
            description: SessionDescription { kind, sdp: sdp.to_owned() },
            renegotiates: says("renegotiatingPeer"),
            roomcast: says("roomcast"),
        };
    }
    if let Some(candidate) = message.get("candidate").and_then(Value::as_str) {
        if candidate.is_empty() {
            return Heard::Candidate(None);
        }
        let index = message.get("sdpMLineIndex").and_then(Value::as_u64);
        return Heard::Candidate(Some(IceCandidate {
            candidate: candidate.to_owned(),
            sdp_mid: message.get("sdpMid").and_then(Value::as_str).map(str::to_owned),
            sdp_m_line_index: index.and_then(|index| u16::try_from(index).ok()),
            username_fragment: None,
        }));
    }
    match message.get("userPreferences") {
        Some(preferences) if says("enableMedia") => Heard::EnableMedia { preferences },
        _ => Heard::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(said: Said<'_>) -> Value {
        serde_json::to_value(said).unwrap()
    }

    #[test]
    fn what_we_write_we_can_read() {
        let (preferences, no) = (json!({ "isOneWay": true }), json!(null));
        let description = |kind| SessionDescription { kind, sdp: "v=0".into() };
        let candidate = IceCandidate {
            candidate: "candidate:1".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        };
        let request = Said::Request {
            new_participation_request: True,
            is_one_way: true,
            is_data_only: false,
            local_peer_sdp_constraints: true.into(),
            remote_peer_sdp_constraints: false.into(),
        };
        let offer = Said::Offer { r#type: SdpType::Offer, sdp: "v=0", renegotiating_peer: true, roomcast: True };
        for (said, expected) in [
            (request, Heard::Request),
            (
                offer,
                Heard::Description { description: description(SdpType::Offer), renegotiates: true, roomcast: true },
            ),
            (
                Said::Answer { r#type: SdpType::Answer, sdp: "v=0" },
                Heard::Description { description: description(SdpType::Answer), renegotiates: false, roomcast: false },
            ),
            (
                Said::Candidate { candidate: "candidate:1", sdp_mid: Some("0"), sdp_m_line_index: Some(0) },
                Heard::Candidate(Some(candidate)),
            ),
            (Said::Left { user_left: True }, Heard::Left),
            // We are never asked for it.
            (Said::Ready { ready_for_offer: True, user_preferences: &preferences }, Heard::Other),
            (Said::Ready { ready_for_offer: True, user_preferences: &no }, Heard::Other),
        ] {
            let value = written(said);
            assert_eq!(heard(&value), expected, "{value}");
        }
    }

    #[test]
    fn requests_have_the_keys_of_the_original() {
        assert_eq!(
            serde_json::to_string(&RoomRequest::join("r1", None)).unwrap(),
            r#"{"sessionid":"r1","session":{"audio":true,"video":true},"mediaConstraints":{"audio":true,"video":true},"sdpConstraints":{"mandatory":{"OfferToReceiveAudio":true,"OfferToReceiveVideo":true}},"streams":[],"extra":{}}"#
        );
        let open = serde_json::to_string(&RoomRequest::open("r1", Some("hush"))).unwrap();
        assert!(open.ends_with(r#""extra":{},"identifier":"","password":"hush"}"#), "{open}");
    }

    #[test]
    fn odd_messages_are_nothing() {
        for message in [
            json!(null),
            json!(7),
            json!([]),
            json!("userLeft"),
            json!({}),
            json!({ "userLeft": 1 }),
            json!({ "type": "offer" }),
            json!({ "type": "offer", "sdp": { "sdp": "v=0" } }),
            json!({ "type": "pranswer", "sdp": "v=0" }),
            json!({ "candidate": { "candidate": "x" } }),
            json!({ "enableMedia": true }),
            json!({ "streamSyncNeeded": true, "userLeft": true }),
        ] {
            assert_eq!(heard(&message), Heard::Other, "{message}");
        }
        for envelope in [json!({}), json!([1]), json!({ "sender": 1, "remoteUserId": "a", "message": {} })] {
            assert_eq!(read(&envelope), None, "{envelope}");
        }
        let big = json!({ "candidate": "candidate:1", "sdpMLineIndex": 70_000, "sdpMid": 3 });
        let Heard::Candidate(Some(candidate)) = heard(&big) else { panic!("no candidate") };
        assert_eq!((candidate.sdp_mid, candidate.sdp_m_line_index), (None, None));
        assert_eq!(heard(&json!("dropPeerConnection")), Heard::Dropped);
        assert_eq!(heard(&json!({ "candidate": "" })), Heard::Candidate(None));
    }
}
