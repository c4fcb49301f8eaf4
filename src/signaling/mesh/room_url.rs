//! Room URLs of mesh: `mesh+ws://HOST/ws?room=NAME`.

use url::Url;

use super::super::CallPolicy;
use super::super::limits::valid_room;
use super::super::room_url::{Keys, RoomUrl, RoomUrlError};

/// Whom we call, if the URL says so.
pub(crate) fn policy(url: &RoomUrl) -> Option<CallPolicy> {
    url.key("call").and_then(parse)
}

fn parse(call: &str) -> Option<CallPolicy> {
    match call {
        "all" => Some(CallPolicy::All),
        "none" => Some(CallPolicy::None),
        _ => None,
    }
}

/// Finds the room's name and the place as it is shown; the URL is dialed as it is.
pub(crate) fn enter(text: &str, dial: &Url, keys: &Keys) -> Result<(String, Url), RoomUrlError> {
    if let Some(call) = keys.get("call").filter(|call| parse(call).is_none()) {
        return Err(RoomUrlError::BadCall(call.to_owned()));
    }
    let room = keys.get("room").ok_or_else(|| RoomUrlError::missing_room(text))?;
    let room = valid_room(room).ok_or_else(|| RoomUrlError::BadRoom(room.to_owned()))?.to_owned();
    let mut shown = dial.clone();
    shown.set_query(None);
    shown.query_pairs_mut().append_pair("room", &room);
    Ok((room, shown))
}
