//! What of an output may be shown: stream keys, passphrases, tokens and passwords never reach a log, an event or a screen.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Settings whose values are secret.
const SECRET_SETTINGS: [&str; 6] = ["key", "passphrase", "password", "streamid", "streamkey", "token"];

/// The only settings of a WHIP endpoint that are not: what else stands there is for its server, and may be one.
const OPEN_SETTINGS_OF_WHIP: [&str; 4] = ["video", "audio", "insecure", "origin"];

/// The output's text with its secrets replaced. Two outputs that differ in a secret still differ.
pub(super) fn redact(text: &str) -> String {
    let (place, query) = text.split_once('?').map_or((text, None), |(place, query)| (place, Some(query)));
    let mut shown = redact_place(place);
    if let Some(query) = query {
        let settings = query.split('&').map(|setting| match setting.split_once('=') {
            Some((key, secret)) if is_secret(place, key) => format!("{key}={}", stand_in(secret)),
            _ => setting.to_owned(),
        });
        shown += "?";
        shown += &settings.collect::<Vec<_>>().join("&");
    }
    shown
}

fn is_secret(place: &str, key: &str) -> bool {
    SECRET_SETTINGS.contains(&key) || place.starts_with("whip") && !OPEN_SETTINGS_OF_WHIP.contains(&key)
}

/// A password in front of the host, and the stream key at the end of an RTMP address.
fn redact_place(place: &str) -> String {
    let Some((scheme, rest)) = place.split_once("://") else { return place.to_owned() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, password)) => format!("{name}:{}@{host}", stand_in(password)),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    let path = path.map(|path| match path.rsplit_once('/') {
        Some((application, key)) if scheme.starts_with("rtmp") && !key.is_empty() => {
            format!("/{application}/{}", stand_in(key))
        }
        _ => format!("/{path}"),
    });
    format!("{scheme}://{authority}{}", path.unwrap_or_default())
}

/// Sixteen bits of a hash: enough to tell two keys apart, too few to find one.
fn stand_in(secret: &str) -> String {
    let mut hasher = DefaultHasher::new();
    secret.hash(&mut hasher);
    format!("…{:04x}", hasher.finish() & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_and_still_tell_outputs_apart() {
        for (text, secret, kept) in [
            ("rtmp://live.example/app/s3cret-key", "s3cret-key", "rtmp://live.example/app/…"),
            ("rtmps://live.example:443/app/s3cret?x=1", "s3cret", "?x=1"),
            ("rtsp://user:s3cret@host:554/live", "s3cret", "rtsp://user:…"),
            ("srt://host:9000?passphrase=s3cret1234&latency=200", "s3cret1234", "&latency=200"),
            ("rtp://127.0.0.1:5004?sdp=x&key=s3cret", "s3cret", "rtp://127.0.0.1:5004?sdp=x&key=…"),
            ("whip+https://host/whip/a?token=s3cret", "s3cret", "whip+https://host/whip/a?token=…"),
            ("whip+https://host/a?jwt=s3cret&video=vp8", "s3cret", "&video=vp8"),
        ] {
            let shown = redact(text);
            assert!(!shown.contains(secret), "{shown}");
            assert!(shown.contains(kept), "{shown}");
        }
        assert_ne!(redact("rtmp://h/app/one"), redact("rtmp://h/app/two"));
    }

    #[test]
    fn what_has_no_secret_stays_as_it_is() {
        for text in
            ["rtp://127.0.0.1:5004?sdp=call.sdp", "hls:www?segment=2", "call.mkv", "rtmp://host/app", "a?b=c.mkv"]
        {
            assert_eq!(redact(text), text);
        }
    }
}
