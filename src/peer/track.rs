//! Inbound tracks: RTP packets of one m-line, and keyframe requests back to whoever sends them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::debug;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::packet::RtpPacket;
use crate::terms::{Codec, MediaKind, PayloadType, Ssrc};

/// A keyframe takes a round trip and is expensive for the sender: asking more often only makes it worse.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Which codec each payload type of a connection means; changes with each negotiation.
#[derive(Debug)]
pub(crate) struct PayloadTypes([AtomicU8; 128]);

impl PayloadTypes {
    pub(crate) fn new() -> Self {
        Self([const { AtomicU8::new(u8::MAX) }; 128])
    }

    /// Adds what a description declares. Older meanings stay: packets of before the negotiation are still on their way.
    pub(crate) fn learn(&self, declared: &[(PayloadType, Codec)]) {
        for (payload_type, codec) in declared {
            let index = Codec::ALL.iter().position(|known| known == codec).and_then(|index| u8::try_from(index).ok());
            if let (Some(slot), Some(index)) = (self.0.get(usize::from(payload_type.0)), index) {
                slot.store(index, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn codec(&self, payload_type: u8) -> Option<Codec> {
        let index = self.0.get(usize::from(payload_type))?.load(Ordering::Relaxed);
        Codec::ALL.get(usize::from(index)).copied()
    }
}

/// A track that the other side sends.
pub struct InboundTrack {
    /// Sound or picture.
    pub kind: MediaKind,
    /// The codec of its first packet; see [`RtpPacket::codec`] for later ones.
    pub codec: Codec,
    /// The m-line it belongs to.
    pub mid: String,
    /// The source of its first packet; simulcast layers and senders that restart have others.
    pub ssrc: Ssrc,
    remote: Arc<dyn TrackRemote>,
    payload_types: Arc<PayloadTypes>,
    first: Option<rtp::Packet>,
    keyframes: KeyframeRequester,
}

impl fmt::Debug for InboundTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, codec, mid, ssrc, .. } = self;
        write!(f, "InboundTrack {{ {kind} {codec} mid {mid:?} ssrc {ssrc} }}")
    }
}

impl InboundTrack {
    /// Waits for the first packet of a known codec. `None` when the track ends before.
    pub(crate) async fn open(
        remote: Arc<dyn TrackRemote>,
        kind: MediaKind,
        mid: String,
        payload_types: Arc<PayloadTypes>,
        keyframes: KeyframeRequester,
    ) -> Option<Self> {
        loop {
            let packet = next_packet(&*remote).await?;
            let Some(codec) = payload_types.codec(packet.header.payload_type).filter(|codec| codec.kind() == kind)
            else {
                debug!(mid, payload_type = packet.header.payload_type, "skips a packet of an unknown payload type");
                continue;
            };
            let ssrc = Ssrc(packet.header.ssrc);
            keyframes.of(ssrc);
            return Some(Self { kind, codec, mid, ssrc, remote, payload_types, first: Some(packet), keyframes });
        }
    }

    /// The next packet in order of arrival: lost ones that were sent again come late and duplicates may occur. `None`
    /// when the track has ended. Read without pause: 256 packets wait, more are dropped.
    pub async fn read(&mut self) -> Option<RtpPacket> {
        let packet = match self.first.take() {
            Some(first) => first,
            None => next_packet(&*self.remote).await?,
        };
        self.keyframes.of(Ssrc(packet.header.ssrc));
        let codec = self.payload_types.codec(packet.header.payload_type);
        Some(RtpPacket::new(packet, codec))
    }

    /// Asks this track's sender for keyframes.
    pub fn keyframe_requester(&self) -> KeyframeRequester {
        self.keyframes.clone()
    }
}

async fn next_packet(remote: &dyn TrackRemote) -> Option<rtp::Packet> {
    loop {
        match remote.poll().await? {
            TrackRemoteEvent::OnRtpPacket(packet) => return Some(packet),
            TrackRemoteEvent::OnEnded => return None,
            _ => {}
        }
    }
}

/// Asks for keyframes, from any thread, without ever waiting.
#[derive(Clone, Debug, Default)]
pub struct KeyframeRequester {
    shared: Arc<Request>,
}

#[derive(Debug, Default)]
struct Request {
    wanted: Notify,
    ssrc: AtomicU32,
}

impl KeyframeRequester {
    /// Asks once. Requests within 500 ms of one another become one.
    pub fn request(&self) {
        self.shared.wanted.notify_one();
    }

    fn of(&self, ssrc: Ssrc) {
        self.shared.ssrc.store(ssrc.0, Ordering::Relaxed);
    }

    /// Sends a picture loss indication for each request, until dropped.
    pub(crate) async fn run(self, remote: Arc<dyn TrackRemote>) {
        let mut last = None;
        loop {
            let ssrc = self.next(&mut last).await;
            let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: ssrc.0 };
            if let Err(error) = remote.write_rtcp(vec![Box::new(request)]).await {
                debug!(%ssrc, %error, "cannot ask for a keyframe");
            }
        }
    }

    /// Waits until it is time for a request. What is asked before that is part of it.
    async fn next(&self, last: &mut Option<Instant>) -> Ssrc {
        self.shared.wanted.notified().await;
        if let Some(last) = *last {
            tokio::time::sleep_until(last + KEYFRAME_INTERVAL).await;
        }
        *last = Some(Instant::now());
        Ssrc(self.shared.ssrc.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hundred_requests_become_two_half_a_second_apart() {
        let requester = KeyframeRequester::default();
        requester.of(Ssrc(7));
        let (start, mut last) = (Instant::now(), None);
        requester.request();
        assert_eq!(requester.next(&mut last).await, Ssrc(7));
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            requester.request();
        }
        requester.next(&mut last).await;
        assert_eq!(start.elapsed(), KEYFRAME_INTERVAL);
        assert!(tokio::time::timeout(Duration::from_secs(60), requester.next(&mut last)).await.is_err());
        requester.request();
        requester.next(&mut last).await;
        assert_eq!(start.elapsed(), KEYFRAME_INTERVAL + Duration::from_secs(60));
    }

    #[test]
    fn payload_types_keep_their_meaning_until_declared_anew() {
        let types = PayloadTypes::new();
        assert_eq!(types.codec(96), None);
        types.learn(&[(PayloadType(96), Codec::Vp8), (PayloadType(200), Codec::Vp9)]);
        types.learn(&[(PayloadType(111), Codec::Opus)]);
        assert_eq!((types.codec(96), types.codec(111), types.codec(200)), (Some(Codec::Vp8), Some(Codec::Opus), None));
        types.learn(&[(PayloadType(96), Codec::H264)]);
        assert_eq!(types.codec(96), Some(Codec::H264));
    }
}
