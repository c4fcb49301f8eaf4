//! `whip+https://HOST/PATH?token=TOKEN&video=vp8`: a WHIP endpoint that the mix is pushed to.

use url::{Url, form_urlencoded};

use super::super::uplink::Endpoint;
use super::settings::Settings;
use super::tracks::Stream::{CopiedAudio, CopiedVideo, H264, Opus, Vp8};
use super::tracks::Tracks;
use super::{Destination, Parsed};

const FORM: &str = "write whip+https://HOST/PATH?token=TOKEN";

/// A WHIP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhipDestination {
    /// Where it is.
    pub endpoint: Endpoint,
    /// What to send where H.264 is not taken; `None` when the URL says what to send.
    pub otherwise: Option<Tracks>,
}

/// Reads `whip+http://` and `whip+https://`. Keys that are not ours stay: they are the server's business.
pub(super) fn parse(text: &str) -> Parsed {
    let address = text.strip_prefix("whip+").unwrap_or(text);
    let mut url = Url::parse(address).map_err(|error| format!("{error}: {FORM}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("WHIP knows no user names and passwords: {FORM}"));
    }
    url.set_fragment(None);
    let query = url.query().unwrap_or_default().to_owned();
    let (ours, theirs): (Vec<_>, Vec<_>) =
        query.split('&').filter(|pair| !pair.is_empty()).partition(|pair| is_ours(pair));
    let chosen = ours.iter().any(|pair| pair.starts_with("video"));
    let ours = ours.join("&");
    let mut settings = Settings::new(&ours);
    let tracks = Tracks::take(&mut settings, &[H264, Vp8, CopiedVideo], &[Opus, CopiedAudio])?;
    settings.end()?;
    let insecure = theirs.iter().find_map(|pair| pair.strip_prefix("insecure="));
    if insecure.is_some_and(|value| value != "1" || url.scheme() != "https") {
        return Err("insecure=1 accepts any certificate of this server, which TLS alone has".into());
    }
    let theirs = theirs.join("&");
    url.set_query(Some(theirs.as_str()).filter(|theirs| !theirs.is_empty()));
    let whole = format!("whip+{url}");
    url.set_query(None);
    let endpoint = Endpoint::new(whole, format!("whip+{url}"));
    let otherwise = (!chosen).then_some(Tracks { video: Some(Vp8), ..tracks });
    Ok((Destination::Whip(WhipDestination { endpoint, otherwise }), tracks))
}

/// What is for us; all else is for whoever dials, or for the server.
fn is_ours(pair: &str) -> bool {
    form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| matches!(&*key, "video" | "audio"))
}

#[cfg(test)]
mod tests {
    use super::super::OutputSpec;
    use super::*;

    #[test]
    fn an_endpoint_keeps_its_token_and_never_shows_it() {
        let text = "whip+https://h:8443/live/stage?key=5&token=s3cret&video=vp8";
        let spec: OutputSpec = text.parse().unwrap();
        let Destination::Whip(WhipDestination { endpoint, otherwise }) = &spec.destination else { panic!("{spec:?}") };
        assert_eq!(*otherwise, None);
        assert_eq!(spec.tracks, Tracks::both(Vp8, Opus));
        assert_eq!(endpoint.with_secrets(), "whip+https://h:8443/live/stage?key=5&token=s3cret");
        assert_eq!(endpoint.to_string(), "whip+https://h:8443/live/stage");
        let shown = format!("{spec} {spec:?} {:?} {:?} {}", spec.destination, spec.claims(), spec.refuse("no"));
        assert!(!shown.contains("s3cret") && !shown.contains("key=5"), "{shown}");
        let other: OutputSpec = "whip+https://h:8443/live/stage?token=other".parse().unwrap();
        assert_eq!(spec.claims(), other.claims(), "one endpoint takes one stream");
        assert_eq!(other.tracks, Tracks::both(H264, Opus));
        let Destination::Whip(whip) = other.destination else { panic!() };
        assert_eq!(whip.otherwise, Some(Tracks::both(Vp8, Opus)));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_token() {
        for (text, expected) in [
            ("whip+https://?token=s3cret", "empty host"),
            ("whip+https://h:99999/x?token=s3cret", "invalid port"),
            ("whip+https://u:s3cret@h/x", "no user names"),
            ("whip+https://h/x?token=s3cret&video=av1", "video=av1 is not supported: use h264, vp8, copy, none"),
            ("whip+http://h/x?token=s3cret&insecure=1", "which TLS alone has"),
            ("whip://h/x?token=s3cret", "whip+https://"),
            ("https://h/x?token=s3cret", "unknown scheme `https`"),
        ] {
            let reason = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(reason.contains(expected) && !reason.contains("s3cret"), "{text}: {reason}");
        }
    }
}
