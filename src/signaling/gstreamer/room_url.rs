//! Where a GStreamer URL finds its room, or whom to call: the server ignores paths, so the last one is ours.

use percent_encoding::percent_decode_str;
use url::Url;

use super::super::room_url::{Keys, RoomUrl, RoomUrlError};
use super::wire::{is_room, is_word};
use crate::terms::ParticipantId;

/// What to do once we are registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Join a room.
    Room(String),
    /// Call somebody.
    Call(ParticipantId),
    /// Be called.
    Wait,
}

impl Goal {
    pub(crate) fn of(url: &RoomUrl) -> Self {
        match (url.key("call"), url.key("room")) {
            (Some(peer), _) => Self::Call(ParticipantId::new(peer)),
            (None, Some(room)) => Self::Room(room.to_owned()),
            (None, None) => Self::Wait,
        }
    }
}

/// Takes the room from the path, unless a key says what is wanted. Returns the name of the place and how it is shown.
pub(crate) fn enter(text: &str, dial: &mut Url, keys: &mut Keys) -> Result<(String, Url), RoomUrlError> {
    let mut shown = dial.clone();
    shown.set_query(None);
    let malformed = |reason: &str| RoomUrlError::malformed(text, reason);
    if keys.contains_key("call") && keys.contains_key("room") {
        return Err(malformed("call= calls somebody and room= joins a room: use one of them"));
    }
    if let Some(peer) = keys.get("call") {
        shown.query_pairs_mut().append_pair("call", word("call", peer, is_word)?);
        return Ok((peer.clone(), shown));
    }
    if let Some(room) = keys.get("room") {
        shown.query_pairs_mut().append_pair("room", word("room", room, is_room)?);
        return Ok((room.clone(), shown));
    }
    let path = dial.path().to_owned();
    let (parent, last) = path.rsplit_once('/').unwrap_or(("", &path));
    if last.is_empty() {
        let me = keys.get("id").ok_or_else(|| {
            malformed(
                "it names no room; end it with /ROOM, with ?call=PEER to call somebody, or with ?id=ME to be called",
            )
        })?;
        shown.query_pairs_mut().append_pair("id", word("id", me, is_word)?);
        return Ok((me.clone(), shown));
    }
    let room = percent_decode_str(last).decode_utf8().map_err(|_| malformed("the room is not UTF-8"))?.into_owned();
    word("room", &room, is_room)?;
    dial.set_path(parent);
    keys.insert("room".to_owned(), room.clone());
    Ok((room, shown))
}

/// Checks a word ourselves: the original takes what follows a space for something else.
pub(crate) fn word<'a>(what: &'static str, value: &'a str, good: fn(&str) -> bool) -> Result<&'a str, RoomUrlError> {
    if good(value) { Ok(value) } else { Err(RoomUrlError::BadWord { what, value: value.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Goal {
        Goal::Room(name.into())
    }

    #[test]
    fn the_last_segment_is_the_room_and_keys_say_otherwise() {
        let call = |peer: &str| Goal::Call(ParticipantId::new(peer));
        for (text, dial, goal, name, shown) in [
            ("gst+wss://h:8443/demo", "wss://h:8443/", room("demo"), "demo", "gst+wss://h:8443/demo"),
            ("gst+ws://h:8080/gst/R?id=me", "ws://h:8080/gst", room("R"), "R", "gst+ws://h:8080/gst/R"),
            ("gst+ws://h/a/b/R?token=s", "ws://h/a/b?token=s", room("R"), "R", "gst+ws://h/a/b/R"),
            ("gst+ws://h/%C3%A9", "ws://h/", room("é"), "é", "gst+ws://h/%C3%A9"),
            ("gst+ws://h/gst?room=R", "ws://h/gst", room("R"), "R", "gst+ws://h/gst?room=R"),
            ("gst+wss://h/?call=cam", "wss://h/", call("cam"), "cam", "gst+wss://h/?call=cam"),
            ("gst+wss://h/gst?call=cam&id=me", "wss://h/gst", call("cam"), "cam", "gst+wss://h/gst?call=cam"),
            ("gst+wss://h?id=me", "wss://h/", Goal::Wait, "me", "gst+wss://h/?id=me"),
            ("gst+ws://h/gst/?id=it's", "ws://h/gst/", Goal::Wait, "it's", "gst+ws://h/gst/?id=it%27s"),
        ] {
            let url: RoomUrl = text.parse().unwrap();
            assert_eq!((url.dial().as_str(), Goal::of(&url), url.room()), (dial, goal, name), "{text}");
            assert_eq!(url.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_the_server_would_misread_is_refused_before_dialing() {
        for (text, fault) in [
            ("gst+ws://h", "it names no room; end it with /ROOM"),
            ("gst+ws://h/gst/", "it names no room"),
            ("gst+ws://h/a%20b", "bad room \"a b\"; it is one word"),
            ("gst+ws://h/session", "bad room \"session\""),
            ("gst+ws://h/%FF", "not UTF-8"),
            ("gst+ws://h/a%00", "bad room"),
            ("gst+ws://h/r?id=x%20y", "bad id \"x y\"; it is one word"),
            ("gst+ws://h/r?id=", "bad id"),
            ("gst+ws://h/?call=x%0Ay", "bad call"),
            ("gst+ws://h/?call=x&room=y", "use one of them"),
        ] {
            let error = text.parse::<RoomUrl>().unwrap_err().to_string();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }
}
