//! Where media is received, and which servers help to find the way.
//!
//! Addresses are always explicit: a wildcard would offer every interface, those of container bridges included.

use std::collections::HashSet;
use std::net::IpAddr;

use if_addrs::IfAddr;
use rtc::peer_connection::transport::RTCIceServer;
use tracing::warn;

use crate::terms::IceServer;

/// Interfaces that lead into containers and virtual machines of this host, never to a participant.
const BRIDGES: [&str; 9] = ["docker", "br-", "veth", "virbr", "cni", "flannel", "cali", "podman", "lxc"];

/// The local addresses to receive media on: those of the real interfaces, and loopback too when the room is on this
/// machine. Loopback alone when there is no interface.
pub fn local_addresses(room_is_loopback: bool) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        warn!(%error, "cannot list the network interfaces; uses loopback");
        Vec::new()
    });
    let interfaces = interfaces.iter().filter(|interface| interface.is_oper_up() || interface.is_loopback());
    select(interfaces.map(|interface| (interface.name.as_str(), &interface.addr)), room_is_loopback)
}

/// The addresses asked for, with the machine's own in the place of a wildcard.
pub(crate) fn explicit(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut explicit = Vec::new();
    for address in addresses {
        let own = if address.is_unspecified() { local_addresses(true) } else { vec![*address] };
        explicit.extend(own.into_iter().filter(|own| own.is_ipv4() == address.is_ipv4()));
    }
    let mut seen = HashSet::new();
    explicit.retain(|address| seen.insert(*address));
    explicit
}

/// Whether a relay is made there.
pub(crate) fn is_turn(server: &RTCIceServer) -> bool {
    server.urls.iter().any(|url| url.starts_with("turn"))
}

/// Why a server cannot be used, and what can be instead; `None`: it can.
///
/// Our way to a TURN server is UDP (RFC 8656 over UDP). Whoever cannot be reached by UDP connects to us instead.
pub fn problem(url: &str) -> Option<&'static str> {
    match url.split_once(':') {
        _ if url.contains("//") => Some("is not of the form stun:HOST:PORT"),
        Some(("turn", rest)) if transport_is_tcp(rest) => Some(OVER_TCP),
        Some(("stun" | "turn", host)) if !host.is_empty() => None,
        Some(("turns", host)) if !host.is_empty() => Some(OVER_TLS),
        Some(("stuns", host)) if !host.is_empty() => Some("asks for TLS, which is not supported; use stun:HOST:PORT"),
        _ => Some("is not a stun: or turn: URL"),
    }
}

const OVER_TCP: &str = "asks for TURN over TCP, which is not supported; use turn:HOST:PORT?transport=udp of the same \
    server, or --tcp-port, by which participants without UDP reach us directly";
const OVER_TLS: &str = "asks for TURN over TLS, which is not supported; use turn:HOST:PORT?transport=udp of the same \
    server, or --tcp-port 443, by which participants without UDP reach us directly";

fn transport_is_tcp(rest: &str) -> bool {
    rest.split_once('?').is_some_and(|(_, query)| query.split('&').any(|it| it.eq_ignore_ascii_case("transport=tcp")))
}

fn select<'a>(interfaces: impl Iterator<Item = (&'a str, &'a IfAddr)>, room_is_loopback: bool) -> Vec<IpAddr> {
    let (mut usable, mut loopback) = (Vec::new(), Vec::new());
    for (name, address) in interfaces {
        let ip = address.ip();
        if ip.is_loopback() {
            loopback.push(ip);
        } else if !address.is_link_local() && !BRIDGES.iter().any(|bridge| name.starts_with(bridge)) {
            usable.push(ip);
        }
    }
    if room_is_loopback || usable.is_empty() {
        // IPv6 loopback adds nothing that IPv4 loopback does not reach.
        loopback.retain(IpAddr::is_ipv4);
        usable.append(&mut loopback);
    }
    if usable.is_empty() { vec![IpAddr::from([127, 0, 0, 1])] } else { usable }
}

