//! One RTP packet without its extensions, which mean something only on the connection that it came by.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::terms::{Codec, Ssrc};

/// Tells one track of one connection from every other: a sender who comes back has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrackId(u64);

impl TrackId {
    /// One that nobody else has.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One RTP packet (RFC 3550, section 5.1). Cloning shares the payload.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The track it belongs to.
    pub track: TrackId,
    /// What its payload type means.
    pub codec: Codec,
    /// Its source; layers of one track differ here.
    pub ssrc: Ssrc,
    /// Counts packets; wraps.
    pub sequence_number: u16,
    /// The sampling instant, in units of the codec's clock rate; wraps.
    pub timestamp: u32,
    /// Last packet of a picture, or first of a talk spurt.
    pub marker: bool,
    /// The payload, without padding.
    pub payload: Bytes,
}
