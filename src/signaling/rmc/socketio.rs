//! Engine.IO 4 and Socket.IO 5 over one WebSocket, as far as a client of the root namespace needs them: texts to packets and
//! back. Pure and without state; the dialect spoken in the events is its user's ([`super`]).
//!
//! Never reads binary attachments or other namespaces: such packets are [`Packet::Other`].

use serde::Serialize;
use serde_json::Value;

use super::super::json::read;

/// Joins the root namespace.
pub(crate) const CONNECT: &str = "40";
/// Leaves it.
pub(crate) const DISCONNECT: &str = "41";
/// Answers a ping; its payload, if any, comes back with it.
const PONG: char = '3';

/// What a server sends.
#[derive(Debug, PartialEq)]
pub(crate) enum Packet<'a> {
    /// The engine is open; its session id and times are of no use to us: the transport watches the connection.
    Open,
    /// Wants a pong with the same payload.
    Ping(&'a str),
    /// We are in the root namespace.
    Connected,
    /// The root namespace refuses us, in its words.
    Refused(String),
    /// The namespace or the engine ends.
    Closed,
    /// An event with its arguments, and the number under which an acknowledgement is wanted.
    Event { name: String, args: Vec<Value>, ack: Option<u64> },
    /// The answer to our event of this number.
    Ack { number: u64, args: Vec<Value> },
    /// Nothing that matters here.
    Other,
}

/// Reads one text. What is malformed is [`Packet::Other`]: one bad packet ends nothing.
pub(crate) fn parse(text: &str) -> Packet<'_> {
    let Some(kind) = text.chars().next() else { return Packet::Other };
    let rest = &text[kind.len_utf8()..];
    match kind {
        '0' => Packet::Open,
        '1' => Packet::Closed,
        '2' => Packet::Ping(rest),
        '4' => message(rest),
        _ => Packet::Other,
    }
}

/// A Socket.IO packet of the root namespace: kind, number, JSON.
fn message(text: &str) -> Packet<'_> {
    let Some(kind) = text.chars().next() else { return Packet::Other };
    let rest = &text[kind.len_utf8()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, data) = rest.split_at(digits);
    // A path here would be another namespace, and is no JSON list.
    match kind {
        '0' if data.is_empty() || data.starts_with('{') => Packet::Connected,
        '1' if data.is_empty() => Packet::Closed,
        '2' => match list(data) {
            Some(mut args) if args.first().is_some_and(Value::is_string) => match args.remove(0) {
                Value::String(name) => Packet::Event { name, args, ack: number.parse().ok() },
                _ => Packet::Other,
            },
            _ => Packet::Other,
        },
        '3' => match (number.parse(), list(data)) {
            (Ok(number), Some(args)) => Packet::Ack { number, args },
            _ => Packet::Other,
        },
        '4' => Packet::Refused(refusal(data)),
        _ => Packet::Other,
    }
}

fn list(data: &str) -> Option<Vec<Value>> {
    read(data).ok()
}

/// The words of a refused namespace: `{"message":"..."}`, or a bare string.
fn refusal(data: &str) -> String {
    let said: Value = read(data).unwrap_or_default();
    let words = said.get("message").and_then(Value::as_str).or(said.as_str()).unwrap_or("no reason given");
    words.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The answer to a ping.
pub(crate) fn pong(payload: &str) -> String {
    format!("{PONG}{payload}")
}

/// An event without acknowledgement.
pub(crate) fn event(name: &str, arg: &impl Serialize) -> String {
    format!("42{}", json(&(name, arg)))
}

/// An event that wants an acknowledgement under a number.
pub(crate) fn request(number: u64, name: &str, arg: &impl Serialize) -> String {
    format!("42{number}{}", json(&(name, arg)))
}

/// The acknowledgement of an event, without arguments.
pub(crate) fn ack(number: u64) -> String {
    format!("43{number}[]")
}

fn json(list: &impl Serialize) -> String {
    // What is sent are strings, numbers and maps with string keys: there is nothing that JSON cannot say.
    serde_json::to_string(list).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn packets_are_read() {
        let event = |name: &str, args: Value, ack| Packet::Event {
            name: name.into(),
            args: args.as_array().cloned().unwrap_or_default(),
            ack,
        };
        for (text, packet) in [
            (r#"0{"sid":"a","upgrades":[],"pingInterval":25000}"#, Packet::Open),
            ("2", Packet::Ping("")),
            ("2probe", Packet::Ping("probe")),
            ("1", Packet::Closed),
            (r#"40{"sid":"b"}"#, Packet::Connected),
            ("40", Packet::Connected),
            ("41", Packet::Closed),
            (r#"42["x",1,{"a":null}]"#, event("x", json!([1, { "a": null }]), None)),
            (r#"427["x"]"#, event("x", json!([]), Some(7))),
            (r#"430[true]"#, Packet::Ack { number: 0, args: vec![json!(true)] }),
            (r#"4312[false,"Room full"]"#, Packet::Ack { number: 12, args: vec![json!(false), json!("Room full")] }),
            (r#"44{"message":"go\naway"}"#, Packet::Refused("goaway".into())),
            (r#"44"old""#, Packet::Refused("old".into())),
            ("44", Packet::Refused("no reason given".into())),
        ] {
            assert_eq!(parse(text), packet, "{text}");
        }
    }

    #[test]
    fn what_is_malformed_or_not_for_us_is_nothing() {
        let deep = format!(r#"42["x",{}{}]"#, "[".repeat(100_000), "]".repeat(100_000));
        let number = format!("43{}[true]", "9".repeat(100));
        for text in [
            "",
            "4",
            "5",
            "é",
            "4é",
            "3",
            "6",
            "42",
            "42{}",
            "42[]",
            "42[1]",
            "42[null,1]",
            r#"42["x""#,
            r#"42/admin,["x"]"#,
            "40/admin,{}",
            "41/admin,",
            "43[true]",
            "430",
            "430{}",
            "45",
            r#"451-["x",{"_placeholder":true,"num":0}]"#,
            "46",
            number.as_str(),
            deep.as_str(),
        ] {
            assert_eq!(parse(text), Packet::Other, "{}", &text[..text.len().min(60)]);
        }
    }

    #[test]
    fn packets_are_written() {
        assert_eq!(event("x", &json!({ "a": 1 })), r#"42["x",{"a":1}]"#);
        assert_eq!(request(0, "join-room", &"r"), r#"420["join-room","r"]"#);
        assert_eq!(ack(7), "437[]");
        assert_eq!((pong("").as_str(), pong("probe").as_str()), ("3", "3probe"));
    }

    #[test]
    fn what_we_write_we_can_read() {
        let text = request(3, "x", &json!({ "sdp": "v=0\r\n\"quoted\"" }));
        let read = Packet::Event { name: "x".into(), args: vec![json!({ "sdp": "v=0\r\n\"quoted\"" })], ack: Some(3) };
        assert_eq!(parse(&text), read);
    }
}
