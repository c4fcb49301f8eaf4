//! The words of GStreamer's `simple_server`, as client and embedded server read and write them.
//!
//! One command per text frame. Commands are compared by their exact words: the original goes by prefixes, and trips over it.
//! What participants tell each other is in [`super::payload`].

use std::fmt;

/// The longest uid and room that we join or let pass, in bytes. The original has no limit.
const MAX_WORD: usize = 255;
/// What the ids of roomcast's bridges begin with.
pub(crate) const GATEWAY_PREFIX: &str = "rc-";

/// Why the server closes: the only two reasons that the original gives.
pub(crate) const INVALID_UID: &str = "invalid peer uid";
pub(crate) const INVALID_PROTOCOL: &str = "invalid protocol";

/// Whether a text can be a uid or a room: one word that everything on its way can print.
pub(crate) fn is_word(text: &str) -> bool {
    (1..=MAX_WORD).contains(&text.len()) && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Whether a text can be a room: `session` is what the original calls a member's other state.
pub(crate) fn is_room(text: &str) -> bool {
    is_word(text) && text != "session"
}

/// Whether this is the id of a bridge that chose its id itself.
pub(crate) fn is_gateway(id: &str) -> bool {
    id.strip_prefix(GATEWAY_PREFIX).is_some_and(|hex| hex.len() == 8 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The first word, and what follows the white space behind it; white space at the end stays.
fn split(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// What a client says to the server. An argument that is missing is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToServer<'a> {
    Hello(&'a str),
    Session(&'a str),
    Room(&'a str),
    PeerMessage { to: &'a str, text: &'a str },
    PeerList,
    Other,
}

impl<'a> ToServer<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let (word, rest) = split(text);
        match word {
            "HELLO" => Self::Hello(rest),
            "SESSION" => Self::Session(rest),
            "ROOM" => Self::Room(rest),
            "ROOM_PEER_MSG" => {
                let (to, text) = split(rest);
                Self::PeerMessage { to, text }
            }
            "ROOM_PEER_LIST" => Self::PeerList,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for ToServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(id) => write!(f, "HELLO {id}"),
            Self::Session(id) => write!(f, "SESSION {id}"),
            Self::Room(room) => write!(f, "ROOM {room}"),
            Self::PeerMessage { to, text } => write!(f, "ROOM_PEER_MSG {to} {text}"),
            Self::PeerList => f.write_str("ROOM_PEER_LIST"),
            Self::Other => Ok(()),
        }
    }
}

/// What the server says to a client. In a session what comes is not the server's but the other side's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromServer<'a> {
    Hello,
    SessionOk,
    RoomOk(Vec<&'a str>),
    PeerList(Vec<&'a str>),
    PeerJoined(&'a str),
    PeerLeft(&'a str),
    PeerMessage { from: &'a str, text: &'a str },
    Error(Fault),
    Other,
}

impl<'a> FromServer<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        if let Some(fault) = text.strip_prefix("ERROR") {
            return Self::Error(Fault::parse(fault.trim()));
        }
        let (word, rest) = split(text);
        match word {
            "HELLO" if rest.is_empty() => Self::Hello,
            "SESSION_OK" if rest.is_empty() => Self::SessionOk,
            "ROOM_OK" => Self::RoomOk(rest.split_whitespace().collect()),
            "ROOM_PEER_LIST" => Self::PeerList(rest.split_whitespace().collect()),
            "ROOM_PEER_JOINED" => Self::PeerJoined(rest.trim_end()),
            "ROOM_PEER_LEFT" => Self::PeerLeft(rest.trim_end()),
            "ROOM_PEER_MSG" => {
                let (from, text) = split(rest);
                Self::PeerMessage { from, text }
            }
            _ => Self::Other,
        }
    }
}

impl fmt::Display for FromServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello => f.write_str("HELLO"),
            Self::SessionOk => f.write_str("SESSION_OK"),
            // The space stays when nobody is there: mp-webrtc-sendrecv.c looks for it.
            Self::RoomOk(peers) => write!(f, "ROOM_OK {}", peers.join(" ")),
            Self::PeerList(peers) => write!(f, "ROOM_PEER_LIST {}", peers.join(" ")),
            Self::PeerJoined(peer) => write!(f, "ROOM_PEER_JOINED {peer}"),
            Self::PeerLeft(peer) => write!(f, "ROOM_PEER_LEFT {peer}"),
            Self::PeerMessage { from, text } => write!(f, "ROOM_PEER_MSG {from} {text}"),
            Self::Error(fault) => write!(f, "ERROR {fault}"),
            Self::Other => Ok(()),
        }
    }
}

/// What the server refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotFound(String),
    Busy(String),
    NotInRoom(String),
    InvalidRoom(String),
    /// Nothing but `ROOM_PEER_…` is said in a room.
    InRoom,
    /// A command without what it needs, or where it has no meaning.
    Invalid,
    RoomFull,
    TooManyRooms,
    Other(String),
}

