//! `rtsp://[HOST]:PORT/NAME?mode=serve&latency=MS` for players that come, `rtsp://[USER:PASSWORD@]HOST/PATH` to publish to a media server.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

use super::settings::Settings;
use super::tracks::{
    Stream::{Aac, CopiedAudio, CopiedVideo, H264, Opus, Vp8},
    Tracks,
};
use super::{Destination, Parsed};

/// Players connect to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtspServeDestination {
    /// Where players connect.
    pub address: SocketAddr,
    /// The path of the URL, without the first slash.
    pub name: String,
    /// What a player must know; `None` lets everybody in.
    pub credentials: Option<Credentials>,
    /// How long sound and picture are held so that both leave at the same moment of their clock.
    pub latency: Duration,
}

/// We publish to a media server (RFC 2326, sections 10.3 and 10.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtspPushDestination {
    /// The URL without user and password.
    pub location: String,
    /// What the server asks for.
    pub credentials: Option<Credentials>,
    /// How packets travel.
    pub transport: RtspTransport,
}

/// A user and a password; the password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How packets travel to a media server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtspTransport {
    /// In the RTSP connection itself.
    Tcp,
    /// In datagrams of their own.
    Udp,
}

impl RtspServeDestination {
    /// Whether the port can be opened now; the reason and the way out if not.
    pub(super) fn check(&self) -> Result<(), String> {
        TcpListener::bind(self.address)
            .map(drop)
            .map_err(|error| format!("TCP port {} cannot be opened: {error}: choose another one", self.address))
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Push,
    Serve,
}

pub(super) fn parse(text: &str) -> Parsed {
    // A URL needs a host; without one every interface is meant.
    let everywhere = text.starts_with("rtsp://:");
    let whole = if everywhere { text.replacen("rtsp://", "rtsp://0.0.0.0", 1) } else { text.to_owned() };
    let url = Url::parse(&whole)
        .map_err(|error| format!("{error}: write rtsp://HOST/PATH or rtsp://:PORT/NAME?mode=serve"))?;
    let mut settings = Settings::new(url.query().unwrap_or_default());
    let mode = settings.word("mode", &[("push", Mode::Push), ("serve", Mode::Serve)])?;
    match mode.unwrap_or(Mode::Push) {
        Mode::Push if everywhere => {
            Err("the host is missing: write rtsp://HOST/PATH to publish, or add mode=serve for players that come"
                .into())
        }
        Mode::Push => push(&url, settings),
        Mode::Serve => serve(&url, settings),
    }
}

fn serve(url: &Url, mut settings: Settings<'_>) -> Parsed {
    let port = url.port().filter(|port| *port != 0).ok_or("the port is missing: write rtsp://:8554/NAME?mode=serve")?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the host `{host}` cannot be found: {error}"))?
        .next()
        .ok_or_else(|| format!("the host `{host}` has no address"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("what players must know is given by user=NAME&password=WORD".into());
    }
    let name = url.path().trim_start_matches('/').to_owned();
    let plain = |character: char| character.is_ascii_alphanumeric() || "-._~/".contains(character);
    if name.is_empty() || !name.chars().all(plain) || name.ends_with('/') {
        return Err(format!("`{name}` is no name for players: use letters, digits and -._~, as in /call"));
    }
    let credentials = match (settings.take("user"), settings.take("password")) {
        (Some(user), Some(password)) if !user.is_empty() && !user.contains(':') && !password.is_empty() => {
            Some(Credentials { user, password })
        }
        (None, None) => None,
        _ => {
            return Err(
                "user=NAME and password=WORD go together; neither may be empty, nor the user have a colon".into()
            );
        }
    };
    let latency = settings.number("latency", 0..=5_000)?.unwrap_or(120);
    let tracks = tracks(&mut settings)?;
    settings.end()?;
    let latency = Duration::from_millis(latency.into());
    Ok((Destination::RtspServe(RtspServeDestination { address, name, credentials, latency }), tracks))
}

fn push(url: &Url, mut settings: Settings<'_>) -> Parsed {
    if url.host_str().is_none_or(str::is_empty) || url.path().trim_matches('/').is_empty() {
        return Err("the host or the path is missing: write rtsp://HOST/PATH".into());
    }
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credentials = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some(Credentials { user: decode(user), password: decode(password.unwrap_or_default()) }),
    };
    let transports = [("tcp", RtspTransport::Tcp), ("udp", RtspTransport::Udp)];
    let transport = settings.word("transport", &transports)?.unwrap_or(RtspTransport::Tcp);
    let tracks = tracks(&mut settings)?;
    settings.end()?;
    let mut location = url.clone();
    location.set_query(None);
    // Only a URL without a host refuses, and this one has one.
    if location.set_username("").and_then(|()| location.set_password(None)).is_err() {
        return Err("the host is missing: write rtsp://HOST/PATH".into());
    }
    let location = String::from(location);
    Ok((Destination::RtspPush(RtspPushDestination { location, credentials, transport }), tracks))
}

fn tracks(settings: &mut Settings<'_>) -> Result<Tracks, String> {
    Tracks::take(settings, &[H264, Vp8, CopiedVideo], &[Aac, Opus, CopiedAudio])
}

/// The address that a player on this machine connects to.
pub(crate) fn local(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::OutputSpec;
    use super::*;

    fn read(text: &str) -> Destination {
        text.parse::<OutputSpec>().unwrap().destination
    }

    #[test]
    fn players_come_to_a_port_and_a_name() {
        let Destination::RtspServe(all) = read("rtsp://:8554/call?mode=serve") else { panic!() };
        assert_eq!((all.address, all.name.as_str()), ("0.0.0.0:8554".parse().unwrap(), "call"));
        assert_eq!(all.latency, Duration::from_millis(120));
        assert_eq!((all.credentials, local(all.address)), (None, "127.0.0.1:8554".parse().unwrap()));
        let Destination::RtspServe(one) = read("rtsp://[::1]:8554/a/b?mode=serve&user=u&password=p%26q") else {
            panic!()
        };
        assert_eq!((one.address, one.name.as_str()), ("[::1]:8554".parse().unwrap(), "a/b"));
        assert_eq!(one.credentials.unwrap().password, "p&q");
    }

    #[test]
    fn we_publish_by_tcp_unless_asked_otherwise() {
        let Destination::RtspPush(push) = read("rtsp://me:p%40ss@media.example:554/live/x?transport=udp") else {
            panic!()
        };
        assert_eq!(push.location, "rtsp://media.example:554/live/x");
        assert_eq!(push.transport, RtspTransport::Udp);
        assert_eq!(push.credentials, Some(Credentials { user: "me".into(), password: "p@ss".into() }));
        assert!(!format!("{push:?}").contains("p@ss"));
        let Destination::RtspPush(push) = read("rtsp://media.example/live") else { panic!() };
        assert_eq!((push.location.as_str(), push.transport), ("rtsp://media.example/live", RtspTransport::Tcp));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_out() {
        for (text, expected) in [
            ("rtsp://:8554/call", "add mode=serve"),
            ("rtsp://host", "path is missing"),
            ("rtsp://127.0.0.1/call?mode=serve", "port is missing"),
            ("rtsp://:8554?mode=serve", "no name"),
            ("rtsp://:8554/a%20b?mode=serve", "no name"),
            ("rtsp://:8554/x?mode=serve&user=u", "go together"),
            ("rtsp://:8554/x?mode=serve&user=u&password=", "neither may be empty"),
            ("rtsp://u:p@127.0.0.1:8554/x?mode=serve", "user=NAME"),
            ("rtsp://:8554/x?mode=listen", "use push, serve"),
            ("rtsp://:8554/x?mode=serve&transport=tcp", "unknown setting `transport`"),
            ("rtsp://host/x?transport=http", "use tcp, udp"),
            ("rtsp://host/x?video=none&audio=none", "neither video nor audio"),
        ] {
            let reason = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(reason.contains(expected), "{text}: {reason}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_refused() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let spec: OutputSpec = format!("rtsp://{address}/call?mode=serve&user=u&password=s3cret").parse().unwrap();
        let reason = spec.check().unwrap_err().to_string();
        assert!(reason.contains(&address.to_string()) && reason.contains("in use"), "{reason}");
        assert!(!reason.contains("s3cret"), "{reason}");
        drop(taken);
        spec.check().unwrap();
    }
}
