//! The messages of notify, for client and server alike: a question for the configuration, its answer, and the relay of
//! whatever two peers say to each other.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::{ice_servers, json};
use crate::terms::{IceCandidate, IceServer, SessionDescription};

/// The only thing that can be asked for.
const CONFIGURATION: &str = "/peerconnection";

/// One text of a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// Asks for the configuration.
    Get {
        /// Comes back in the answer, whatever it is.
        msg_id: Option<Value>,
    },
    /// The configuration.
    Configuration {
        /// As in the question.
        msg_id: Option<Value>,
        ice_servers: Vec<IceServer>,
    },
    /// For the other side.
    Notify(Value),
}

#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_id: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

const NOTHING: Outgoing<'static> =
    Outgoing { method: None, code: None, msg_id: None, resource: None, data: None, result: None };

impl Message {
    /// Reads a text; `None` is what both sides ignore.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut object: Map<String, Value> = json::read(text).ok()?;
        let msg_id = object.remove("msg_id");
        let word = |key: &str| object.get(key).and_then(Value::as_str);
        match (word("method"), word("code")) {
            (Some("GET"), _) if word("resource") == Some(CONFIGURATION) => Some(Self::Get { msg_id }),
            (Some("NOTIFY"), _) => object.remove("data").map(Self::Notify),
            (None, Some("success")) => {
                let servers = object.get("result").and_then(|result| result.pointer("/configuration/iceServers"));
                Some(Self::Configuration { msg_id, ice_servers: ice_servers::read(servers) })
            }
            _ => None,
        }
    }

    pub(crate) fn to_json(&self) -> String {
        let outgoing = match self {
            Self::Get { msg_id } => {
                Outgoing { method: Some("GET"), msg_id: msg_id.as_ref(), resource: Some(CONFIGURATION), ..NOTHING }
            }
            Self::Configuration { msg_id, ice_servers } => {
                let servers: Vec<_> = ice_servers.iter().map(both_spellings).collect();
                let result = json!({ "configuration": { "iceServers": servers } });
                Outgoing { code: Some("success"), msg_id: msg_id.as_ref(), result: Some(result), ..NOTHING }
            }
            Self::Notify(data) => Outgoing { method: Some("NOTIFY"), data: Some(data), ..NOTHING },
        };
        // Nothing in it has a key that is no text, the only thing that JSON refuses.
        serde_json::to_string(&outgoing).unwrap_or_default()
    }
}

/// Old pages know `url` only, browsers of today `urls` only.
fn both_spellings(server: &IceServer) -> Value {
    let mut entry = serde_json::to_value(server).unwrap_or_default();
    if let (Some(entry), Some(url)) = (entry.as_object_mut(), server.urls.first()) {
        entry.insert("url".to_owned(), url.as_str().into());
    }
    entry
}

/// What two peers say to each other, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Signal {
    Description(SessionDescription),
    /// `None` marks the end of candidates.
    Candidate(Option<IceCandidate>),
    Unknown,
}

impl Signal {
    pub(crate) fn read(data: Value) -> Self {
        match data {
            Value::Null => Self::Candidate(None),
            Value::Object(object) if object.contains_key("type") => {
                serde_json::from_value(Value::Object(object)).map_or(Self::Unknown, Self::Description)
            }
            Value::Object(object) if object.contains_key("candidate") => {
                if object["candidate"].is_null() {
                    return Self::Candidate(None);
                }
                match serde_json::from_value::<IceCandidate>(Value::Object(object)) {
                    Ok(candidate) if candidate.candidate.is_empty() => Self::Candidate(None),
                    Ok(candidate) => Self::Candidate(Some(candidate)),
                    Err(_) => Self::Unknown,
                }
            }
            _ => Self::Unknown,
        }
    }

    pub(crate) fn write(&self) -> Value {
        match self {
            Self::Description(description) => serde_json::to_value(description).unwrap_or_default(),
            Self::Candidate(candidate) => serde_json::to_value(candidate).unwrap_or_default(),
            Self::Unknown => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let server = |urls: &[&str]| IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: Some("u".into()),
            credential: None,
        };
        for message in [
            Message::Get { msg_id: None },
            Message::Get { msg_id: Some(json!("x1")) },
            Message::Get { msg_id: Some(Value::Null) },
            Message::Notify(Value::Null),
            Message::Notify(json!({ "type": "offer", "sdp": "v=0\r\n" })),
        ] {
            assert_eq!(Message::parse(&message.to_json()), Some(message.clone()), "{message:?}");
        }
        let text = Message::Configuration { msg_id: Some(json!(1)), ice_servers: vec![server(&["stun:a", "stun:b"])] };
        assert_eq!(Message::parse(&text.to_json()), Some(text.clone()));
        let text: Value = serde_json::from_str(&text.to_json()).unwrap();
        let entry = json!({ "url": "stun:a", "urls": ["stun:a", "stun:b"], "username": "u" });
        let expected =
            json!({ "code": "success", "msg_id": 1, "result": { "configuration": { "iceServers": [entry] } } });
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_no_message_is_nothing() {
        for text in [
            "",
            "not json",
            "[1]",
            "7",
            r#"{"method":"PUT"}"#,
            r#"{"method":"GET"}"#,
            r#"{"method":"GET","resource":"/other"}"#,
            r#"{"method":7,"resource":"/peerconnection"}"#,
            r#"{"method":"NOTIFY"}"#,
            r#"{"code":"failure"}"#,
        ] {
            assert_eq!(Message::parse(text), None, "{text}");
        }
        let deep = format!(r#"{{"method":"NOTIFY","data":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(Message::parse(&deep), None);
    }
}
