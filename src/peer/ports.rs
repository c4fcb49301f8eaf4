//! Which ports the process may use for media, and taking one of them on every local address.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::address_map::Transport;

/// How often a free port of the system's choice may be taken on another address.
const ATTEMPTS: usize = 32;

/// One port or several; 0 stands for any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// How many ports it has; the system's choice is no limit.
    pub fn count(self) -> usize {
        if self.first == 0 { usize::from(u16::MAX) } else { usize::from(self.last - self.first) + 1 }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Why a text names no ports.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no port: write one, like 40000, a range, like 40000-40099, or 0 for any free one")]
pub struct BadPortRange(String);

impl FromStr for PortRange {
    type Err = BadPortRange;

    fn from_str(text: &str) -> Result<Self, BadPortRange> {
        let bad = || BadPortRange(text.to_owned());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: first.parse().map_err(|_| bad())?, last: last.parse().map_err(|_| bad())? };
        let is_any = range.first == 0 && range.last == 0;
        if is_any || (range.first > 0 && range.first <= range.last) { Ok(range) } else { Err(bad()) }
    }
}

/// Why there is no port for media. Known before a room is joined.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Somebody else has it.
    #[error("{option} {port}: the port is taken on {address}; stop the program that has it, or give a range and the \
        first free one is used: {option} {port}-{}", port.saturating_add(15))]
    Taken {
        /// The option that asked for it.
        option: &'static str,
        /// The port.
        port: u16,
        /// Where it is taken.
        address: IpAddr,
    },
    /// Somebody else has all of them.
    #[error(
        "{option} {range}: all of these ports are taken, the last one on {address}; a bridge needs one of its \
        own: give a larger range"
    )]
    AllTaken {
        /// The option that asked for them.
        option: &'static str,
        /// The ports.
        range: PortRange,
        /// Where the last one is taken.
        address: IpAddr,
    },
    /// An address that no interface has.
    #[error("--bind {address}: no interface of this machine has this address; `ip address` lists those it has")]
    NotOurs {
        /// The address.
        address: IpAddr,
    },
    /// Some other reason.
    #[error("cannot receive media on {address}: {cause}; check --bind and {option}")]
    Socket {
        /// The option that asked for the port.
        option: &'static str,
        /// The address with its port.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// A public address without a local one that could stand behind it.
    #[error("--public-ip {public}: media is received on no address of this kind ({local}); add one with --bind")]
    NothingBehind {
        /// The public address.
        public: IpAddr,
        /// The local addresses.
        local: String,
    },
    /// Two public addresses of one kind.
    #[error("--public-ip {0}: only one IPv4 and one IPv6 address can stand for this machine")]
    TwoPublic(IpAddr),
}

/// What is bound: a UDP socket or a TCP listener.
pub(crate) trait Bind: Sized {
    const TRANSPORT: Transport;
    fn bind(address: SocketAddr) -> io::Result<Self>;
    fn port(&self) -> io::Result<u16>;
}

impl Bind for std::net::UdpSocket {
    const TRANSPORT: Transport = Transport::Udp;

    fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind(address)
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.local_addr()?.port())
    }
}

impl Bind for std::net::TcpListener {
    const TRANSPORT: Transport = Transport::Tcp;

    fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind(address)
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.local_addr()?.port())
    }
}

/// Takes the first port of the range that is free on all addresses, the same on each.
pub(crate) fn take<S: Bind>(range: PortRange, addresses: &[IpAddr]) -> Result<Vec<S>, NetworkError> {
    let option = match S::TRANSPORT {
        Transport::Udp => "--udp-port",
        Transport::Tcp => "--tcp-port",
    };
    let any = std::iter::repeat_n(0, ATTEMPTS);
    let candidates: Box<dyn Iterator<Item = u16>> =
        if range.first == 0 { Box::new(any) } else { Box::new(range.first..=range.last) };
    let mut taken = None;
    for port in candidates {
        match take_port(port, addresses) {
            Ok(sockets) => return Ok(sockets),
            Err((address, cause)) => match cause.kind() {
                io::ErrorKind::AddrInUse => taken = Some(address),
                io::ErrorKind::AddrNotAvailable => return Err(NetworkError::NotOurs { address: address.ip() }),
                _ => return Err(NetworkError::Socket { option, address, cause }),
            },
        }
    }
    let Some(address) = taken else { return Ok(Vec::new()) };
    Err(if range.count() == 1 {
        NetworkError::Taken { option, port: range.first, address: address.ip() }
    } else {
        NetworkError::AllTaken { option, range, address: address.ip() }
    })
}

fn take_port<S: Bind>(mut port: u16, addresses: &[IpAddr]) -> Result<Vec<S>, (SocketAddr, io::Error)> {
    let mut sockets = Vec::new();
    for ip in addresses {
        let address = SocketAddr::new(*ip, port);
        let socket = S::bind(address).map_err(|error| (address, error))?;
        port = socket.port().map_err(|error| (address, error))?;
        sockets.push(socket);
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const LOOPBACK: [IpAddr; 2] =
        [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2))];

    fn range(first: u16, last: u16) -> PortRange {
        PortRange { first, last }
    }

    #[test]
    fn ranges_are_read_and_written() {
        for (text, expected) in [("40000", range(40000, 40000)), ("1-65535", range(1, 65535)), ("0", range(0, 0))] {
            let read: PortRange = text.parse().unwrap();
            assert_eq!(read, expected);
            assert_eq!(read.to_string(), text);
        }
        for text in ["", "-", "x", "5-4", "0-5", "1-70000", "70000", "1-2-3", " 1", "-1"] {
            assert_eq!(text.parse::<PortRange>(), Err(BadPortRange(text.to_owned())), "{text:?}");
        }
        assert_eq!(range(5, 9).count(), 5);
    }

    #[test]
    fn the_first_port_that_is_free_everywhere_is_taken() {
        // On the second address only: the port is of no use on the first one either.
        let holder = UdpSocket::bind((LOOPBACK[1], 0)).unwrap();
        let port = holder.port().unwrap();
        let error = take::<UdpSocket>(range(port, port), &LOOPBACK).unwrap_err().to_string();
        assert!(error.contains(&format!("--udp-port {port}: the port is taken on 127.0.0.2")), "{error}");
        let last = port.saturating_add(200);
        let sockets = take::<UdpSocket>(range(port, last), &LOOPBACK).unwrap();
        assert_eq!(sockets.len(), 2);
        assert_eq!(sockets[0].port().unwrap(), sockets[1].port().unwrap());
        assert!(sockets[0].port().unwrap() > port);
        let listeners = take::<TcpListener>(range(0, 0), &LOOPBACK).unwrap();
        assert_eq!(listeners[0].port().unwrap(), listeners[1].port().unwrap());
    }

    #[test]
    fn a_range_without_a_free_port_and_a_foreign_address_are_refused() {
        let holders = loop {
            let first = UdpSocket::bind((LOOPBACK[0], 0)).unwrap();
            if let Some(next) = first.port().unwrap().checked_add(1)
                && let Ok(second) = UdpSocket::bind((LOOPBACK[0], next))
            {
                break [first, second];
            }
        };
        let taken = range(holders[0].port().unwrap(), holders[1].port().unwrap());
        let error = take::<UdpSocket>(taken, &LOOPBACK).unwrap_err().to_string();
        assert!(error.contains(&format!("--udp-port {taken}: all of these ports are taken")), "{error}");
        let error = take::<UdpSocket>(range(0, 0), &["192.0.2.1".parse().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("--bind 192.0.2.1: no interface"), "{error}");
    }
}
