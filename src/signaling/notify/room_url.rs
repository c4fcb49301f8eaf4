//! Room URLs of notify: `notify+ws://HOST/call/ID`. The path is the room.

use url::Url;

use super::super::room_url::{Keys, RoomUrlError};
use super::talk::Role;

/// Finds the call's id and the place as it is shown; the URL is dialed as it is.
pub(crate) fn enter(text: &str, dial: &Url, keys: &Keys) -> Result<(String, Url), RoomUrlError> {
    if let Some(role) = keys.get("role").filter(|role| Role::parse(role).is_none()) {
        return Err(RoomUrlError::BadRole(role.to_owned()));
    }
    let id = dial.path().rsplit('/').next().filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| RoomUrlError::missing_call(text))?.to_owned();
    let mut shown = dial.clone();
    shown.set_query(None);
    Ok((id, shown))
}
