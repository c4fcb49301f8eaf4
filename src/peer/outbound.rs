//! Outbound tracks: RTP packets that we send on one m-line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters};
use tokio::sync::{Notify, mpsc, watch};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::rtp_transceiver::RtpSender;

use super::codecs;
use super::departures::CaptureTime;
use super::error::PeerError;
use super::packet::RtpPacket;
use crate::terms::{Codec, MediaKind, Ssrc};

const NOT_SENDABLE: u16 = u16::MAX;

/// A track that we send to one participant. Clones send on the same track.
#[derive(Clone)]
pub struct OutboundTrack {
    codec: Codec,
    ssrc: Ssrc,
    local: Arc<TrackLocalStaticRTP>,
    captures: mpsc::Sender<CaptureTime>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// The negotiated payload type, or [`NOT_SENDABLE`] while nothing can be sent.
    payload_type: AtomicU16,
    keyframe_wanted: Notify,
    /// Whether the other side has reported that packets arrive.
    arrives: watch::Sender<bool>,
}

impl std::fmt::Debug for OutboundTrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutboundTrack {{ {} ssrc {} }}", self.codec, self.ssrc)
    }
}

impl OutboundTrack {
    /// A new track with random SSRCs. Tracks of the same `stream` are one lip-synchronised pair for the receiver.
    pub(crate) fn new(codec: Codec, stream: &str, captures: mpsc::Sender<CaptureTime>) -> Self {
        let ssrc = Ssrc(rand::random());
        let rtx = (codec.kind() == MediaKind::Video).then(|| RTCRtpRtxParameters { ssrc: rand::random() });
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc.0), rtx, ..Default::default() },
            codec: codecs::rtc_codec(codec),
            active: true,
            ..Default::default()
        };
        let id = format!("{}-{ssrc}", codec.kind());
        let kind = codecs::rtc_kind(codec.kind());
        let track = MediaStreamTrack::new(stream.to_owned(), id.clone(), id, kind, vec![encoding]);
        Self {
            codec,
            ssrc,
            local: Arc::new(TrackLocalStaticRTP::new(track)),
            captures,
            state: Arc::new(State {
                payload_type: AtomicU16::new(NOT_SENDABLE),
                keyframe_wanted: Notify::new(),
                arrives: watch::Sender::new(false),
            }),
        }
    }

    /// What it carries.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The source that its packets are sent as.
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Sends a packet as this track's source and with the negotiated payload type; its own are replaced. `Ok(false)`
    /// when nothing can be sent now: not connected yet, or the other side does not take this codec.
    pub async fn write(&self, packet: RtpPacket) -> Result<bool, PeerError> {
        let Ok(payload_type) = u8::try_from(self.state.payload_type.load(Ordering::Relaxed)) else { return Ok(false) };
        let mut packet = packet.into_inner();
        packet.header.ssrc = self.ssrc.0;
        packet.header.payload_type = payload_type;
        // Extension ids are negotiated per connection: those of another one would mean something else here.
        packet.header.extension = false;
        packet.header.extensions.clear();
        self.local.write_rtp(packet).await.map(|()| true).map_err(|_closed| PeerError::Closed)
    }

    /// Says when the sample with this timestamp was captured, for the sender reports from now on. Without it they are
    /// made of the moments at which packets leave. All tracks of a stream must be told, or none: a receiver compares them.
    pub fn captured(&self, timestamp: u32, at: Instant) {
        // A full queue means that nothing is reported at all: then it changes nothing.
        self.captures.try_send(CaptureTime { ssrc: self.ssrc.0, timestamp, at }).ok();
    }

    /// Waits until the other side asks for a keyframe. Requests before the call count as one.
    pub async fn keyframe_requested(&self) {
        self.state.keyframe_wanted.notified().await;
    }

    /// Waits until the other side has reported that packets arrive there (RFC 3550, section 6.4).
    pub async fn arrived(&self) {
        // The sender lives as long as we do.
        self.state.arrives.subscribe().wait_for(|arrives| *arrives).await.ok();
    }

    /// Whether packets can be sent now: connected, and the other side takes this codec.
    pub fn is_sendable(&self) -> bool {
        self.state.payload_type.load(Ordering::Relaxed) != NOT_SENDABLE
    }

    pub(crate) fn local(&self) -> Arc<dyn TrackLocal> {
        Arc::clone(&self.local) as Arc<dyn TrackLocal>
    }

    pub(crate) fn arrives(&self) {
        self.state.arrives.send_if_modified(|arrives| !std::mem::replace(arrives, true));
    }

    pub(crate) fn request_keyframe(&self) {
        self.state.keyframe_wanted.notify_one();
    }

    /// Looks up the negotiated payload type; `may_send` false stops sending.
    pub(crate) async fn refresh(&self, sender: &dyn RtpSender, may_send: bool) {
        let negotiated = match sender.get_parameters().await {
            Ok(parameters) if may_send => parameters
                .rtp_parameters
                .codecs
                .iter()
                .find(|format| codecs::is_sendable(self.codec, &format.rtp_codec))
                .map(|format| u16::from(format.payload_type)),
            _ => None,
        };
        self.state.payload_type.store(negotiated.unwrap_or(NOT_SENDABLE), Ordering::Relaxed);
    }
}
