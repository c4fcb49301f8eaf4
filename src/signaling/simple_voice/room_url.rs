//! Room URLs of Simple Voice: `simplevoice+http://HOST/BASE?room=NAME`.

use url::Url;

use super::super::limits::valid_id;
use super::super::room_url::{Keys, RoomUrlError};
use super::phase::OfferBy;

/// Finds the room's name and the place as it is shown; the URL is the base of all requests.
pub(crate) fn enter(text: &str, dial: &Url, keys: &Keys) -> Result<(String, Url), RoomUrlError> {
    if let Some(offer) = keys.get("offer").filter(|offer| OfferBy::parse(offer).is_none()) {
        return Err(RoomUrlError::BadOffer(offer.to_owned()));
    }
    let room = keys.get("room").ok_or_else(|| RoomUrlError::missing_room(text))?;
    let room = valid_id(room).ok_or_else(|| RoomUrlError::BadVoiceRoom(room.to_owned()))?.to_owned();
    let mut shown = dial.clone();
    shown.set_query(None);
    shown.query_pairs_mut().append_pair("room", &room);
    Ok((room, shown))
}
