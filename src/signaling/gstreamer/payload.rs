//! What GStreamer participants tell each other: JSON behind `ROOM_PEER_MSG` in a room, and bare in a session.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::super::json;
use crate::terms::{IceCandidate, SdpType, SessionDescription};

/// Asks the other side of a session to offer.
const OFFER_REQUEST: &str = "OFFER_REQUEST";

/// What participants tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Description(SessionDescription),
    /// `None` is the end of candidates: browsers may send it, GStreamer does not.
    Candidate(Option<IceCandidate>),
    OfferRequest,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Json<'a> {
    Sdp(&'a SessionDescription),
    Ice(&'a Option<IceCandidate>),
}

impl Payload {
    /// Reads what another participant sent. `None` is what we do not understand.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.trim() == OFFER_REQUEST {
            return Some(Self::OfferRequest);
        }
        let mut json: Value = json::read(text).ok()?;
        if let Some(sdp) = json.get_mut("sdp") {
            let description: SessionDescription = serde_json::from_value(sdp.take()).ok()?;
            let known = matches!(description.kind, SdpType::Offer | SdpType::Answer) && !description.sdp.is_empty();
            return known.then_some(Self::Description(description));
        }
        let candidate: Option<IceCandidate> = serde_json::from_value(json.get_mut("ice")?.take()).ok()?;
        Some(Self::Candidate(candidate.filter(|candidate| !candidate.candidate.is_empty())))
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = match self {
            Self::OfferRequest => return f.write_str(OFFER_REQUEST),
            Self::Description(description) => Json::Sdp(description),
            Self::Candidate(candidate) => Json::Ice(candidate),
        };
        // Strings and numbers only: there is nothing in it that JSON cannot say.
        f.write_str(&serde_json::to_string(&json).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_survive_a_round_trip() {
        for text in [
            r#"{"sdp":{"type":"offer","sdp":"v=0\r\n"}}"#,
            r#"{"ice":{"candidate":"candidate:1 1 UDP 1 192.0.2.9 9 typ host","sdpMLineIndex":0}}"#,
            r#"{"ice":{"candidate":"candidate:1","sdpMid":"a","sdpMLineIndex":0,"usernameFragment":"u"}}"#,
            r#"{"ice":null}"#,
            "OFFER_REQUEST",
        ] {
            assert_eq!(Payload::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_description_and_no_candidate_is_nothing() {
        let deep = format!(r#"{{"sdp":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            r#"{"sdp":"initial sdp"}"#,
            r#"{"sdp":{"type":"offer","sdp":7}}"#,
            r#"{"sdp":{"type":"offer"}}"#,
            r#"{"sdp":{"type":"rollback","sdp":"v=0"}}"#,
            r#"{"sdp":null}"#,
            r#"{"ice":7}"#,
            r#"{"ice":{"candidate":["x"]}}"#,
            r#"{"ice":{"candidate":"candidate:1","sdpMLineIndex":-1}}"#,
            r#"{"other":1}"#,
            "[]",
            "7",
            "{",
            "",
            "\u{0}",
            "hello",
            &deep,
        ] {
            assert_eq!(Payload::parse(text), None, "{}", &text[..text.len().min(60)]);
        }
        assert_eq!(Payload::parse(r#"{"ice":{"candidate":""}}"#), Some(Payload::Candidate(None)));
    }
}
