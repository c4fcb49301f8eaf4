//! Room URLs: `SCHEME+TRANSPORT://HOST/PATH?OUR_KEYS`, where the scheme is the signaling protocol.
//!
//! Here is what all have in common, and the table of schemes. Where a protocol finds its room, and what it calls a bad URL, is in
//! the `room_url` of its directory.

mod error;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use url::{Host, Url, form_urlencoded};

use self::error::without_secrets;
use super::gstreamer::wire::is_word;
use super::limits::valid_id;
use super::{gstreamer, gstrs, mesh, notify, rmc, simple_voice, whep};
use crate::terms::ParticipantId;

pub use error::RoomUrlError;

/// The query keys that are ours, of whatever protocol: servers never see them.
const OUR_KEYS: [&str; 9] = ["room", "id", "call", "role", "offer", "origin", "open", "user", "insecure"];

/// A signaling protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Mesh rooms over one WebSocket (`mesh+ws`, `mesh+wss`).
    Mesh,
    /// Rooms and calls of GStreamer's `simple_server` (`gst+ws`, `gst+wss`).
    GStreamer,
    /// Two parties who share a path of rtclite's relay (`notify+ws`, `notify+wss`).
    Notify,
    /// Calls of two that are set up over HTTP (`simplevoice+http`, `simplevoice+https`).
    SimpleVoice,
    /// RTCMultiConnection on Socket.IO (`rmc+http`, `rmc+https`).
    Rmc,
    /// The signalling of gst-plugins-rs' webrtcsink (`gstrs+ws`, `gstrs+wss`).
    Gstrs,
    /// A WHEP stream (`whep+http`, `whep+https`): one participant who only sends.
    Whep,
    /// A WHIP endpoint (`whip+http`, `whip+https`): one participant who only takes.
    Whip,
}

/// The prefixes of room URLs with what is left for dialing, and an example of each protocol.
const SCHEMES: &[(&str, &str, Scheme)] = &[
    ("mesh+ws", "ws", Scheme::Mesh),
    ("mesh+wss", "wss", Scheme::Mesh),
    ("gst+ws", "ws", Scheme::GStreamer),
    ("gst+wss", "wss", Scheme::GStreamer),
    ("notify+ws", "ws", Scheme::Notify),
    ("notify+wss", "wss", Scheme::Notify),
    ("simplevoice+http", "http", Scheme::SimpleVoice),
    ("simplevoice+https", "https", Scheme::SimpleVoice),
    ("rmc+http", "ws", Scheme::Rmc),
    ("rmc+https", "wss", Scheme::Rmc),
    ("gstrs+ws", "ws", Scheme::Gstrs),
    ("gstrs+wss", "wss", Scheme::Gstrs),
    ("whep+http", "http", Scheme::Whep),
    ("whep+https", "https", Scheme::Whep),
    ("whip+http", "http", Scheme::Whip),
    ("whip+https", "https", Scheme::Whip),
];
const EXAMPLE: &str = "mesh+ws://127.0.0.1:8080/ws?room=demo";

/// Where a room is and how to enter it.
#[derive(Clone, PartialEq, Eq)]
pub struct RoomUrl {
    scheme: Scheme,
    prefix: &'static str,
    /// What is dialed: without our keys.
    dial: Url,
    room: String,
    /// The place as people write it, without the prefix: without the keys of others, they may be secrets.
    shown: Url,
    id: Option<ParticipantId>,
    /// Our own keys, as they were given.
    keys: Keys,
}

/// The query keys that are ours.
pub(crate) type Keys = BTreeMap<String, String>;

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

    /// One of our own query keys.
    pub(crate) fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }

    /// Whether any certificate will do for this room's server (`insecure=1`): nobody then knows who listens.
    pub(crate) fn accepts_any_certificate(&self) -> bool {
        self.keys.contains_key("insecure")
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
        let (prefix, rest) = text.split_once("://").ok_or_else(|| RoomUrlError::NotAUrl(without_secrets(text)))?;
        let &(prefix, transport, scheme) = SCHEMES
            .iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(prefix))
            .ok_or_else(|| RoomUrlError::UnknownScheme(without_secrets(prefix)))?;
        let malformed = |reason: &str| RoomUrlError::malformed(text, reason);
        let mut dial = Url::parse(&format!("{transport}://{rest}")).map_err(|error| malformed(&error.to_string()))?;
        if dial.port() == Some(0) {
            return Err(malformed("port 0 cannot be dialed"));
        }
        if !dial.username().is_empty() || dial.password().is_some() {
            return Err(malformed("a user name and a password are not used by this protocol"));
        }
        dial.set_fragment(None);

        let ours = |key: &str| scheme.takes(key);
        let mut keys: Keys = dial.query_pairs().into_owned().filter(|(key, _)| ours(key)).collect();
        // The others stay as they are written: to some servers the text of the query is a part of the room's name.
        let theirs = dial
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty() && !form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| ours(&key)));
        let theirs = theirs.collect::<Vec<_>>().join("&");
        dial.set_query(Some(theirs.as_str()).filter(|theirs| !theirs.is_empty()));
        if let Some(value) = keys.get("insecure").filter(|value| *value != "1" || !matches!(transport, "wss" | "https"))
        {
            return Err(RoomUrlError::BadInsecure(value.clone()));
        }
        let (room, shown) = scheme.enter(text, &mut dial, &mut keys)?;
        let id = keys.get("id").map(|id| scheme.id(id)).transpose()?;
        Ok(Self { scheme, prefix, dial, room, shown, id, keys })
    }
}

