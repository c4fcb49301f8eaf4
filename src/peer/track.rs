//! Inbound tracks: the RTP packets of one m-line.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rtc::rtp;
use tracing::debug;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::keyframe::KeyframeRequester;
use super::packet::RtpPacket;
use super::simulcast::{SharedSimulcast, Simulcast};
use crate::rtp::begins_keyframe;
use crate::terms::{Codec, MediaKind, PayloadType, Ssrc};

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
    /// The source of its first packet; senders that restart have others. The layers of a simulcast are shown as one.
    pub ssrc: Ssrc,
    remote: Arc<dyn TrackRemote>,
    payload_types: Arc<PayloadTypes>,
    first: Option<rtp::Packet>,
    keyframes: KeyframeRequester,
    layers: Option<SharedSimulcast>,
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
            let layers = remote.rid(ssrc.0).await.map(|rid| {
                debug!(mid, rid, "a simulcast");
                Arc::new(Mutex::new(Simulcast::new(ssrc, codec.clock_rate(), Instant::now())))
            });
            return Some(Self {
                kind,
                codec,
                mid,
                ssrc,
                remote,
                payload_types,
                first: Some(packet),
                keyframes,
                layers,
            });
        }
    }

    /// The next packet in order of arrival: lost ones that were sent again come late and duplicates may occur. `None`
    /// when the track has ended. Read without pause: 256 packets wait, more are dropped. Of a simulcast, the best layer that
    /// flows.
    pub async fn read(&mut self) -> Option<RtpPacket> {
        loop {
            let packet = match self.first.take() {
                Some(first) => first,
                None => next_packet(&*self.remote).await?,
            };
            let codec = self.payload_types.codec(packet.header.payload_type);
            let packet = RtpPacket::new(packet, codec);
            if self.kind == MediaKind::Video && codec.is_some_and(|codec| begins_keyframe(codec, packet.payload())) {
                self.keyframes.arrived(packet.ssrc());
            }
            let Some(layers) = &self.layers else {
                self.keyframes.of(packet.ssrc());
                return Some(packet);
            };
            let mut layers = layers.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let taken = layers.take(packet, now);
            self.keyframes.of(layers.keyframe_source());
            if layers.asks(now) {
                self.keyframes.request();
            }
            if taken.is_some() {
                return taken;
            }
        }
    }

    /// Its layers, if it is a simulcast.
    pub(crate) fn layers(&self) -> Option<&SharedSimulcast> {
        self.layers.as_ref()
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

#[cfg(test)]
mod tests {
    use super::*;

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
