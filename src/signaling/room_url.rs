//! Room URLs: `SCHEME+TRANSPORT://HOST/PATH?OUR_KEYS`, where the scheme is the signaling protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

use super::CallPolicy;
use super::mesh_wire::{MAX_NAME, valid_id, valid_room};
use crate::terms::ParticipantId;

/// The query keys that are ours, of whatever protocol: servers never see them.
const OUR_KEYS: [&str; 8] = ["room", "id", "call", "role", "offer", "origin", "open", "user"];

/// A signaling protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Mesh rooms over one WebSocket (`mesh+ws`, `mesh+wss`).
    Mesh,
    /// A WHEP stream (`whep+http`, `whep+https`): one participant who only sends.
    Whep,
}

/// The prefixes of room URLs with what is left for dialing, and an example of each protocol.
const SCHEMES: &[(&str, &str, Scheme)] = &[
    ("mesh+ws", "ws", Scheme::Mesh),
    ("mesh+wss", "wss", Scheme::Mesh),
    ("whep+http", "http", Scheme::Whep),
    ("whep+https", "https", Scheme::Whep),
];
const EXAMPLE: &str = "mesh+ws://127.0.0.1:8080/ws?room=demo";

/// Where a room is and how to enter it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomUrl {
    scheme: Scheme,
    prefix: &'static str,
    /// What is dialed: without our keys.
    dial: Url,
    room: String,
    /// The place as people write it, without the prefix: without the keys of others, they may be secrets.
    shown: Url,
    id: Option<ParticipantId>,
    call: Option<CallPolicy>,
    /// Our own keys, as they were given.
    keys: Keys,
    token: Option<Token>,
}

/// A secret of the user's.
#[derive(Clone, PartialEq, Eq)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The query keys that are ours.
pub(crate) type Keys = BTreeMap<String, String>;

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
        /// The URL.
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
    /// An unknown value of `call=`.
    #[error("bad call={0:?}; it is all (call everybody) or none (only answer)")]
    BadCall(String),
}

fn known_schemes() -> String {
    SCHEMES.iter().map(|(prefix, ..)| format!("{prefix}://")).collect::<Vec<_>>().join(", ")
}

impl RoomUrl {
    /// The protocol.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The room's name.
    pub fn room(&self) -> &str {
        &self.room
    }

    /// The id that the URL asks for.
    pub fn id(&self) -> Option<&ParticipantId> {
        self.id.as_ref()
    }

    /// Whether the server is on this machine.
    pub fn is_loopback(&self) -> bool {
        match self.dial.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }

    pub(crate) fn call(&self) -> Option<CallPolicy> {
        self.call
    }

    /// One of our own query keys.
    pub(crate) fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }

    /// The bearer token (`token=`), of protocols that have one.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.0.as_str())
    }

    /// What is dialed: the URL without the protocol's prefix and without our own keys.
    pub(crate) fn dial(&self) -> &Url {
        &self.dial
    }
}

impl FromStr for RoomUrl {
    type Err = RoomUrlError;

    fn from_str(text: &str) -> Result<Self, RoomUrlError> {
        let text = text.trim();
        let (prefix, rest) = text.split_once("://").ok_or_else(|| RoomUrlError::NotAUrl(text.to_owned()))?;
        let &(prefix, transport, scheme) = SCHEMES
            .iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(prefix))
            .ok_or_else(|| RoomUrlError::UnknownScheme(prefix.to_owned()))?;
        let malformed = |reason: &str| RoomUrlError::Malformed { url: text.to_owned(), reason: reason.to_owned() };
        let mut dial = Url::parse(&format!("{transport}://{rest}")).map_err(|error| malformed(&error.to_string()))?;
        if dial.port() == Some(0) {
            return Err(malformed("port 0 cannot be dialed"));
        }
        if !dial.username().is_empty() || dial.password().is_some() {
            return Err(malformed("a user name and a password are not used by this protocol"));
        }
        dial.set_fragment(None);

        let (ours, theirs): (Vec<_>, Vec<_>) =
            dial.query_pairs().into_owned().partition(|(key, _)| scheme.is_ours(key));
        if theirs.is_empty() {
            dial.set_query(None);
        } else {
            dial.query_pairs_mut().clear().extend_pairs(theirs);
        }
        let mut keys: Keys = ours.into_iter().collect();
        let token = keys.remove("token").map(Token);
        let (room, shown) = scheme.enter(text, &mut dial, &keys)?;
        let id = keys
            .get("id")
            .map(|id| valid_id(id).map(ParticipantId::new).ok_or_else(|| RoomUrlError::BadId(id.to_owned())))
            .transpose()?;
        let call = match keys.get("call").map(String::as_str).filter(|_| scheme == Scheme::Mesh) {
            None => None,
            Some("all") => Some(CallPolicy::All),
            Some("none") => Some(CallPolicy::None),
            Some(other) => return Err(RoomUrlError::BadCall(other.to_owned())),
        };
        Ok(Self { scheme, prefix, dial, room, shown, id, call, keys, token })
    }
}

