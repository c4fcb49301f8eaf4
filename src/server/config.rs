//! What a server is told: where to listen, whom to trust, how much to bear. Validated before a socket opens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::gateway::GatewayConfig;
use super::origin::AllowedOrigins;
use super::whip::WhipToken;
use crate::peer::NetworkConfig;

/// Everything a server is told.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: ListenAddress,
    /// Whose pages may open WebSockets here, besides our own.
    pub origins: AllowedOrigins,
    /// The page's `RTCConfiguration`.
    pub rtc_config: RtcConfig,
    /// What WHIP and WHEP clients must have; `None` lets everybody publish and watch.
    pub whip_token: Option<WhipToken>,
    /// Where WHIP publishers and WHEP viewers send and receive.
    pub relay_network: NetworkConfig,
    /// How much it bears.
    pub limits: Limits,
    /// How bridges are run; `None` runs none.
    pub bridges: Option<GatewayConfig>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `host:port`; without a host, all addresses of this machine.
    Tcp {
        /// A name, an address, or nothing.
        host: String,
        /// 0 takes a free one.
        port: u16,
    },
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl Default for ListenAddress {
    fn default() -> Self {
        SocketAddr::from(([127, 0, 0, 1], 8080)).into()
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

/// Why a text is not an address to listen on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad address {0:?}; write it like 127.0.0.1:8080, :8080, [::]:8080 or unix:/run/roomcast.sock")]
pub struct BadListenAddress(String);

impl FromStr for ListenAddress {
    type Err = BadListenAddress;

    fn from_str(text: &str) -> Result<Self, BadListenAddress> {
        let bad = || BadListenAddress(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Self::Unix(PathBuf::from(path))) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // What still has a colon must be a whole IPv6 address.
        if host.contains(char::is_whitespace)
            || (host.contains([':', '[', ']']) && host.parse::<std::net::Ipv6Addr>().is_err())
        {
            return Err(bad());
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The `RTCConfiguration` which pages get, as a JSON object.
#[derive(Clone, PartialEq, Eq)]
pub struct RtcConfig(String);

impl RtcConfig {
    /// No STUN and no TURN: enough where everybody is on this machine or in this network.
    pub fn without_servers() -> Self {
        Self(r#"{"iceServers":[]}"#.to_owned())
    }

    /// Its servers, for those who get no page.
    pub(crate) fn ice_servers(&self) -> Vec<crate::terms::IceServer> {
        let config: serde_json::Value = serde_json::from_str(&self.0).unwrap_or_default();
        crate::signaling::ice_servers::read(config.get("iceServers"))
    }

    /// As it was given.
    pub(crate) fn as_json(&self) -> &str {
        &self.0
    }
}

impl Default for RtcConfig {
    fn default() -> Self {
        Self(r#"{"iceServers":[{"urls":"stun:stun.l.google.com:19302"}]}"#.to_owned())
    }
}

/// It may hold a TURN password.
impl fmt::Debug for RtcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RtcConfig({} bytes)", self.0.len())
    }
}

/// Why a text is no `RTCConfiguration`.
#[derive(Debug, thiserror::Error)]
pub enum BadRtcConfig {
    /// No JSON object.
    #[error(
        "RTC_CONFIG_JSON is not a JSON object ({0}); write it like {{\"iceServers\":[{{\"urls\":\"stun:host:3478\"}}]}}"
    )]
    NotAnObject(String),
    /// Its servers make no sense.
    #[error("RTC_CONFIG_JSON has a bad \"iceServers\" ({0}); it is a list of {{urls, username, credential}}")]
    BadServers(serde_json::Error),
}

impl FromStr for RtcConfig {
    type Err = BadRtcConfig;

    fn from_str(text: &str) -> Result<Self, BadRtcConfig> {
        let text = text.trim();
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| BadRtcConfig::NotAnObject(error.to_string()))?;
        if let Some(servers) = object.get("iceServers") {
            serde_json::from_value::<Vec<crate::terms::IceServer>>(servers.clone())
                .map_err(BadRtcConfig::BadServers)?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// How much a server bears. The defaults are those of the mesh protocol's reference.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rooms.
    pub rooms: usize,
    /// Members of one room.
    pub members: usize,
    /// WebSockets in all.
    pub connections: usize,
    /// WHIP publishers and WHEP viewers at once.
    pub relays: usize,
    /// Bytes of one message; longer ones close the connection with 1009.
    pub message_bytes: usize,
    /// Frames that wait for one receiver.
    pub queue: usize,
    /// Bytes that wait for one receiver in a mesh room, from other members.
    pub queue_bytes: usize,
    /// How long a receiver's queue may stay full before it is closed with 1013.
    pub send_timeout: Duration,
    /// Messages a second from one connection; what exceeds it waits in TCP.
    pub messages_per_second: u32,
    /// How long a connection may go on sending more than that, without a rest, before it is closed with 1008.
    pub flood: Duration,
    /// How often we ping.
    pub ping: Duration,
    /// How long a connection may be silent.
    pub silence: Duration,
    /// How long a connection may take to join a room for the first time before it is closed with 1008.
    pub join: Duration,
    /// How long a GStreamer peer may take to say HELLO before it is closed with 1002.
    pub hello: Duration,
    /// How long a GStreamer peer may stay registered without a room or a session.
    pub registered: Duration,
    /// How long a connection may stay outside of any room after it has left one.
    pub idle: Duration,
    /// How long somebody may wait alone in a notify call.
    pub call_alone: Duration,
    /// Texts that wait for the second side of a notify call, and their bytes.
    pub call_queue: usize,
    /// See `call_queue`.
    pub call_queue_bytes: usize,
    /// Simple Voice.
    pub voice: VoiceLimits,
    /// Texts that are no messages before the connection is closed with 1007.
    pub bad_messages: u32,
    /// How long a close may take.
    pub close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 1000,
            members: 50,
            connections: 50_000,
            relays: 1000,
            message_bytes: crate::signaling::limits::MAX_MESSAGE,
            queue: 64,
            queue_bytes: 4 << 20,
            send_timeout: Duration::from_secs(2),
            messages_per_second: 100,
            flood: Duration::from_secs(10),
            ping: Duration::from_secs(15),
            silence: Duration::from_secs(45),
            join: Duration::from_secs(30),
            hello: Duration::from_secs(10),
            registered: Duration::from_secs(12 * 3600),
            idle: Duration::from_secs(600),
            call_alone: Duration::from_secs(3600),
            call_queue: 128,
            call_queue_bytes: 1 << 20,
            voice: VoiceLimits::default(),
            bad_messages: 3,
            close: Duration::from_secs(2),
        }
    }
}

/// How much the rooms of Simple Voice bear.
#[derive(Clone, Debug)]
pub struct VoiceLimits {
    /// How long a poll is held, and a join that is too early.
    pub poll: Duration,
    /// How long a room without a call stays when its first client does not poll.
    pub idle: Duration,
    /// How long the second client may take to answer.
    pub handed: Duration,
    /// How long a call may last of which nobody says that it is over.
    pub answered: Duration,
    /// How long the answer may be fetched again.
    pub fetch: Duration,
    /// Bytes of one request.
    pub request_bytes: usize,
    /// How long a request's body may take to arrive.
    pub request_time: Duration,
    /// Requests a second from one address.
    pub requests_per_second: u32,
}

impl Default for VoiceLimits {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            handed: Duration::from_secs(60),
            answered: Duration::from_secs(2 * 3600),
            fetch: Duration::from_secs(30),
            request_bytes: 256 << 10,
            request_time: Duration::from_secs(5),
            requests_per_second: 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_their_spellings() {
        for (text, shown) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            (":8080", Some(":8080")),
            ("[::]:8080", Some("[::]:8080")),
            ("localhost:0", Some("localhost:0")),
            ("unix:/run/x.sock", Some("unix:/run/x.sock")),
            ("8080", None),
            ("::1:8080x", None),
            ("a b:1", None),
            ("127.0.0.1:70000", None),
            ("unix:", None),
            ("", None),
        ] {
            let read = text.parse::<ListenAddress>().map(|address| address.to_string());
            assert_eq!(read.as_deref().ok(), shown, "{text}");
        }
    }

    #[test]
    fn an_rtc_configuration_is_kept_as_given_or_refused_with_its_fault() {
        let given =
            r#"{ "iceTransportPolicy":"relay", "iceServers":[{"urls":"turn:t","username":"u","credential":"hush"}] }"#;
        let config: RtcConfig = given.parse().unwrap();
        assert_eq!(config.as_json(), given);
        assert!(!format!("{config:?}").contains("hush"));
        for (text, fault) in
            [("{", "not a JSON object"), ("[]", "not a JSON object"), (r#"{"iceServers":7}"#, "bad \"iceServers\"")]
        {
            let error = text.parse::<RtcConfig>().unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }
}
