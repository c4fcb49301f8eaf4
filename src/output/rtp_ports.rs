//! Which UDP ports are free for an RTP session of two streams: RTP and RTCP of video, then of audio (RFC 3550, section 11).

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// The first even port from `first` on such that it and the next three are free on loopback.
///
/// # Errors
/// When there is none.
pub fn free_rtp_ports(first: u16) -> io::Result<u16> {
    let first = first.next_multiple_of(2);
    let free = |port: u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    (first..u16::MAX - 3)
        .step_by(2)
        .find(|&port| (port..port + 4).all(free))
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, format!("no four free UDP ports from {first} on")))
}

/// Four such ports anywhere: two callers at once hardly ever find the same.
///
/// # Errors
/// When there are none.
pub fn any_free_rtp_ports() -> io::Result<u16> {
    free_rtp_ports(20_000 + 4 * rand::random_range(0..10_000_u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let first = free_rtp_ports(30_000).unwrap();
        let _taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, first + 3)).unwrap();
        let next = free_rtp_ports(first).unwrap();
        assert!(next > first + 3 && next.is_multiple_of(2));
    }
}