/// The servers in the engine's terms, without those that it cannot use: a bad entry from a room must not end the call.
pub(crate) fn servers(servers: &[IceServer]) -> Vec<RTCIceServer> {
    let mut usable = Vec::new();
    for server in servers {
        let username = server.username.clone().unwrap_or_default();
        let credential = server.credential.clone().unwrap_or_default();
        for url in &server.urls {
            let problem = match url.split_once(':') {
                Some(("turn", _)) if username.is_empty() || credential.is_empty() => {
                    Some("has no username and credential")
                }
                _ => problem(url),
            };
            match problem {
                None => usable.push(RTCIceServer {
                    urls: vec![url.clone()],
                    username: username.clone(),
                    credential: credential.clone(),
                }),
                Some(problem) => warn!("ignores the ICE server {url}: it {problem}"),
            }
        }
    }
    usable
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use if_addrs::{Ifv4Addr, Ifv6Addr};

    use super::*;

    fn v4(ip: [u8; 4]) -> IfAddr {
        IfAddr::V4(Ifv4Addr { ip: Ipv4Addr::from(ip), netmask: Ipv4Addr::UNSPECIFIED, prefixlen: 0, broadcast: None })
    }

    fn v6(ip: &str) -> IfAddr {
        let ip: Ipv6Addr = ip.parse().unwrap();
        IfAddr::V6(Ifv6Addr { ip, netmask: Ipv6Addr::UNSPECIFIED, prefixlen: 0, broadcast: None })
    }

    fn selected(interfaces: &[(&str, IfAddr)], room_is_loopback: bool) -> Vec<String> {
        let interfaces = interfaces.iter().map(|(name, address)| (*name, address));
        select(interfaces, room_is_loopback).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn bridges_and_link_local_addresses_are_left_out() {
        let all = [
            ("lo", v4([127, 0, 0, 1])),
            ("lo", v6("::1")),
            ("eth0", v4([10, 0, 0, 5])),
            ("eth0", v6("fe80::1")),
            ("eth0", v6("2001:db8::5")),
            ("docker0", v4([172, 17, 0, 1])),
            ("br-12ab", v4([172, 18, 0, 1])),
        ];
        assert_eq!(selected(&all, false), ["10.0.0.5", "2001:db8::5"]);
        assert_eq!(selected(&all, true), ["10.0.0.5", "2001:db8::5", "127.0.0.1"]);
        assert_eq!(selected(&all[..2], false), ["127.0.0.1"]);
        assert_eq!(selected(&[], false), ["127.0.0.1"]);
    }

    #[test]
    fn turn_over_tcp_and_tls_name_what_to_use_instead() {
        for url in ["turn:t.example.org:3478?transport=tcp", "turns:t.example.org", "turns:t.example.org?transport=udp"]
        {
            let problem = problem(url).unwrap();
            assert!(problem.contains("turn:HOST:PORT?transport=udp") && problem.contains("--tcp-port"), "{problem}");
        }
        assert!(problem("stuns:s.example.org").unwrap().contains("use stun:HOST:PORT"));
    }

    #[test]
    fn wildcards_stand_for_the_machines_own_addresses() {
        let loopback: IpAddr = [127, 0, 0, 1].into();
        assert_eq!(explicit(&[loopback, loopback]), [loopback]);
        let all = explicit(&["0.0.0.0".parse().unwrap()]);
        assert!(all.contains(&loopback) && all.iter().all(|ip| ip.is_ipv4() && !ip.is_unspecified()), "{all:?}");
    }

    #[test]
    fn servers_that_cannot_work_are_left_out() {
        let server = |url: &str, username: Option<&str>| IceServer {
            urls: vec![url.into()],
            username: username.map(Into::into),
            credential: username.map(Into::into),
        };
        let cases = [
            (server("stun:stun.example.org:3478", None), true),
            (server("turn:turn.example.org?transport=udp", Some("u")), true),
            (server("turn:turn.example.org", None), false),
            (server("turn:turn.example.org?transport=tcp", Some("u")), false),
            (server("turns:turn.example.org", Some("u")), false),
            (server("stun://example.org", None), false),
            (server("http:example.org", None), false),
            (server("", None), false),
            (server("stun:", None), false),
        ];
        for (server, usable) in cases {
            assert_eq!(!servers(std::slice::from_ref(&server)).is_empty(), usable, "{server:?}");
        }
    }
}