impl Fault {
    fn parse(text: &str) -> Self {
        let named = |before: &str, after: &str| {
            let quoted = text.strip_prefix(before)?.strip_suffix(after)?.trim();
            unquote(quoted)
        };
        if let Some(peer) = named("peer ", " not found") {
            return Self::NotFound(peer);
        }
        if let Some(peer) = named("peer ", " busy") {
            return Self::Busy(peer);
        }
        if let Some(peer) = named("peer ", " is not in the room") {
            return Self::NotInRoom(peer);
        }
        if let Some(room) = named("invalid room id ", "") {
            return Self::InvalidRoom(room);
        }
        let words = [Self::InRoom, Self::Invalid, Self::RoomFull, Self::TooManyRooms];
        words.into_iter().find(|fault| fault.to_string() == text).unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(peer) => write!(f, "peer {} not found", quote(peer)),
            Self::Busy(peer) => write!(f, "peer {} busy", quote(peer)),
            Self::NotInRoom(peer) => write!(f, "peer {} is not in the room", quote(peer)),
            Self::InvalidRoom(room) => write!(f, "invalid room id {}", quote(room)),
            Self::InRoom => f.write_str("invalid msg, already in room"),
            Self::Invalid => f.write_str("invalid msg"),
            Self::RoomFull => f.write_str("room is full"),
            Self::TooManyRooms => f.write_str("too many rooms"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Quotes as Python's `repr` does: in apostrophes, or in quotation marks when there is an apostrophe inside.
fn quote(text: &str) -> String {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(mark);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            _ if c == mark => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ => quoted.push(c),
        }
    }
    quoted.push(mark);
    quoted
}

fn unquote(quoted: &str) -> Option<String> {
    let mark = quoted.chars().next().filter(|mark| matches!(mark, '\'' | '"'))?;
    let inside = quoted.get(1..)?.strip_suffix(mark)?;
    let (mut text, mut escaped) = (String::new(), false);
    for c in inside.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            text.push(c);
            escaped = false;
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_survives_a_round_trip() {
        for text in ["HELLO a", "SESSION b", "ROOM r1", "ROOM_PEER_LIST", "ROOM_PEER_MSG b two  words "] {
            assert_eq!(ToServer::parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_servers_say_survives_a_round_trip() {
        for text in [
            "HELLO",
            "SESSION_OK",
            "ROOM_OK ",
            "ROOM_OK b c",
            "ROOM_PEER_LIST b c",
            "ROOM_PEER_JOINED d",
            "ROOM_PEER_LEFT d",
            "ROOM_PEER_MSG a two  words ",
            "ERROR peer 'x' not found",
            r#"ERROR peer "it's" busy"#,
            r#"ERROR peer 'both\'and"\\' is not in the room"#,
            "ERROR invalid room id 'x y'",
            "ERROR invalid msg, already in room",
            "ERROR invalid msg",
            "ERROR room is full",
            "ERROR something new",
        ] {
            assert_eq!(FromServer::parse(text).to_string(), text);
        }
    }

    #[test]
    fn commands_are_exact_words_and_arguments_may_be_missing() {
        for (text, read) in [
            ("HELLO", ToServer::Hello("")),
            ("HELLO  a b ", ToServer::Hello("a b ")),
            ("HELLO\ta", ToServer::Hello("a")),
            ("HELLOa", ToServer::Other),
            (" HELLO a", ToServer::Other),
            ("hello a", ToServer::Other),
            ("SESSIONX b", ToServer::Other),
            ("SESSION", ToServer::Session("")),
            ("ROOM_PEER_MSG b", ToServer::PeerMessage { to: "b", text: "" }),
            ("ROOM_PEER_MSG b ", ToServer::PeerMessage { to: "b", text: "" }),
            ("ROOM_PEER_MSG", ToServer::PeerMessage { to: "", text: "" }),
            ("", ToServer::Other),
            ("\u{0}", ToServer::Other),
        ] {
            assert_eq!(ToServer::parse(text), read, "{text:?}");
        }
    }

    #[test]
    fn words_have_no_white_space_and_nothing_that_cannot_be_printed() {
        let long = "x".repeat(256);
        for (text, word, room) in [
            ("a", true, true),
            ("it's", true, true),
            ("é-1", true, true),
            ("session", true, false),
            ("", false, false),
            ("a b", false, false),
            ("a ", false, false),
            ("a\u{a0}b", false, false),
            ("a\u{1b}", false, false),
            ("a\0", false, false),
            (&long, false, false),
        ] {
            assert_eq!((is_word(text), is_room(text)), (word, room), "{text:?}");
        }
        assert!(is_gateway("rc-0123abcd") && !is_gateway("rc-cam") && !is_gateway("rc-0123abcg"));
    }
}
