//! Room URLs of WHEP, `whep+https://HOST/PATH`, the address of a stream, and of WHIP, `whip+https://HOST/PATH`, where one is sent to.

use url::Url;

/// The query keys that are ours. All others are the server's business.
pub(crate) const KEYS: [&str; 3] = ["token", "origin", "insecure"];

/// Finds the stream's name and the place as it is shown; the URL is dialed as it is.
pub(crate) fn enter(dial: &Url) -> (String, Url) {
    let name = dial.path().rsplit('/').find(|segment| !segment.is_empty());
    let mut shown = dial.clone();
    shown.set_query(None);
    (name.or(dial.host_str()).unwrap_or_default().to_owned(), shown)
}