impl Scheme {
    /// Whether a call can be negotiated anew, to find another path for its media for example.
    pub fn renegotiates(self) -> bool {
        self != Self::SimpleVoice
    }

    /// Whether a query key is ours in this protocol.
    fn takes(self, key: &str) -> bool {
        let common = OUR_KEYS.contains(&key);
        match self {
            Self::Mesh | Self::GStreamer | Self::Notify | Self::SimpleVoice => common,
            Self::Rmc => common || rmc::room_url::KEYS.contains(&key),
            Self::Gstrs => common || gstrs::room_url::KEYS.contains(&key),
            Self::Whep | Self::Whip => whep::room_url::KEYS.contains(&key),
        }
    }

    /// Finds the room in a URL whose query has lost our keys, and takes from the URL what is not dialed. Returns the
    /// room's name and the place as it is shown.
    fn enter(self, text: &str, dial: &mut Url, keys: &mut Keys) -> Result<(String, Url), RoomUrlError> {
        match self {
            Self::Mesh => mesh::room_url::enter(text, dial, keys),
            Self::GStreamer => gstreamer::room_url::enter(text, dial, keys),
            Self::Notify => notify::room_url::enter(text, dial, keys),
            Self::SimpleVoice => simple_voice::room_url::enter(text, dial, keys),
            Self::Rmc => rmc::room_url::enter(text, dial, keys),
            Self::Gstrs => gstrs::room_url::enter(text, dial, keys),
            Self::Whep | Self::Whip => Ok(whep::room_url::enter(dial)),
        }
    }

    /// Reads our own id.
    fn id(self, id: &str) -> Result<ParticipantId, RoomUrlError> {
        match self {
            Self::Mesh | Self::Notify | Self::SimpleVoice | Self::Rmc | Self::Gstrs | Self::Whep | Self::Whip => {
                valid_id(id).map(ParticipantId::new).ok_or_else(|| RoomUrlError::BadId(id.to_owned()))
            }
            Self::GStreamer => gstreamer::room_url::word("id", id, is_word).map(ParticipantId::new),
        }
    }

    /// Whether `me` takes its own offer back when it crosses one of `peer` (W3C WebRTC, perfect negotiation).
    pub(crate) fn polite(self, me: &ParticipantId, peer: &ParticipantId) -> bool {
        match self {
            Self::Mesh => mesh::order::polite(me, peer),
            // The others ignore a colliding offer; where pages do otherwise, the codec has settled it before.
            Self::GStreamer | Self::Rmc | Self::Gstrs => true,
            // The codec keeps our offer and ignores theirs; with the others no two can cross.
            Self::Notify | Self::SimpleVoice | Self::Whep | Self::Whip => false,
        }
    }
}

