//! What of an output may be shown: stream keys, passphrases, tokens and passwords never reach a log, an event or a screen.

use std::hash::{DefaultHasher, Hash, Hasher};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::rtmp;

/// Settings whose values are secret.
const SECRET_SETTINGS: [&str; 6] = ["key", "passphrase", "password", "streamid", "streamkey", "token"];

/// The only settings of a WHIP endpoint that are not: what else stands there is for its server, and may be one.
const OPEN_SETTINGS_OF_WHIP: [&str; 4] = ["video", "audio", "insecure", "origin"];

/// Shorter words are in every second sentence.
const SHORTEST: usize = 3;

/// The secrets of one output and what is shown in their place.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Notes a secret in the forms in which others may write it. Returns what stands for it.
    fn note(&mut self, secret: &str) -> String {
        let shown = stand_in(secret);
        let decoded = percent_decode_str(secret).decode_utf8_lossy().into_owned();
        let spaced = decoded.replace('+', " ");
        // As our own probe writes it.
        let encoded = utf8_percent_encode(&spaced, NON_ALPHANUMERIC).to_string();
        for form in [encoded, secret.replace('+', " "), spaced, decoded, secret.to_owned()] {
            if form.len() >= SHORTEST && !self.0.iter().any(|(known, _)| *known == form) {
                self.0.push((form, shown.clone()));
            }
        }
        // A secret that begins like another must not leave the rest of it behind.
        self.0.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        shown
    }

    /// The text without the secrets: for words of others, who know nothing of secrets.
    pub(super) fn scrub(&self, text: String) -> String {
        self.0.iter().fold(text, |text, (secret, shown)| text.replace(secret, shown))
    }
}

/// The output's text with its secrets replaced, and the secrets. Two outputs that differ in a secret still differ.
pub(super) fn redact(text: &str) -> (String, Secrets) {
    let mut secrets = Secrets::default();
    let (place, query) = text.split_once('?').map_or((text, None), |(place, query)| (place, Some(query)));
    let is_rtmp = place.starts_with("rtmp://") || place.starts_with("rtmps://");
    let mut shown = redact_place(place, is_rtmp, &mut secrets);
    if let Some(query) = query {
        let settings = query.split('&').map(|setting| match setting.split_once('=') {
            // What is not ours belongs to the stream key.
            Some((key, secret)) if is_rtmp && !rtmp::OUR_SETTINGS.contains(&key) => {
                format!("{key}={}", secrets.note(secret))
            }
            Some((key, secret)) if is_secret(place, key) => format!("{key}={}", secrets.note(secret)),
            None if is_rtmp => secrets.note(setting),
            _ => setting.to_owned(),
        });
        let settings = settings.collect::<Vec<_>>();
        shown += "?";
        shown += &settings.join("&");
    }
    (shown, secrets)
}

fn is_secret(place: &str, key: &str) -> bool {
    SECRET_SETTINGS.contains(&key) || place.starts_with("whip") && !OPEN_SETTINGS_OF_WHIP.contains(&key)
}

/// A password in front of the host, and the stream key at the end of an RTMP address.
fn redact_place(place: &str, is_rtmp: bool, secrets: &mut Secrets) -> String {
    let Some((scheme, rest)) = place.split_once("://") else { return place.to_owned() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, password)) => format!("{name}:{}@{host}", secrets.note(password)),
            // A name alone may be a token.
            None => format!("{}@{host}", secrets.note(user)),
        },
        None => authority.to_owned(),
    };
    let path = path.map(|path| match path.rsplit_once('/') {
        Some((application, key)) if is_rtmp && !key.is_empty() => format!("/{application}/{}", secrets.note(key)),
        _ => format!("/{path}"),
    });
    format!("{scheme}://{authority}{}", path.unwrap_or_default())
}

/// Sixteen bits of a hash: enough to tell two keys apart, too few to find one.
pub(super) fn stand_in(secret: &str) -> String {
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
            ("rtmps://live.example:443/app/s3cret?x=1", "s3cret", "?x=…"),
            ("rtmp://live.example/app/k?auth=s3cret&video=none", "s3cret", "&video=none"),
            ("rtmps://s3cret@host/app/key", "s3cret", "@host/app/…"),
            ("rtsp://user:s3cret@host:554/live", "s3cret", "rtsp://user:…"),
            ("srt://host:9000?passphrase=s3cret1234&latency=200", "s3cret1234", "&latency=200"),
            ("rtp://127.0.0.1:5004?sdp=x&key=s3cret", "s3cret", "rtp://127.0.0.1:5004?sdp=x&key=…"),
            ("whip+https://host/whip/a?token=s3cret", "s3cret", "whip+https://host/whip/a?token=…"),
            ("whip+https://host/a?jwt=s3cret&video=vp8", "s3cret", "&video=vp8"),
        ] {
            let (shown, secrets) = redact(text);
            assert!(!shown.contains(secret), "{shown}");
            assert!(shown.contains(kept), "{shown}");
            let said = secrets.scrub(format!("could not write to {text}: {secret} was refused"));
            assert!(!said.contains(secret) && said.ends_with(" was refused"), "{said}");
        }
        assert_ne!(redact("rtmp://h/app/one").0, redact("rtmp://h/app/two").0);
    }

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let (_, secrets) = redact("srt://h:1?passphrase=a%2Fb+c%20d12&streamid=a%2Fb+c%20d12345");
        for said in ["a%2Fb+c%20d12", "a%2Fb%20c%20d12", "a/b c d12", "a/b c d12345"] {
            let scrubbed = secrets.scrub(format!("<{said}>"));
            assert!(scrubbed.starts_with("<…") && scrubbed.len() == "<…abcd>".len(), "{scrubbed}");
        }
    }

    #[test]
    fn what_has_no_secret_stays_as_it_is() {
        for text in
            ["rtp://127.0.0.1:5004?sdp=call.sdp", "hls:www?segment=2", "call.mkv", "rtmp://host/app", "a?b=c.mkv"]
        {
            assert_eq!(redact(text).0, text);
        }
    }
}
