//! `whip+https://HOST/PATH?token=TOKEN&video=vp8`: a WHIP endpoint that the mix is pushed to.

use url::{Url, form_urlencoded};

use super::super::uplink::Endpoint;

/// A WHIP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhipDestination {
    /// Where it is.
    pub endpoint: Endpoint,
    /// How the picture is encoded for it.
    pub video: WhipVideo,
}

/// How the picture is encoded for a WHIP endpoint. All that are known take H.264, which other outputs take as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhipVideo {
    /// Constrained baseline, packetization mode 1.
    #[default]
    H264,
    /// VP8, encoded besides H.264 when other outputs take that.
    Vp8,
}

/// What can be shown of a text that may be a URL with a secret in it: no query, no login.
pub(super) fn without_secrets(text: &str) -> String {
    let (place, hidden) = text.find(['?', '#']).map_or((text, ""), |at| text.split_at(at));
    let (scheme, rest) = place.find("://").map_or(("", place), |at| place.split_at(at + 3));
    let shown = match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}…@{host}"),
        // Perhaps a login with a question mark in its password.
        None if hidden.contains('@') && !rest.contains('/') => format!("{scheme}…"),
        None => place.to_owned(),
    };
    if hidden.is_empty() { shown } else { format!("{shown}?…") }
}

/// Reads `whip+http://` and `whip+https://`. Keys that are not ours stay: they are the server's business.
pub(super) fn parse(text: &str) -> Result<WhipDestination, String> {
    const FORM: &str = "write whip+https://HOST/PATH?token=TOKEN";
    let address = text.strip_prefix("whip+").unwrap_or(text);
    let mut url = Url::parse(address).map_err(|error| format!("{error}: {FORM}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("the host is missing: {FORM}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("WHIP knows no user names and passwords: {FORM}"));
    }
    url.set_fragment(None);
    let mut video = WhipVideo::default();
    let mut theirs = Vec::new();
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match form_urlencoded::parse(pair.as_bytes()).next() {
            Some((key, value)) if key == "video" => {
                video = match &*value {
                    "h264" => WhipVideo::H264,
                    "vp8" => WhipVideo::Vp8,
                    _ => return Err("video= is h264 or vp8".into()),
                }
            }
            Some((key, value)) if key == "insecure" && (value != "1" || url.scheme() != "https") => {
                return Err("insecure=1 accepts any certificate of this server, which TLS alone has".into());
            }
            _ => theirs.push(pair),
        }
    }
    let theirs = theirs.join("&");
    url.set_query(Some(theirs.as_str()).filter(|theirs| !theirs.is_empty()));
    let whole = format!("whip+{url}");
    url.set_query(None);
    Ok(WhipDestination { endpoint: Endpoint::new(whole, format!("whip+{url}")), video })
}

#[cfg(test)]
mod tests {
    use super::super::{Destination, OutputSpec};
    use super::*;

    #[test]
    fn an_endpoint_keeps_its_token_and_never_shows_it() {
        let text = "whip+https://h:8443/live/stage?key=5&token=s3cret&video=vp8";
        let spec: OutputSpec = text.parse().unwrap();
        let Destination::Whip(whip) = &spec.destination else { panic!("{spec:?}") };
        assert_eq!(whip.video, WhipVideo::Vp8);
        assert_eq!(whip.endpoint.with_secrets(), "whip+https://h:8443/live/stage?key=5&token=s3cret");
        assert_eq!(spec.to_string(), "whip+https://h:8443/live/stage");
        let shown = format!("{spec:?} {:?} {}", spec.claims(), spec.refuse("no"));
        assert!(!shown.contains("s3cret") && !shown.contains("key=5"), "{shown}");
        let other: OutputSpec = "whip+https://h:8443/live/stage?token=other".parse().unwrap();
        assert_eq!(spec.claims(), other.claims(), "one endpoint takes one stream");
        let Destination::Whip(whip) = other.destination else { panic!() };
        assert_eq!(whip.video, WhipVideo::H264);
    }

    #[test]
    fn what_is_wrong_is_named_without_the_token() {
        for (text, expected) in [
            ("whip+https://?token=s3cret", "empty host"),
            ("whip+https://h:99999/x?token=s3cret", "invalid port"),
            ("whip+https://u:s3cret@h/x", "no user names"),
            ("whip+https://h/x?token=s3cret&video=av1", "video= is h264 or vp8"),
            ("whip+http://h/x?token=s3cret&insecure=1", "which TLS alone has"),
            ("whip://h/x?token=s3cret", "whip+https://"),
            ("https://h/x?token=s3cret", "unknown scheme `https`"),
        ] {
            let reason = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(reason.contains(expected) && !reason.contains("s3cret"), "{text}: {reason}");
        }
    }
}
