//! Notices when a player on this machine begins to listen, so that it gets a keyframe at once instead of the next one that is due.
//!
//! A socket that is connected hears when nobody listens on the other side's port (ICMP's port unreachable, RFC 1122, section
//! 4.1.3.3): the next packet is then refused. On this machine that is certain and comes at once; from another machine it may be
//! filtered, it is sent once a second at most (RFC 1812, section 4.3.2.8), and a connected socket would hold on to an address that
//! this machine may lose. There players wait for the period of [`super::PassthroughConfig::keyframes`].

use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Whether the only receiver, on this machine, listens.
#[derive(Debug, Default)]
pub(super) struct Neighbour {
    absent: bool,
}

impl Neighbour {
    /// Lets a socket hear of it, where there is one receiver and it is on this machine. Others can still be sent to.
    pub(super) fn of(socket: &UdpSocket, receivers: &[SocketAddr]) -> io::Result<Self> {
        match receivers {
            [receiver] if receiver.ip().is_loopback() => socket.connect(receiver)?,
            _ => {}
        }
        Ok(Self::default())
    }

    /// Sends a packet. True when the receiver has begun to listen since the last one.
    pub(super) fn send(&mut self, socket: &UdpSocket, packet: &[u8], receiver: SocketAddr) -> io::Result<bool> {
        let was_absent = self.absent;
        let sent = socket.send_to(packet, receiver);
        self.absent = sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        match sent {
            // That was said of the packet before: this one was not sent.
            Err(_) if self.absent => socket.send_to(packet, receiver)?,
            sent => sent?,
        };
        Ok(was_absent && !self.absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    /// Without `connect` nothing is noticed: false each time.
    #[test]
    fn a_player_that_begins_is_noticed_with_the_packet_after_its_first() {
        let place = any().local_addr().unwrap();
        let (socket, other) = (any(), any());
        let mut neighbour = Neighbour::of(&socket, &[place]).unwrap();
        for round in 0..2 {
            for _ in 0..4 {
                assert!(!neighbour.send(&socket, b"lost", place).unwrap());
            }
            let player = UdpSocket::bind(place).unwrap();
            let noticed: Vec<_> = (0..4).map(|_| neighbour.send(&socket, b"heard", place).unwrap()).collect();
            assert_eq!(noticed, [false, true, false, false], "{round}");
            let mut buffer = [0; 8];
            for _ in 0..4 {
                assert_eq!(player.recv(&mut buffer).unwrap(), 5);
            }
            // A further receiver, as the proof of an output is.
            assert!(!neighbour.send(&socket, b"too", other.local_addr().unwrap()).unwrap());
            assert_eq!(other.recv(&mut buffer).unwrap(), 3);
        }
    }

    #[test]
    fn several_receivers_are_not_told_apart() {
        let places = [any(), any()].map(|socket| socket.local_addr().unwrap());
        let socket = any();
        let mut neighbour = Neighbour::of(&socket, &places).unwrap();
        let sent = [0, 1, 0, 1].map(|index| neighbour.send(&socket, b"lost", places[index]).unwrap());
        assert_eq!(sent, [false; 4]);
    }
}