impl Scheme {
    /// Whether a query key is ours. Those of a WHEP URL are the server's business, except the token.
    fn is_ours(self, key: &str) -> bool {
        match self {
            Self::Whep => key == "token",
            Self::Mesh => OUR_KEYS.contains(&key),
        }
    }

    /// Finds the room in a URL whose query has lost our keys, and takes from the URL what is not dialed. Returns the
    /// room's name and the place as it is shown.
    fn enter(self, text: &str, dial: &mut Url, keys: &Keys) -> Result<(String, Url), RoomUrlError> {
        let mut shown = dial.clone();
        shown.set_query(None);
        match self {
            Self::Mesh => {
                let room = keys.get("room").ok_or_else(|| RoomUrlError::MissingRoom(text.to_owned()))?;
                let room = valid_room(room).ok_or_else(|| RoomUrlError::BadRoom(room.to_owned()))?.to_owned();
                shown.query_pairs_mut().append_pair("room", &room);
                Ok((room, shown))
            }
            Self::Whep => {
                let name = dial.path().rsplit('/').find(|segment| !segment.is_empty());
                Ok((name.or(dial.host_str()).unwrap_or_default().to_owned(), shown))
            }
        }
    }
}

/// Where the room is, without the keys of others: they may be secrets.
impl fmt::Display for RoomUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown.as_str();
        write!(f, "{}{}", self.prefix, shown.get(shown.find(':').unwrap_or(0)..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_keys_are_removed_before_dialing_and_those_of_others_stay() {
        for (text, dial, room, shown) in [
            ("mesh+ws://h:8080/ws?room=demo", "ws://h:8080/ws", "demo", "mesh+ws://h:8080/ws?room=demo"),
            ("mesh+wss://h/ws?room=r%201&id=me", "wss://h/ws", "r 1", "mesh+wss://h/ws?room=r+1"),
            ("whep+https://h/a/cam?token=s&id=5", "https://h/a/cam?id=5", "cam", "whep+https://h/a/cam"),
            ("whep+http://h:8080/", "http://h:8080/", "h", "whep+http://h:8080/"),
            ("MESH+WS://h/ws?token=s&room=a&call=none", "ws://h/ws?token=s", "a", "mesh+ws://h/ws?room=a"),
            (
                "mesh+ws://[::1]:1/?room=%C3%A9&origin=https%3A%2F%2Fo",
                "ws://[::1]:1/",
                "é",
                "mesh+ws://[::1]:1/?room=%C3%A9",
            ),
        ] {
            let url: RoomUrl = text.parse().unwrap();
            assert_eq!((url.dial().as_str(), url.room(), url.to_string().as_str()), (dial, room, shown), "{text}");
        }
    }

    #[test]
    fn a_token_is_kept_and_never_shown() {
        let url: RoomUrl = "whep+https://h/cam?token=s3cret".parse().unwrap();
        assert_eq!(url.token(), Some("s3cret"));
        assert!(!format!("{url} {url:?}").contains("s3cret"));
    }

    #[test]
    fn a_bad_url_names_its_fault_and_the_way_out() {
        for (text, fault) in [
            ("demo", "is not a room URL; write it like mesh+ws://"),
            ("gst+ws://h/r", "unknown room protocol \"gst+ws\"; known are mesh+ws://, mesh+wss://"),
            ("ws://h/ws?room=a", "unknown room protocol \"ws\""),
            ("mesh+ws://h:99999/ws?room=a", "invalid port number"),
            ("mesh+ws://h:0/ws?room=a", "port 0"),
            ("mesh+ws://?room=a", "empty host"),
            ("mesh+ws://u:p@h/ws?room=a", "user name"),
            ("mesh+ws://h/ws", "names no room; add ?room=NAME"),
            ("mesh+ws://h/ws?room=", "bad room name"),
            ("mesh+ws://h/ws?room=a%0Ab", "bad room name"),
            ("mesh+ws://h/ws?room=a&id=x%20y", "bad id"),
            ("mesh+ws://h/ws?room=a&call=some", "bad call=\"some\"; it is all"),
        ] {
            let error = text.parse::<RoomUrl>().unwrap_err().to_string();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for (host, expected) in
            [("127.0.0.1:1", true), ("localhost", true), ("[::1]", true), ("127.1.2.3", true), ("example.org", false)]
        {
            let url: RoomUrl = format!("mesh+ws://{host}/ws?room=a").parse().unwrap();
            assert_eq!(url.is_loopback(), expected, "{host}");
        }
    }
}
