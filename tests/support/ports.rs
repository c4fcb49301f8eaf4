//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// A TCP port that nobody listens on now.
pub(crate) fn free_tcp_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free TCP ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// The first of `count` UDP ports in a row, all free, the first one even: video RTP, its RTCP, audio RTP, its RTCP …
pub(crate) fn even_rtp_ports(count: u16) -> u16 {
    for _ in 0..200 {
        let found = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free UDP ports");
        let first = found.local_addr().expect("a bound socket has an address").port() & !1;
        drop(found);
        let all: Vec<_> =
            (first..first.saturating_add(count)).map(|port| UdpSocket::bind(("127.0.0.1", port))).collect();
        if all.len() == usize::from(count) && all.iter().all(Result::is_ok) {
            return first;
        }
    }
    panic!("no {count} free UDP ports in a row on loopback");
}

/// A UDP port that nobody listens on now.
pub(crate) fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free UDP ports");
    socket.local_addr().expect("a bound socket has an address").port()
}
