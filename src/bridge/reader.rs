//! From a peer's track to its tap and to the ingest: one task per track that never waits for anything but the next packet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::media::ingest::{Decoding, Input};
use crate::peer::{InboundTrack, RtpPacket};
use crate::rtp::{Packet, PacketSink, Tap, TrackId};
use crate::terms::{Codec, MediaKind, Ssrc};

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

/// Whether a participant's sound and pictures go to the ingest. Clones share the answer.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked([Arc<AtomicBool>; 2]);

impl Unpacked {
    pub(crate) fn new(needed: Decoding) -> Self {
        Self([Arc::new(AtomicBool::new(needed.audio)), Arc::new(AtomicBool::new(needed.video))])
    }

    pub(crate) fn set(&self, needed: Decoding) {
        self.0[0].store(needed.audio, Ordering::Relaxed);
        self.0[1].store(needed.video, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, kind: MediaKind) -> Arc<AtomicBool> {
        let [audio, video] = &self.0;
        Arc::clone(if kind == MediaKind::Audio { audio } else { video })
    }
}

/// Where a track's packets go.
pub(crate) struct Ends {
    /// To those who take them as they are.
    pub(crate) tap: Arc<Tap>,
    /// To be unpacked, while `unpacked` says so: an ingest that nobody needs costs nothing.
    pub(crate) input: Input,
    pub(crate) unpacked: Arc<AtomicBool>,
    pub(crate) meter: Arc<TrackMeter>,
    /// Hears of each SSRC, so that sender reports find their session.
    pub(crate) sources: mpsc::Sender<Ssrc>,
}

/// Reads a track until it ends.
pub(crate) async fn read(mut track: InboundTrack, ends: Ends) {
    let Ends { tap, mut input, unpacked, meter, sources } = ends;
    let (id, keyframes) = (TrackId::unique(), track.keyframe_requester());
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
        if !tap.is_idle() && tap.packet(&as_taken(&packet, id, codec)).keyframe {
            keyframes.request();
        }
        if !unpacked.load(Ordering::Relaxed) {
            continue;
        }
        input.push_rtp(codec, packet.payload_type().0, size, |bytes| {
            if packet.marshal_into(bytes).is_none() {
                tracing::debug!(ssrc = %packet.ssrc(), "a packet could not be written");
            }
        });
    }
}

fn as_taken(packet: &RtpPacket, track: TrackId, codec: Codec) -> Packet {
    Packet {
        track,
        codec,
        ssrc: packet.ssrc(),
        sequence_number: packet.sequence_number(),
        timestamp: packet.timestamp(),
        marker: packet.marker(),
        payload: packet.payload().clone(),
    }
}
