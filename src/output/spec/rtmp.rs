//! `rtmp://HOST[:PORT]/APP/KEY` and `rtmps://…`.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::redaction::stand_in;
use super::secret::Secret;
use super::settings::Settings;
use super::tracks::{Stream, Tracks};
use super::{Destination, Parsed};

/// The settings that are ours; all others belong to the stream key.
pub(super) const OUR_SETTINGS: [&str; 3] = ["video", "audio", "insecure"];

/// A live stream to a server that passes it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtmpDestination {
    /// The server's name or address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// Whether it is spoken over TLS.
    pub tls: bool,
    /// Whether a certificate is accepted that nobody vouches for.
    pub insecure: bool,
    /// The server's application.
    pub application: String,
    /// The stream's name in it, which is what entitles to publish.
    pub key: Secret,
    /// A name and a password for servers that ask for them.
    pub user: Option<(String, Secret)>,
}

impl fmt::Display for RtmpDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rtmps" } else { "rtmp" };
        let Self { host, port, application, .. } = self;
        write!(f, "{scheme}://{host}:{port}/{application}/{}", stand_in(self.key.reveal()))
    }
}

const FORM: &str = "write rtmp://HOST/APP/KEY or rtmps://HOST/APP/KEY";

pub(super) fn parse(text: &str, tls: bool) -> Parsed {
    let url = Url::parse(text).map_err(|error| format!("{error}: {FORM}"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| format!("the host is missing: {FORM}"))?;
    let port = url.port().unwrap_or(if tls { 443 } else { 1935 });
    let (application, name) = url
        .path()
        .trim_start_matches('/')
        .rsplit_once('/')
        .filter(|(application, name)| !application.is_empty() && !name.is_empty())
        .ok_or_else(|| format!("the application or the stream key is missing: {FORM}"))?;
    // Of the settings only ours are taken: servers have them in stream keys too.
    let is_ours = |setting: &&str| OUR_SETTINGS.contains(&setting.split_once('=').map_or(*setting, |(key, _)| key));
    let (ours, theirs): (Vec<_>, Vec<_>) =
        url.query().unwrap_or_default().split('&').filter(|setting| !setting.is_empty()).partition(is_ours);
    let ours = ours.join("&");
    let mut settings = Settings::new(&ours);
    let insecure = settings.word("insecure", &[("1", true), ("0", false)])?.unwrap_or(false);
    let tracks = Tracks::take(&mut settings, &[Stream::H264, Stream::CopiedVideo], &[Stream::Aac])?;
    settings.end()?;
    if insecure && !tls {
        return Err("insecure=1 is about certificates, and rtmp:// has none: leave it out, or write rtmps://".into());
    }
    let key = if theirs.is_empty() { name.to_owned() } else { format!("{name}?{}", theirs.join("&")) };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = url.password().map(|password| (decoded(url.username()), Secret::new(decoded(password))));
    let destination = RtmpDestination {
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        tls,
        insecure,
        application: application.to_owned(),
        key: Secret::new(key),
        user,
    };
    Ok((Destination::Rtmp(destination), tracks))
}

#[cfg(test)]
mod tests {
    use super::super::OutputSpec;
    use super::*;

    fn destination(text: &str) -> RtmpDestination {
        let Destination::Rtmp(rtmp) = text.parse::<OutputSpec>().unwrap().destination else { panic!("{text}") };
        rtmp
    }

    #[test]
    fn the_last_word_is_the_key_with_what_is_not_ours() {
        let plain = destination("rtmp://live.example/app/s3cret");
        assert_eq!((plain.host.as_str(), plain.port, plain.application.as_str()), ("live.example", 1935, "app"));
        assert_eq!((plain.key.reveal(), plain.tls, plain.user), ("s3cret", false, None));
        let full = destination("rtmps://me:p%40ss@[::1]:8443/app/inst/s3cret?token=a&video=none&insecure=1&x");
        assert_eq!((full.host.as_str(), full.port, full.application.as_str()), ("::1", 8443, "app/inst"));
        assert_eq!((full.key.reveal(), full.tls, full.insecure), ("s3cret?token=a&x", true, true));
        assert_eq!(full.user, Some(("me".into(), Secret::new("p@ss"))));
        assert_eq!(destination("rtmps://live.example/app/s3cret").port, 443);
    }

    #[test]
    fn what_is_wrong_is_named_without_the_key() {
        for (text, expected) in [
            ("rtmp://live.example/app", "the application or the stream key is missing"),
            ("rtmp://live.example/app/", "the application or the stream key is missing"),
            ("rtmp:///app/s3cret", "rtmp://HOST/APP/KEY"),
            ("rtmp://live.example/app/s3cret?insecure=1", "write rtmps://"),
            ("rtmp://live.example/app/s3cret?video=vp8", "video=vp8 is not supported"),
        ] {
            let reason = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(reason.contains(expected) && !reason.contains("s3cret"), "{text}: {reason}");
        }
        let spec = "rtmp://live.example/app/s3cret".parse::<OutputSpec>().unwrap();
        assert!(!format!("{spec:?} {spec} {:?} {}", spec.destination, spec.claims().concat()).contains("s3cret"));
    }
}
