//! What Simple Voice sends, for client and server alike: five requests with a few parameters, and small JSON objects in
//! return.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::super::transport::http::{Request, Response};
use super::super::{ice_servers, json};
use crate::terms::{IceServer, SdpType, SessionDescription};

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Join,
    Offer,
    GetAnswer,
    Answer,
    Leave,
}

impl Act {
    /// The request for it under a base path, with the parameters of a form.
    pub(super) fn request(self, base: &Url, form: &[(&str, String)]) -> Request {
        let mut url = base.clone();
        // Cannot fail: a URL with a host has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(self.path());
        }
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        Request { method: Method::POST, url, headers: headers.into_iter().collect(), body, patience: self.patience() }
    }

    /// Its name under the base path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Offer => "offer",
            Self::GetAnswer => "get_answer",
            Self::Answer => "answer",
            Self::Leave => "leave",
        }
    }

    /// How long a client waits for the reply. The server may hold two of them for 10 s.
    fn patience(self) -> Duration {
        match self {
            Self::Join | Self::GetAnswer => Duration::from_secs(30),
            Self::Offer | Self::Answer => Duration::from_secs(10),
            Self::Leave => Duration::from_secs(2),
        }
    }
}

/// Why a server refuses, as it spells it.
pub(crate) const ROOM_FULL: Refusal =
    Refusal { kind: "RoomFull", msg: "The room you are trying to join is already full" };
pub(crate) const INVALID_STATE: Refusal = Refusal { kind: "InvalidState", msg: "State is invalid!" };

/// An error's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) msg: &'static str,
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// We have an id; with a description we are the second in the room.
    Joined { id: String, ice_servers: Vec<IceServer>, data: Option<SessionDescription> },
    /// A description.
    Data(SessionDescription),
    /// Nothing yet.
    Again,
    /// An error, whatever the status.
    Refused { kind: String, message: String },
    /// Something else, or nothing at all.
    Unknown,
}

impl Response {
    /// Whether the status promises success.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Reads the body. Keys count without regard to case, unknown ones not at all.
    pub(super) fn said(&self) -> Said {
        let Ok(object) = json::read::<Map<String, Value>>(&self.body) else { return Said::Unknown };
        let get = |key: &str| object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        let text = |key: &str| get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let (Some(kind), Some(message)) = (text("type"), text("msg")) {
            return Said::Refused { kind: kind.to_owned(), message: message.to_owned() };
        }
        let data = get("data").filter(|data| !data.is_null());
        let description = data.and_then(description);
        match (text("id"), data, description) {
            // A description that cannot be read is not the same as none.
            (_, Some(_), None) => Said::Unknown,
            (Some(id), _, data) => {
                Said::Joined { id: id.to_owned(), ice_servers: ice_servers::read(get("servers")), data }
            }
            (None, _, Some(description)) => Said::Data(description),
            (None, None, None) if get("again").is_some() => Said::Again,
            (None, None, None) => Said::Unknown,
        }
    }
}

/// A description as an object, or as the JSON text of one.
pub(crate) fn description(data: &Value) -> Option<SessionDescription> {
    match data {
        Value::String(text) => json::read(text).ok(),
        object => serde_json::from_value(object.clone()).ok(),
    }
}

/// The offer of a join's reply. The original's description labels it an answer; it is one when its DTLS role is still open.
pub(crate) fn as_offer(mut description: SessionDescription) -> Option<SessionDescription> {
    let open = description.sdp.lines().any(|line| line.trim_end() == "a=setup:actpass");
    if description.kind == SdpType::Answer && open {
        description.kind = SdpType::Offer;
    }
    (description.kind == SdpType::Offer).then_some(description)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn said(body: &str) -> Said {
        let url = "http://h/sv/join".parse().unwrap();
        Response { status: 200, url, headers: HeaderMap::new(), body: body.to_owned() }.said()
    }

    #[test]
    fn replies_are_read_in_every_spelling() {
        let offer = SessionDescription { kind: SdpType::Offer, sdp: "v=0\r\n".into() };
        let joined = |servers: usize, data: Option<&SessionDescription>| {
            let ice_servers =
                vec![IceServer { urls: vec!["stun:a".into()], username: None, credential: None }; servers];
            Said::Joined { id: "k3f0".into(), ice_servers, data: data.cloned() }
        };
        for (body, expected) in [
            (r#"{"ID":"k3f0","Servers":[]}"#, joined(0, None)),
            (r#"{"id":"k3f0","servers":[{"url":"stun:a"}],"extra":{}}"#, joined(1, None)),
            (r#"{"ID":"k3f0"}"#, joined(0, None)),
            (r#"{"ID":"k3f0","data":{"type":"offer","sdp":"v=0\r\n"}}"#, joined(0, Some(&offer))),
            (r#"{"ID":"k3f0","Data":"{\"type\":\"offer\",\"sdp\":\"v=0\\r\\n\"}"}"#, joined(0, Some(&offer))),
            (r#"{"data":{"type":"offer","sdp":"v=0\r\n"}}"#, Said::Data(offer.clone())),
            (r#"{"again":"again"}"#, Said::Again),
            (r#"{"type":"X","msg":"Y"}"#, Said::Refused { kind: "X".into(), message: "Y".into() }),
            ("{}", Said::Unknown),
            ("", Said::Unknown),
            ("<html>", Said::Unknown),
            ("[1]", Said::Unknown),
            (r#"{"ID":7}"#, Said::Unknown),
            (r#"{"ID":"k","data":{"type":"banana"}}"#, Said::Unknown),
        ] {
            assert_eq!(said(body), expected, "{body}");
        }
    }

    #[test]
    fn errors_are_written_as_the_original_writes_them() {
        assert_eq!(
            serde_json::to_string(&ROOM_FULL).unwrap(),
            r#"{"type":"RoomFull","msg":"The room you are trying to join is already full"}"#
        );
        assert_eq!(
            serde_json::to_string(&INVALID_STATE).unwrap(),
            r#"{"type":"InvalidState","msg":"State is invalid!"}"#
        );
    }
}
