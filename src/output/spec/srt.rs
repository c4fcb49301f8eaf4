//! `srt://HOST:PORT` calls a receiver, `srt://[HOST]:PORT?mode=listener` is called by players.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use url::Url;

use super::secret::Secret;
use super::settings::Settings;
use super::tracks::{Stream, Tracks};
use super::{Destination, Parsed};

/// MPEG-TS over SRT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtDestination {
    /// Who calls whom.
    pub end: SrtEnd,
    /// What both sides must know; without it nothing is encrypted.
    pub passphrase: Option<Secret>,
    /// The length of the key in bytes, 16, 24 or 32; `None` leaves it to the library.
    pub key_length: Option<u32>,
    /// How long a lost packet may be sent again before its place is played.
    pub latency: Duration,
}

/// Which end of an SRT connection we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SrtEnd {
    /// We call.
    Caller {
        /// The receiver's name or address.
        host: String,
        /// Its UDP port.
        port: u16,
        /// What the receiver knows this stream by.
        stream_id: Option<Secret>,
    },
    /// Any number of players call us.
    Listener(SocketAddr),
}

impl fmt::Display for SrtDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            SrtEnd::Caller { host, port, .. } => write!(f, "srt://{host}:{port}"),
            SrtEnd::Listener(address) => write!(f, "srt://{address}"),
        }
    }
}

const FORM: &str = "write srt://HOST:PORT, or srt://:PORT?mode=listener";

#[derive(Clone, Copy)]
enum Mode {
    Caller,
    Listener,
}

pub(super) fn parse(text: &str) -> Parsed {
    // A listener needs no host, and a URL with a port does.
    let whole = text.strip_prefix("srt://:").map(|rest| format!("srt://0.0.0.0:{rest}"));
    let named = whole.is_none();
    let url = Url::parse(whole.as_deref().unwrap_or(text)).map_err(|error| format!("{error}: {FORM}"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| format!("the host is missing: {FORM}"))?;
    let port = url.port().filter(|port| *port != 0).ok_or_else(|| format!("the port is missing: {FORM}"))?;
    let mut settings = Settings::new(url.query().unwrap_or_default());
    let mode = settings.word("mode", &[("caller", Mode::Caller), ("listener", Mode::Listener)])?;
    // The limits of SRTO_PASSPHRASE, SRTO_STREAMID and SRTO_PBKEYLEN in libsrt's API-socket-options.md.
    let passphrase = limited(&mut settings, "passphrase", 10..=79)?;
    let stream_id = limited(&mut settings, "streamid", 1..=512)?;
    let key_length = settings.word("pbkeylen", &[("16", 16), ("24", 24), ("32", 32)])?;
    if key_length.is_some() && passphrase.is_none() {
        return Err("pbkeylen= encrypts nothing without passphrase=".into());
    }
    let latency = Duration::from_millis(settings.number("latency", 0..=60_000)?.unwrap_or(120).into());
    let tracks = Tracks::take(&mut settings, &[Stream::H264, Stream::CopiedVideo], &[Stream::Aac])?;
    settings.end()?;
    let end = match mode.unwrap_or(Mode::Caller) {
        Mode::Caller if !named => return Err(format!("whom to call is missing: {FORM}")),
        Mode::Caller => SrtEnd::Caller { host: host.to_owned(), port, stream_id },
        Mode::Listener if stream_id.is_some() => return Err("streamid= is what a caller says: leave it out".into()),
        Mode::Listener => SrtEnd::Listener(SocketAddr::new(local_address(host)?, port)),
    };
    Ok((Destination::Srt(SrtDestination { end, passphrase, key_length, latency }), tracks))
}

/// A listener opens an address of this machine: names would only say which by chance.
fn local_address(host: &str) -> Result<IpAddr, String> {
    match host.trim_matches(['[', ']']) {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        host => host.parse().map_err(|_| format!("`{host}` is no address of this machine: {FORM}")),
    }
}

fn limited(
    settings: &mut Settings<'_>,
    key: &'static str,
    length: std::ops::RangeInclusive<usize>,
) -> Result<Option<Secret>, String> {
    match settings.take(key) {
        Some(text) if !length.contains(&text.len()) => {
            let (least, most) = (length.start(), length.end());
            Err(format!("{key}= has {} bytes: SRT takes from {least} to {most}", text.len()))
        }
        text => Ok(text.map(Secret::new)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::OutputSpec;
    use super::*;

    fn destination(text: &str) -> SrtDestination {
        let Destination::Srt(srt) = text.parse::<OutputSpec>().unwrap().destination else { panic!("{text}") };
        srt
    }

    #[test]
    fn a_caller_has_a_host_and_a_listener_an_address() {
        let caller = destination("srt://live.example:9000?streamid=publish%3Aa&passphrase=0123456789&pbkeylen=32");
        let stream_id = Some(Secret::new("publish:a"));
        assert_eq!(caller.end, SrtEnd::Caller { host: "live.example".into(), port: 9000, stream_id });
        assert_eq!((caller.key_length, caller.latency.as_millis()), (Some(32), 120));
        assert_eq!(caller.to_string(), "srt://live.example:9000");
        for (text, address) in [
            ("srt://:9000?mode=listener&latency=500", "0.0.0.0:9000"),
            ("srt://127.0.0.1:9000?mode=listener", "127.0.0.1:9000"),
            ("srt://[::1]:9000?mode=listener", "[::1]:9000"),
            ("srt://localhost:9000?mode=listener", "127.0.0.1:9000"),
        ] {
            assert_eq!(destination(text).end, SrtEnd::Listener(address.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_secret() {
        for (text, expected) in [
            ("srt://:9000", "whom to call is missing"),
            ("srt://live.example", "the port is missing"),
            ("srt://h:9000?passphrase=s3cret", "passphrase= has 6 bytes: SRT takes from 10 to 79"),
            ("srt://h:9000?pbkeylen=16", "without passphrase="),
            ("srt://h:9000?passphrase=s3cret1234&pbkeylen=8", "use 16, 24, 32"),
            ("srt://h:9000?mode=rendezvous", "use caller, listener"),
            ("srt://:9000?mode=listener&streamid=s3cret", "is what a caller says"),
            ("srt://live.example:9000?mode=listener", "no address of this machine"),
        ] {
            let reason = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(reason.contains(expected) && !reason.contains("s3cret"), "{text}: {reason}");
        }
        let spec = "srt://h:9000?passphrase=s3cret1234".parse::<OutputSpec>().unwrap();
        assert!(!format!("{spec:?} {:?}", spec.destination).contains("s3cret"));
    }
}
