//! Datagrams of any sizes through a connection's queue.
//!
//! A step is two numbers of two bytes: how many bytes come in how large datagrams, or, when the first is odd, into how large a
//! buffer they go out.

use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

use super::queue::{Queue, Run};
use crate::rtp::fuzzing::Steps;

pub(in super::super) fn fuzz_queue(input: &[u8]) {
    let (mut steps, queue) = (Steps(input), Queue::default());
    let from = SocketAddr::from(([192, 0, 2, 1], 9));
    let mut buffer = vec![0; 65_536];
    let (mut inside, mut dropped) = (0_usize, 0);
    while !steps.is_over() {
        let (what, size) = (steps.two(), usize::from(steps.two()));
        if what & 1 == 0 {
            let (length, stride) = (usize::from(what), size.max(1));
            queue.push(Run { from, ecn: None, stride, length: 0 }, &vec![7; length]);
            // What finds no room is counted, and nothing of it stays.
            inside += if queue.dropped() == dropped { length } else { 0 };
            dropped = queue.dropped();
        } else if let Poll::Ready(meta) =
            queue.poll_pop(&Context::from_waker(Waker::noop()), &mut buffer[..size.max(1)])
        {
            assert!(meta.len <= size.max(1) && meta.stride >= 1 && meta.addr == from);
            assert!(buffer[..meta.len].iter().all(|byte| *byte == 7));
            inside = inside.checked_sub(meta.len).unwrap_or_else(|| unreachable!("more goes out than came in"));
        }
    }
    // Every datagram comes out, or is cut where its buffer was too small.
    while let Poll::Ready(meta) = queue.poll_pop(&Context::from_waker(Waker::noop()), &mut buffer) {
        inside = inside.checked_sub(meta.len).unwrap_or_else(|| unreachable!("more goes out than came in"));
    }
}
