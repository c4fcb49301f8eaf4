//! Room URLs of RTCMultiConnection: `rmc+https://HOST/?room=NAME`, the address of the page.

use url::Url;

use super::super::limits::valid_room;
use super::super::room_url::{Keys, RoomUrlError};

/// The query keys that are ours in this protocol only.
pub(crate) const KEYS: [&str; 1] = ["password"];

/// Finds the room's name and the place as it is shown, and leaves what is dialed.
pub(crate) fn enter(text: &str, dial: &mut Url, keys: &Keys) -> Result<(String, Url), RoomUrlError> {
    let room = keys.get("room").ok_or_else(|| RoomUrlError::missing_room(text))?;
    let room = valid_room(room).ok_or_else(|| RoomUrlError::BadRoom(room.to_owned()))?.to_owned();
    if let Some(other) = keys.get("open").filter(|open| !["yes", "no"].contains(&open.as_str())) {
        return Err(RoomUrlError::BadOpen(other.to_owned()));
    }
    let mut shown = dial.clone();
    shown.set_query(None);
    shown.query_pairs_mut().append_pair("room", &room);
    // The engine has its own path below that of the page.
    let path = format!("{}/socket.io/", dial.path().trim_end_matches('/'));
    dial.set_path(&path);
    Ok((room, shown))
}
