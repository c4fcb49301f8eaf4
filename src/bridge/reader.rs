//! From a peer's track to the ingest: one task per track that never waits for anything but the next packet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::media::ingest::Input;
use crate::peer::InboundTrack;
use crate::terms::Ssrc;

/// What a track's reader has seen, read by its participant.
#[derive(Debug)]
pub(crate) struct TrackMeter {
    began: Instant,
    last_packet_ms: AtomicU64,
    bytes: AtomicU64,
}

impl TrackMeter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), last_packet_ms: AtomicU64::new(0), bytes: AtomicU64::new(0) })
    }

    fn count(&self, bytes: usize) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_packet_ms.store(now, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Time since the last packet.
    pub(crate) fn silence(&self) -> std::time::Duration {
        let last = std::time::Duration::from_millis(self.last_packet_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }

    /// Bytes of RTP so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Reads a track until it ends. Tells `sources` each SSRC that it sees, so that sender reports find their session.
pub(crate) async fn read(
    mut track: InboundTrack,
    mut input: Input,
    meter: Arc<TrackMeter>,
    sources: mpsc::Sender<Ssrc>,
) {
    let mut known = None;
    while let Some(packet) = track.read().await {
        if packet.is_padding() {
            continue;
        }
        let Some(codec) = packet.codec() else { continue };
        if known != Some(packet.ssrc()) {
            known = Some(packet.ssrc());
            // A sender that invents sources faster than they are read only loses its own lip sync.
            sources.try_send(packet.ssrc()).ok();
        }
        let size = packet.marshal_size();
        meter.count(size);
        input.push_rtp(codec, packet.payload_type().0, size, |bytes| {
            if packet.marshal_into(bytes).is_none() {
                tracing::debug!(ssrc = %packet.ssrc(), "a packet could not be written");
            }
        });
    }
}
