//! From a peer's track to its tap and to the ingest: one task per track that never waits for anything but the next packet.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::participant::Needs;
use crate::media::ingest::Input;
use crate::peer::{InboundTrack, RtpPacket};
use crate::rtp::{Packet, PacketSink, Tap, TrackId};
use crate::terms::{Codec, MediaKind, Ssrc};

/// How long packets wait for one another where nobody is in a hurry.
const GATHER: Duration = Duration::from_millis(200);

/// How long they wait when none follows: longer than it takes until the next one comes, so that hardly ever a timer is what ends it.
const GATHER_AT_MOST: Duration = Duration::from_millis(300);

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

/// Whether one kind of a participant's media goes to the ingest, and how.
#[derive(Debug, Default)]
pub(crate) struct Way {
    unpacked: AtomicBool,
    may_wait: AtomicBool,
}

/// How a participant's sound and pictures go to the ingest. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways([Arc<Way>; 2]);

impl Ways {
    pub(crate) fn new(needs: Needs) -> Self {
        let ways = Self::default();
        ways.set(needs);
        ways
    }

    pub(crate) fn set(&self, needs: Needs) {
        let [audio, video] = &self.0;
        for (way, unpacked, may_wait) in
            [(audio, needs.unpack.audio, needs.may_wait.audio), (video, needs.unpack.video, needs.may_wait.video)]
        {
            way.unpacked.store(unpacked, Ordering::Relaxed);
            way.may_wait.store(may_wait, Ordering::Relaxed);
        }
    }

    pub(crate) fn of(&self, kind: MediaKind) -> Arc<Way> {
        let [audio, video] = &self.0;
        Arc::clone(if kind == MediaKind::Audio { audio } else { video })
    }
}

/// When packets are passed on that may wait for one another.
///
/// Every packet that goes on alone wakes a dozen threads, from the jitter buffer to the muxers, and waking them costs more than what
/// they do. What comes out of order goes on at once: the jitter buffer has to know what is lost and what was sent again.
#[derive(Debug, Default)]
struct Gathering {
    /// The sequence number that comes next when nothing is lost.
    next: Option<u16>,
    since: Option<Instant>,
}

impl Gathering {
    /// Whether everything goes on with this packet.
    fn is_complete(&mut self, sequence_number: u16, may_wait: bool, now: Instant) -> bool {
        let ahead = self.next.map_or(0, |next| sequence_number.wrapping_sub(next));
        // Half of all numbers are older (RFC 3550, appendix A.1).
        if ahead < 0x8000 {
            self.next = Some(sequence_number.wrapping_add(1));
        }
        let since = *self.since.get_or_insert(now);
        let complete = !may_wait || ahead != 0 || now.saturating_duration_since(since) >= GATHER;
        if complete {
            self.since = None;
        }
        complete
    }

    /// When it goes on although nothing more has come.
    fn deadline(&self) -> Option<Instant> {
        Some(self.since? + GATHER_AT_MOST)
    }
}

/// Where a track's packets go.
pub(crate) struct Ends {
    /// To those who take them as they are.
    pub(crate) tap: Arc<Tap>,
    /// To be unpacked, while its way says so: an ingest that nobody needs costs nothing.
    pub(crate) input: Input,
    pub(crate) way: Arc<Way>,
    pub(crate) meter: Arc<TrackMeter>,
    /// Hears of each SSRC, so that sender reports find their session.
    pub(crate) sources: mpsc::Sender<Ssrc>,
}

/// Reads a track until it ends.
pub(crate) async fn read(mut track: InboundTrack, ends: Ends) {
    let Ends { tap, mut input, way, meter, sources } = ends;
    let (id, keyframes) = (TrackId::unique(), track.keyframe_requester());
    let (mut known, mut gathering) = (None, Gathering::default());
    // One timer for all packets: to set one for each costs more than to read it.
    let mut patience = pin!(tokio::time::sleep_until(Instant::now().into()));
    loop {
        let packet = tokio::select! {
            biased;
            packet = track.read() => packet,
            () = &mut patience, if gathering.deadline().is_some() => {
                gathering.since = None;
                input.release();
                continue;
            }
        };
        let Some(packet) = packet else { break };
        let Some(codec) = packet.codec() else { continue };
        if known != Some(packet.ssrc()) {
            known = Some(packet.ssrc());
            // A sender that invents sources faster than they are read only loses its own lip sync.
            sources.try_send(packet.ssrc()).ok();
        }
        let (size, probes) = (packet.marshal_size(), packet.is_padding());
        // A probe of the bandwidth says nothing of the media, but it has a number: where it was left out, pictures would wait for a
        // packet that was lost and then for a keyframe.
        if probes && codec.kind() == MediaKind::Audio {
            continue;
        }
        if !probes {
            meter.count(size);
        }
        if !probes && !tap.is_idle() && tap.packet(&as_taken(&packet, id, codec)).keyframe {
            keyframes.request();
        }
        if !way.unpacked.load(Ordering::Relaxed) {
            continue;
        }
        input.hold_rtp(codec, packet.payload_type().0, size, |bytes| {
            if packet.marshal_into(bytes).is_none() {
                tracing::debug!(ssrc = %packet.ssrc(), "a packet could not be written");
            }
        });
        let may_wait = way.may_wait.load(Ordering::Relaxed);
        let waited = gathering.deadline().is_some();
        if gathering.is_complete(packet.sequence_number(), may_wait, Instant::now()) {
            input.release();
        } else if let Some(deadline) = gathering.deadline().filter(|_| !waited) {
            patience.as_mut().reset(deadline.into());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn packets_in_order_wait_for_one_another_and_go_on_together() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        let complete = |number: u16| {
            let now = start + ms(20) * u32::from(number.wrapping_sub(65_530));
            gathering.is_complete(number, true, now).then_some(number)
        };
        let gone: Vec<_> = (0..25).map(|index| 65_530_u16.wrapping_add(index)).filter_map(complete).collect();
        assert_eq!(gone, [4, 15], "one in 200 ms, across the wrap");
    }

    #[test]
    fn what_is_needed_at_once_does_not_wait() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        assert!((0..9).all(|number| gathering.is_complete(number, false, start)));
        assert_eq!(gathering.deadline(), None);
        assert!(!gathering.is_complete(9, true, start));
        assert!(gathering.is_complete(10, false, start), "what waited goes on with it");
    }

    #[test]
    fn a_loss_and_its_repair_go_on_at_once() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        let numbers = [1, 2, 4, 5, 3, 6, 6, 7];
        let gone: Vec<_> = numbers.iter().map(|number| gathering.is_complete(*number, true, start)).collect();
        assert_eq!(gone, [false, false, true, false, true, false, true, false]);
    }

    #[test]
    fn who_falls_silent_is_waited_for_only_a_moment() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        assert_eq!(gathering.deadline(), None);
        gathering.is_complete(1, true, start);
        gathering.is_complete(2, true, start + ms(20));
        assert_eq!(gathering.deadline(), Some(start + GATHER_AT_MOST));
    }
}
