//! `ts+udp://HOST:PORT?ttl=N&interface=IF`.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use url::Url;

use super::settings::Settings;
use super::tracks::{Stream, Tracks};
use super::{Destination, Parsed};

/// MPEG-TS in datagrams to one host, or to everybody in a multicast group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsUdpDestination {
    /// The receiver or the group.
    pub address: SocketAddr,
    /// How many routers a datagram may pass; `None` leaves it to the system: 1 for a group.
    pub ttl: Option<u8>,
    /// The network interface by which datagrams to a group leave.
    pub interface: Option<String>,
}

impl TsUdpDestination {
    /// Whether it is a multicast group.
    pub fn is_group(&self) -> bool {
        self.address.ip().is_multicast()
    }

    /// Whether the interface is there.
    pub(super) fn check(&self) -> Result<(), String> {
        let Some(interface) = &self.interface else { return Ok(()) };
        let found =
            if_addrs::get_if_addrs().map_err(|error| format!("the network interfaces are not known: {error}"))?;
        let mut names: Vec<_> = found.into_iter().map(|found| found.name).collect();
        if names.contains(interface) {
            return Ok(());
        }
        names.sort();
        names.dedup();
        Err(format!("there is no interface `{interface}`: this machine has {}", names.join(", ")))
    }
}

impl fmt::Display for TsUdpDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ts+udp://{}", self.address)
    }
}

pub(super) fn parse(text: &str) -> Parsed {
    let url = Url::parse(text).map_err(|error| format!("{error}: write ts+udp://HOST:PORT"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the host is missing: write ts+udp://HOST:PORT")?;
    let port = url.port().filter(|port| *port != 0).ok_or("the port is missing: write ts+udp://HOST:PORT")?;
    let host = host.trim_matches(['[', ']']);
    let ip: IpAddr = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the host `{host}` cannot be found: {error}"))?
        .next()
        .ok_or_else(|| format!("the host `{host}` has no address"))?
        .ip();
    let mut settings = Settings::new(url.query().unwrap_or_default());
    let ttl = settings.number("ttl", 1..=255)?.and_then(|ttl| u8::try_from(ttl).ok());
    let interface = settings.take("interface").filter(|interface| !interface.is_empty());
    let tracks = Tracks::take(&mut settings, &[Stream::H264, Stream::CopiedVideo], &[Stream::Aac])?;
    settings.end()?;
    let destination = TsUdpDestination { address: SocketAddr::new(ip, port), ttl, interface };
    if destination.interface.is_some() && !destination.is_group() {
        return Err(format!("interface= is for multicast groups, and {ip} is none: leave it out"));
    }
    Ok((Destination::TsUdp(destination), tracks))
}

#[cfg(test)]
mod tests {
    use super::super::OutputSpec;
    use super::*;

    fn destination(text: &str) -> TsUdpDestination {
        let Destination::TsUdp(ts) = text.parse::<OutputSpec>().unwrap().destination else { panic!("{text}") };
        ts
    }

    #[test]
    fn one_host_or_a_group() {
        let host = destination("ts+udp://127.0.0.1:5000");
        assert_eq!(host.address, SocketAddr::from(([127, 0, 0, 1], 5000)));
        assert!(!host.is_group() && host.ttl.is_none());
        let group = destination("ts+udp://239.1.2.3:5001?ttl=4&interface=lo");
        assert!(group.is_group() && group.check().is_ok());
        assert_eq!((group.ttl, group.interface.as_deref()), (Some(4), Some("lo")));
        assert!(destination("ts+udp://[ff02::1:5]:5000").is_group());
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_out() {
        for (text, expected) in [
            ("ts+udp://127.0.0.1", "the port is missing"),
            ("ts+udp://nowhere.invalid:5000", "nowhere.invalid"),
            ("ts+udp://127.0.0.1:5000?interface=lo", "is for multicast groups"),
            ("ts+udp://239.1.2.3:5000?ttl=256", "from 1 to 255"),
            ("ts+udp://127.0.0.1:5000?audio=copy", "audio=copy is not supported"),
        ] {
            let reason = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(reason.contains(expected), "{text}: {reason}");
        }
        let missing = "ts+udp://239.1.2.3:5000?interface=none0".parse::<OutputSpec>().unwrap().check().unwrap_err();
        let missing = missing.to_string();
        assert!(missing.contains("no interface `none0`") && missing.contains("lo"), "{missing}");
    }
}
