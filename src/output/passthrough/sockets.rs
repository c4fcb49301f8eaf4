//! The sockets that packets leave by, and the ports that they go to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::sockopt;

use crate::terms::MediaKind;

/// A keyframe of 1080p leaves as one burst.
const SEND_BUFFER: usize = 2 * 1024 * 1024;

/// How multicast leaves this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multicast {
    /// Routers that it may pass, and one.
    pub ttl: u8,
    /// The system's choice when there is none.
    pub interface: Option<Interface>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// One of its addresses.
    pub address: Option<Ipv4Addr>,
    /// Its number.
    pub index: u32,
}

impl Default for Multicast {
    fn default() -> Self {
        Self { ttl: 1, interface: None }
    }
}

/// Where a kind of media goes: pictures to the receiver's port, sound two above.
pub(super) fn port_of(kind: MediaKind, receiver: SocketAddr) -> Option<SocketAddr> {
    let offset = match kind {
        MediaKind::Video => 0,
        MediaKind::Audio => 2,
    };
    Some(SocketAddr::new(receiver.ip(), receiver.port().checked_add(offset)?))
}

/// A socket that never waits, for receivers of one family, groups among them.
pub(super) fn socket(receivers: &[SocketAddr], multicast: &Multicast) -> io::Result<UdpSocket> {
    let v6 = receivers.iter().any(SocketAddr::is_ipv6);
    let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    if sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER).is_err() {
        tracing::debug!("the kernel's own send buffer has to do");
    }
    match &multicast.interface {
        Some(interface) if v6 => sockopt::set_ipv6_multicast_if(&socket, interface.index)?,
        Some(Interface { address: Some(address), .. }) => sockopt::set_ip_multicast_if(&socket, address)?,
        _ => {}
    }
    if v6 {
        sockopt::set_ipv6_multicast_hops(&socket, multicast.ttl.into())?;
    } else {
        sockopt::set_ip_multicast_ttl(&socket, multicast.ttl.into())?;
    }
    Ok(socket)
}
