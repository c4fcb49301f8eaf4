//! Room URLs of gst-plugins-rs' signalling: `gstrs+ws://HOST:8443/?producer=NAME`. The room is the server, or what its path
//! names.

use percent_encoding::percent_decode_str;
use url::Url;

use super::super::limits::valid_room;
use super::super::room_url::{Keys, RoomUrlError};

/// The query keys that are ours in this protocol only.
pub(crate) const KEYS: [&str; 1] = ["producer"];

/// Finds the room's name and the place as it is shown; the URL is dialed as it is.
pub(crate) fn enter(text: &str, dial: &Url, keys: &Keys) -> Result<(String, Url), RoomUrlError> {
    if keys.contains_key("room") {
        return Err(RoomUrlError::no_rooms(text));
    }
    let last = dial.path().trim_matches('/').rsplit('/').next().filter(|segment| !segment.is_empty());
    let name = last.map(|last| percent_decode_str(last).decode_utf8_lossy());
    let room = name.as_deref().or(dial.host_str()).and_then(valid_room).unwrap_or("producers").to_owned();
    let mut shown = dial.clone();
    shown.set_query(None);
    if let Some(producer) = keys.get("producer") {
        shown.query_pairs_mut().append_pair("producer", producer);
    }
    Ok((room, shown))
}