/// As it is shown to people: a password among the keys must not get into a log.
impl fmt::Debug for RoomUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomUrl({self})")
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
            ("notify+ws://h:8080/call/1234", "ws://h:8080/call/1234", "1234", "notify+ws://h:8080/call/1234"),
            ("notify+wss://h/x?role=caller&a=b%20c&d", "wss://h/x?a=b%20c&d", "x", "notify+wss://h/x"),
            ("simplevoice+http://h/sv/?room=r&offer=join", "http://h/sv/", "r", "simplevoice+http://h/sv/?room=r"),
            ("simplevoice+https://h?room=r", "https://h/", "r", "simplevoice+https://h/?room=r"),
            ("whep+https://h/a/cam?token=s&id=5", "https://h/a/cam?id=5", "cam", "whep+https://h/a/cam"),
            ("whep+https://h/cam?insecure=1&origin=o&a", "https://h/cam?a", "cam", "whep+https://h/cam"),
            ("whep+http://h:8080/", "http://h:8080/", "h", "whep+http://h:8080/"),
            (
                "whip+https://h/live/stage?token=s&key=5",
                "https://h/live/stage?key=5",
                "stage",
                "whip+https://h/live/stage",
            ),
            ("MESH+WS://h/ws?token=s&room=a&call=none", "ws://h/ws?token=s", "a", "mesh+ws://h/ws?room=a"),
            (
                "mesh+ws://[::1]:1/?room=%C3%A9&origin=https%3A%2F%2Fo",
                "ws://[::1]:1/",
                "é",
                "mesh+ws://[::1]:1/?room=%C3%A9",
            ),
            ("rmc+http://h:9001/?room=a b", "ws://h:9001/socket.io/", "a b", "rmc+http://h:9001/?room=a+b"),
            (
                "rmc+https://h/app?token=s&room=a&password=hush&open=no",
                "wss://h/app/socket.io/?token=s",
                "a",
                "rmc+https://h/app?room=a",
            ),
            ("gstrs+ws://h:8443", "ws://h:8443/", "h", "gstrs+ws://h:8443/"),
            (
                "gstrs+wss://h/gstrs/hall 2?producer=cam 1&token=s",
                "wss://h/gstrs/hall%202?token=s",
                "hall 2",
                "gstrs+wss://h/gstrs/hall%202?producer=cam+1",
            ),
        ] {
            let url: RoomUrl = text.parse().unwrap();
            assert_eq!((url.dial().as_str(), url.room(), url.to_string().as_str()), (dial, room, shown), "{text}");
        }
    }

    #[test]
    fn a_token_is_kept_and_never_shown() {
        let url: RoomUrl = "whep+https://h/cam?token=s3cret".parse().unwrap();
        assert_eq!(url.key("token"), Some("s3cret"));
        assert!(!format!("{url} {url:?}").contains("s3cret"));
    }

    #[test]
    fn a_bad_url_names_its_fault_and_the_way_out() {
        for (text, fault) in [
            ("demo", "is not a room URL; write it like mesh+ws://"),
            ("foo+ws://h/r", "unknown room protocol \"foo+ws\"; known are mesh+ws://, mesh+wss://"),
            ("mesh+ws://h/ws?room=a&insecure=1", "bad insecure=\"1\"; insecure=1 accepts any"),
            ("mesh+wss://h/ws?room=a&insecure=yes", "bad insecure=\"yes\""),
            ("ws://h/ws?room=a", "unknown room protocol \"ws\""),
            ("mesh+ws://h:99999/ws?room=a", "invalid port number"),
            ("mesh+ws://h:0/ws?room=a", "port 0"),
            ("mesh+ws://?room=a", "empty host"),
            ("mesh+ws://u:p@h/ws?room=a", "user name"),
            ("mesh+ws://h/ws", "names no room; add ?room=NAME"),
            ("mesh+ws://h/ws?room=", "bad room name"),
            ("mesh+ws://h/ws?room=a%0Ab", "bad room name"),
            ("mesh+ws://h/ws?room=a&id=x%20y", "bad id"),
            ("simplevoice+http://h/sv", "names no room; add ?room=NAME"),
            ("simplevoice+http://h/sv?room=a%20b", "bad room name \"a b\"; in this protocol"),
            ("simplevoice+http://h/sv?room=a&offer=never", "bad offer=\"never\"; it is join"),
            ("notify+ws://h/?role=caller", "names no call; write it like notify+ws://"),
            ("notify+ws://h/call/1?role=boss", "bad role=\"boss\"; it is auto"),
            ("mesh+ws://h/ws?room=a&call=some", "bad call=\"some\"; it is all"),
            ("gstrs+ws://h/?room=a", "this protocol has none: a server is one; producer=NAME"),
            ("rmc+http://h/", "names no room; add ?room=NAME"),
            ("rmc+http://h/?room=a&open=maybe", "bad open=\"maybe\"; it is no"),
        ] {
            let error = text.parse::<RoomUrl>().unwrap_err().to_string();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }

    #[test]
    fn a_bad_url_does_not_show_its_secrets() {
        for text in [
            "h/cam?token=s3cret",
            "whep+https:/h/cam?token=s3cret",
            "foo+ws://h/r?token=s3cret",
            "foo?token=s3cret://h/r",
            "whep+https://h:99999/cam?token=s3cret",
            "whep+https://u:s3cret@h/cam",
            "whep+https://u:s3cret@h:99999/cam#s3cret",
            "whep+https://u:p/s3cret@h/cam",
            "whep+https://u:p?s3cret@h/cam",
            "whep+https://h/cam?insecure=2&token=s3cret",
            "mesh+ws://h/ws?token=s3cret",
            "mesh+ws://h/ws?token=a@s3cret",
            "gst+ws://h/?token=s3cret",
            "gstrs+ws://h/?room=a&token=s3cret",
            "notify+ws://h/?token=s3cret",
            "rmc+http://h/?password=s3cret",
            "simplevoice+http://h/sv?token=s3cret",
        ] {
            let error = text.parse::<RoomUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown_and_never_dialed() {
        let url: RoomUrl = "rmc+http://h/?room=a&password=hush".parse().unwrap();
        assert_eq!(url.key("password"), Some("hush"));
        assert!(!format!("{url} {url:?} {}", url.dial()).contains("hush"));
        let mesh: RoomUrl = "mesh+ws://h/ws?room=a&password=theirs".parse().unwrap();
        assert_eq!(mesh.dial().as_str(), "ws://h/ws?password=theirs", "other protocols know no such key");
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
