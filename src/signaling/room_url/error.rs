//! Why a text is not a room's URL. What may be secret in it is never repeated.

use super::super::limits::MAX_NAME;
use super::{EXAMPLE, SCHEMES};

/// Why a text is not a room's URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomUrlError {
    /// No `scheme://`.
    #[error("\"{0}\" is not a room URL; write it like {EXAMPLE}")]
    NotAUrl(String),
    /// A protocol that is not spoken here.
    #[error("unknown room protocol \"{0}\"; known are {known}, for example {EXAMPLE}", known = known_schemes())]
    UnknownScheme(String),
    /// Host, port or path are malformed.
    #[error("bad room URL \"{url}\": {reason}; write it like {EXAMPLE}")]
    Malformed {
        /// The URL, without what may be secret.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// No `room=`.
    #[error("the room URL \"{0}\" names no room; add ?room=NAME")]
    MissingRoom(String),
    /// An impossible room name.
    #[error("bad room name {0:?}; it takes 1 to {MAX_NAME} bytes without control characters")]
    BadRoom(String),
    /// An impossible id.
    #[error("bad id {0:?}; it takes 1 to {MAX_NAME} of the characters A-Z a-z 0-9 _ -")]
    BadId(String),
    /// Something that must be one word, in a protocol of words.
    #[error(
        "bad {what} {value:?}; it is one word of at most 255 bytes without white space, and no room is called session"
    )]
    BadWord {
        /// Which part of the URL.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// An unknown value of `insecure=`.
    #[error("bad insecure={0:?}; insecure=1 accepts any certificate of this room's server, which TLS alone has")]
    BadInsecure(String),
    /// A room where there are none.
    #[error(
        "\"{0}\" asks for a room, but this protocol has none: a server is one; producer=NAME picks one of its producers"
    )]
    NoRooms(String),
    /// An unknown value of `open=`.
    #[error("bad open={0:?}; it is no (wait until somebody opens the room) or yes (open it)")]
    BadOpen(String),
    /// An unknown value of `call=`.
    #[error("bad call={0:?}; it is all (call everybody) or none (only answer)")]
    BadCall(String),
    /// A notify URL without an id in its path.
    #[error("the room URL \"{0}\" names no call; write it like notify+ws://127.0.0.1:8080/call/1234")]
    MissingCall(String),
    /// An unknown value of `role=`.
    #[error("bad role={0:?}; it is auto (offer when no offer waits), caller (offer) or callee (wait for an offer)")]
    BadRole(String),
    /// A room name that Simple Voice servers may not take.
    #[error("bad room name {0:?}; in this protocol it takes 1 to {MAX_NAME} of the characters A-Z a-z 0-9 _ -")]
    BadVoiceRoom(String),
    /// An unknown value of `offer=`.
    #[error("bad offer={0:?}; it is join (sent with the join), upload (sent after it) or auto (whichever works)")]
    BadOffer(String),
}

fn known_schemes() -> String {
    SCHEMES.iter().map(|(prefix, ..)| format!("{prefix}://")).collect::<Vec<_>>().join(", ")
}

impl RoomUrlError {
    /// Host, port or path of this URL are malformed.
    pub(in super::super) fn malformed(text: &str, reason: &str) -> Self {
        Self::Malformed { url: without_secrets(text), reason: reason.to_owned() }
    }

    /// This URL names no room.
    pub(in super::super) fn missing_room(text: &str) -> Self {
        Self::MissingRoom(without_secrets(text))
    }

    /// This URL names no call.
    pub(in super::super) fn missing_call(text: &str) -> Self {
        Self::MissingCall(without_secrets(text))
    }

    /// This URL asks for a room where there are none.
    pub(in super::super) fn no_rooms(text: &str) -> Self {
        Self::NoRooms(without_secrets(text))
    }
}

/// What can be repeated of a URL, however malformed it is: not its query, which may have a token, and no login.
pub(super) fn without_secrets(text: &str) -> String {
    let (scheme, rest) = text.find("://").map_or(("", text), |at| text.split_at(at + 3));
    let (scheme, rest) = if scheme.contains(['?', '#', '@']) { ("", text) } else { (scheme, rest) };
    let (place, hidden) = rest.find(['?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let place = match place.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        // Perhaps a login with a question mark in its password.
        None if hidden.contains('@') && !place.contains('/') => String::new(),
        None => place.to_owned(),
    };
    format!("{scheme}{place}{}", if hidden.is_empty() { "" } else { "?…" })
}
