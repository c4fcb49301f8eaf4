//! The routing table of a shared port against any datagrams, in any order.
//!
//! An input is read twice: as one datagram, and as steps of one byte that says what happens and to whom, one byte that says how
//! many bytes follow, and these.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::routes::{ConnectionId, REMOTES, RouteCount, Routes, TRANSACTIONS, UFRAGS};
use super::stun::{Kind, LONGEST_FRAGMENT, kind};

pub(in super::super) fn fuzz_routes(input: &[u8]) {
    read(input);
    let (mut routes, mut now, mut rest) = (Routes::new(), Instant::now(), input);
    let ids = || (0..4).map(ConnectionId);
    while let Some(([step, length], tail)) = rest.split_first_chunk::<2>() {
        let (bytes, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        let id = ConnectionId(u64::from(step >> 4 & 3));
        let address = SocketAddr::from(([192, 0, 2, 1], u16::from(*step >> 6) * 64 + u16::from(*length % 64)));
        match step & 0x0f {
            0 => routes.enter(id, id),
            1 => routes.name(id, &String::from_utf8_lossy(bytes)),
            2 => drop(routes.leave(id)),
            3 => now += Duration::from_millis(u64::from(*length) * 100),
            4 | 5 => {
                if let Kind::Check { transaction, .. } = kind(bytes) {
                    routes.sent(id, transaction, address, now);
                }
            }
            _ => {
                let found = routes.find(bytes, address).copied();
                assert!(found.is_none_or(|found| routes.targets().any(|target| *target == found)));
            }
        }
        let count = routes.count();
        assert!(count.connections <= 4 && count.transactions <= TRANSACTIONS, "{count:?}");
        assert!(count.ufrags <= UFRAGS * count.connections, "{count:?}");
        assert!(count.remotes <= REMOTES * count.connections, "{count:?}");
    }
    for id in ids() {
        routes.leave(id);
    }
    assert_eq!(routes.count(), RouteCount::default(), "something of a connection stays");
}

fn read(datagram: &[u8]) {
    if let Kind::Check { ufrag: Some(ufrag), .. } = kind(datagram) {
        assert!((1..=LONGEST_FRAGMENT).contains(&ufrag.len()));
    }
}
