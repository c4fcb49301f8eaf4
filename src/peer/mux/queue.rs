//! What waits for one connection on one shared port: a ring of bytes, so a datagram costs no allocation.
//!
//! The port's receiving task puts in, the connection's driver takes out. When the driver does not keep up the queue is
//! full and further datagrams are dropped and counted: the receiving task never waits for anybody.

use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use webrtc::runtime::{EcnCodepoint, RecvMeta};

/// About a second of video at 4 Mbit/s, as much as a socket of its own would hold.
const CAPACITY: usize = 512 * 1024;

/// Datagrams on their way to one connection.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    runs: VecDeque<Run>,
    /// The datagrams of all runs, one after the other.
    bytes: VecDeque<u8>,
    waker: Option<Waker>,
    dropped: u64,
}

/// Datagrams of one sender that the kernel gave us in one piece: all have `stride` bytes, but the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) from: SocketAddr,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) stride: usize,
    pub(crate) length: usize,
}

impl Queue {
    /// Puts a run in, or drops it when there is no room.
    pub(crate) fn push(&self, run: Run, bytes: &[u8]) {
        let mut inner = self.lock();
        // Datagrams of a byte each would take more for themselves than for what is in them.
        if inner.bytes.len() + inner.runs.len() * size_of::<Run>() + bytes.len() > CAPACITY {
            inner.dropped += bytes.len().div_ceil(run.stride.max(1)) as u64;
            return;
        }
        inner.bytes.extend(bytes);
        inner.runs.push_back(Run { length: bytes.len(), ..run });
        if let Some(waker) = inner.waker.take() {
            drop(inner);
            waker.wake();
        }
    }

    /// Takes as many whole datagrams of the next run as the buffer holds.
    pub(crate) fn poll_pop(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<RecvMeta> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(run) = inner.runs.front_mut() else {
            inner.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let whole = (buffer.len() / run.stride).max(1) * run.stride;
        let taken = whole.min(run.length);
        let kept = taken.min(buffer.len());
        let mut meta = RecvMeta::default();
        (meta.addr, meta.ecn, meta.len, meta.stride) = (run.from, run.ecn, kept, run.stride.min(kept).max(1));
        run.length -= taken;
        if run.length == 0 {
            inner.runs.pop_front();
        }
        // Reading from memory cannot fail.
        inner.bytes.read_exact(&mut buffer[..kept]).ok();
        // A datagram larger than the buffer is cut, as the kernel would do.
        inner.bytes.drain(..taken - kept);
        Poll::Ready(meta)
    }

    /// Lets the driver look again: something else than a datagram has changed.
    pub(crate) fn wake(&self) {
        let waker = self.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Datagrams that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics while the lock is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stride: usize) -> Run {
        Run { from: SocketAddr::from(([192, 0, 2, 1], 9)), ecn: None, stride, length: 0 }
    }

    fn pop(queue: &Queue, buffer: &mut [u8]) -> Option<(usize, usize)> {
        match queue.poll_pop(&Context::from_waker(Waker::noop()), buffer) {
            Poll::Ready(meta) => Some((meta.len, meta.stride)),
            Poll::Pending => None,
        }
    }

    #[test]
    fn runs_come_out_as_they_went_in_and_whole() {
        let queue = Queue::default();
        queue.push(run(3), b"aaabbbcc");
        queue.push(run(4), b"dddd");
        let mut buffer = [0; 7];
        assert_eq!(pop(&queue, &mut buffer), Some((6, 3)));
        assert_eq!(&buffer[..6], b"aaabbb");
        assert_eq!(pop(&queue, &mut buffer), Some((2, 2)));
        assert_eq!(&buffer[..2], b"cc");
        assert_eq!(pop(&queue, &mut buffer), Some((4, 4)));
        assert_eq!(&buffer[..4], b"dddd");
        assert_eq!(pop(&queue, &mut buffer), None);
    }

    #[test]
    fn a_datagram_larger_than_the_buffer_is_cut_and_the_next_is_whole() {
        let queue = Queue::default();
        queue.push(run(5), b"aaaaabbb");
        let mut buffer = [0; 3];
        assert_eq!(pop(&queue, &mut buffer), Some((3, 3)));
        assert_eq!(pop(&queue, &mut buffer), Some((3, 3)));
        assert_eq!(&buffer, b"bbb");
        assert_eq!(pop(&queue, &mut buffer), None);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let queue = Queue::default();
        let run_bytes = vec![1; 10_000];
        for _ in 0..100 {
            queue.push(run(1000), &run_bytes);
        }
        let held = CAPACITY / run_bytes.len();
        assert_eq!(queue.dropped(), (100 - held as u64) * 10);
        let mut buffer = vec![0; 10_000];
        let mut popped = 0;
        while pop(&queue, &mut buffer).is_some() {
            popped += 1;
        }
        assert_eq!(popped, held);
    }

    /// Without counting the runs themselves: `524288 datagrams wait`, which take 32 MB.
    #[test]
    fn tiny_datagrams_are_bounded_like_large_ones() {
        let queue = Queue::default();
        for _ in 0..CAPACITY {
            queue.push(run(1), b"x");
        }
        let waiting = queue.lock().runs.len();
        assert!(waiting * size_of::<Run>() <= CAPACITY, "{waiting} datagrams wait");
    }

    #[test]
    fn an_empty_datagram_does_not_stop_the_queue() {
        let queue = Queue::default();
        queue.push(run(1), b"");
        queue.push(run(1), b"x");
        let mut buffer = [0; 8];
        assert_eq!(pop(&queue, &mut buffer).map(|(length, _)| length), Some(0));
        assert_eq!(pop(&queue, &mut buffer), Some((1, 1)));
    }
}
