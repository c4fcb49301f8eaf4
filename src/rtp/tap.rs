//! Where the packets of one track can be taken, by any number of takers, while they pass.
//!
//! A packet is handed over by a call, not by a queue: whoever takes packets sends them on at once or drops and counts them, so
//! that nothing has to wake up for a packet and a slow taker slows nobody. What a taker wishes of the sender goes back the same
//! way.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use super::packet::Packet;
use super::reports::Capture;

/// What a taker wishes of the sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// A keyframe.
    pub keyframe: bool,
}

/// Takes packets.
pub trait PacketSink: Send + Sync {
    /// Takes a packet. Must neither block nor wait.
    fn packet(&self, packet: &Packet) -> Wish;

    /// Takes what a sender report says of one of the sources. Must neither block nor wait.
    fn report(&self, capture: &Capture);
}

/// The takers of one stream of packets. A tap can itself be plugged into another one.
#[derive(Default)]
pub struct Tap {
    sinks: RwLock<Vec<Arc<dyn PacketSink>>>,
}

impl Tap {
    /// A tap without takers.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether nobody takes anything.
    pub fn is_idle(&self) -> bool {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Hands everything that passes from now on to `sink`, until the plug is dropped.
    #[must_use = "dropping the plug pulls it out"]
    pub fn plug(self: &Arc<Self>, sink: Arc<dyn PacketSink>) -> Plug {
        self.sinks.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&sink));
        Plug { tap: Arc::downgrade(self), sink }
    }
}

impl PacketSink for Tap {
    fn packet(&self, packet: &Packet) -> Wish {
        let sinks = self.sinks.read().unwrap_or_else(PoisonError::into_inner);
        sinks.iter().fold(Wish::default(), |wish, sink| Wish { keyframe: sink.packet(packet).keyframe | wish.keyframe })
    }

    fn report(&self, capture: &Capture) {
        let sinks = self.sinks.read().unwrap_or_else(PoisonError::into_inner);
        sinks.iter().for_each(|sink| sink.report(capture));
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let takers = self.sinks.read().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("Tap").field("takers", &takers).finish()
    }
}

/// A taker in its tap; dropping it pulls it out.
pub struct Plug {
    tap: Weak<Tap>,
    sink: Arc<dyn PacketSink>,
}

impl Drop for Plug {
    fn drop(&mut self) {
        if let Some(tap) = self.tap.upgrade() {
            let mut sinks = tap.sinks.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = sinks.iter().position(|sink| Arc::ptr_eq(sink, &self.sink)) {
                sinks.remove(at);
            }
        }
    }
}

impl std::fmt::Debug for Plug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plug")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;

    use super::super::packet::TrackId;
    use super::*;
    use crate::terms::{Codec, Ssrc};

    #[derive(Default)]
    struct Counter {
        packets: AtomicU32,
        wants: bool,
    }

    impl PacketSink for Counter {
        fn packet(&self, _: &Packet) -> Wish {
            self.packets.fetch_add(1, Ordering::Relaxed);
            Wish { keyframe: self.wants }
        }

        fn report(&self, _: &Capture) {}
    }

    fn packet() -> Packet {
        Packet {
            track: TrackId::unique(),
            codec: Codec::Vp8,
            ssrc: Ssrc(1),
            sequence_number: 0,
            timestamp: 0,
            marker: false,
            payload: Bytes::new(),
        }
    }

    #[test]
    fn packets_reach_every_taker_until_it_pulls_its_plug_and_wishes_come_back() {
        let (room, participant) = (Tap::new(), Tap::new());
        let counters = [Arc::new(Counter::default()), Arc::new(Counter { wants: true, ..Counter::default() })];
        let counted = || counters.each_ref().map(|counter| counter.packets.load(Ordering::Relaxed));
        assert!(participant.is_idle());
        let first = room.plug(counters[0].clone());
        let second = room.plug(counters[1].clone());
        let between = participant.plug(room.clone());
        assert!(participant.packet(&packet()).keyframe);
        drop(second);
        assert!(!participant.packet(&packet()).keyframe);
        assert_eq!(counted(), [2, 1]);
        drop(between);
        assert!(participant.is_idle() && !room.is_idle());
        participant.packet(&packet());
        assert_eq!(counted(), [2, 1]);
        drop(first);
    }
}
