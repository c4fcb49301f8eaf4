//! The codecs that a connection offers and accepts, and the interceptors every connection has.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rtc::interceptor::{
    NackResponderBuilder, ReceiverReportBuilder, Registry, SenderReportBuilder, Slot, TwccReceiverBuilder,
};
use rtc::peer_connection::configuration::interceptor_registry::{
    configure_simulcast_extension_headers, configure_twcc_receiver_only,
};
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_AV1, MIME_TYPE_FLEX_FEC03, MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MIME_TYPE_VP9,
    MediaEngine,
};
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use rtc::shared::error::Error;
use tokio::sync::mpsc;

use super::chain::Staged;
use super::departures::{self, CaptureTime, Departures};
use super::fec::FecDecoders;
use super::intake::{self, Intake};
use super::nack::Nacks;
use super::rtcp_tap::{self, Feedback, RtcpTap};
use super::rtx::{self, RtxDecapsulator};
use super::sdes::{self, SourceNamer};
use crate::terms::{Codec, MediaKind};

/// The time from one sender report to the next: whoever receives us brings lips and voice in step by the first one.
const SENDER_REPORTS: Duration = Duration::from_millis(300);

/// Where arrivals are noted for transport-wide feedback: before anything is taken out of the stream. The padding with which a
/// browser tries out whether a network carries more goes no further than [`rtx`], and what is not noted counts as lost.
const ARRIVALS: usize = 5_200;

/// The payload type of repair packets in our own offers.
const FLEXFEC: u8 = 49;

/// How a codec is written in SDP: payload type, payload type of its RTX stream, and format parameters.
struct Format(u8, u8, &'static str);

/// The formats of a codec, the one that we send ourselves first.
///
/// H.264 is registered once per profile and packetization mode, because a format matches only when both are equal (RFC
/// 6184, section 8.2.2): constrained baseline and baseline, with mode 0 last, which is only for those who have no other.
fn formats(codec: Codec) -> &'static [Format] {
    match codec {
        // Not sprop-stereo, which says what a sender will do: GStreamer refuses an offer that says so to send mono itself.
        Codec::Opus => &[Format(111, 0, "minptime=10;useinbandfec=1;stereo=1")],
        Codec::Vp8 => &[Format(96, 97, "")],
        Codec::Vp9 => &[Format(98, 99, "profile-id=0")],
        Codec::Av1 => &[Format(45, 46, "level-idx=5;profile=0;tier=0")],
        Codec::H264 => &[
            Format(102, 103, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
            Format(104, 105, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
            Format(106, 107, "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"),
            Format(108, 109, "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f"),
        ],
    }
}

fn mime_type(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => MIME_TYPE_OPUS,
        Codec::Vp8 => MIME_TYPE_VP8,
        Codec::Vp9 => MIME_TYPE_VP9,
        Codec::Av1 => MIME_TYPE_AV1,
        Codec::H264 => MIME_TYPE_H264,
    }
}

/// The crate's word for a kind.
pub(crate) fn rtc_kind(kind: MediaKind) -> RtpCodecKind {
    match kind {
        MediaKind::Audio => RtpCodecKind::Audio,
        MediaKind::Video => RtpCodecKind::Video,
    }
}

/// The codec in the crate's terms, as we send it.
pub(crate) fn rtc_codec(codec: Codec) -> RTCRtpCodec {
    codec_with_parameters(codec, formats(codec).first().map_or("", |format| format.2))
}

fn codec_with_parameters(codec: Codec, parameters: &str) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: mime_type(codec).to_owned(),
        clock_rate: codec.clock_rate(),
        channels: if codec == Codec::Opus { 2 } else { 0 },
        sdp_fmtp_line: parameters.to_owned(),
        rtcp_feedback: Vec::new(),
    }
}

/// Whether a negotiated format is this codec as we send it: H.264 goes out in packetization mode 1 only.
pub(crate) fn is_sendable(codec: Codec, negotiated: &RTCRtpCodec) -> bool {
    negotiated.mime_type.eq_ignore_ascii_case(mime_type(codec))
        && (codec != Codec::H264 || negotiated.sdp_fmtp_line.contains("packetization-mode=1"))
}

/// Whether the engine takes a remote format for exactly one of those that we offer of this codec, as far as we need to know: not of
/// VP9 and AV1.
pub(crate) fn is_exactly_ours(codec: Codec, parameters: &str) -> bool {
    // What names a format of H.264 is its packetization mode and its profile without the level (RFC 6184, section 8.2.2).
    let identity = |parameters: &str| {
        let value =
            |name: &str| parameters.split(';').find_map(|one| one.trim().strip_prefix(name)).map(str::to_lowercase);
        let profile = value("profile-level-id=")?.get(..4)?.to_owned();
        Some((value("packetization-mode=")?, profile))
    };
    match codec {
        Codec::Vp8 => true,
        Codec::H264 => {
            let theirs = identity(parameters);
            theirs.is_some() && formats(codec).iter().any(|Format(.., ours)| identity(ours) == theirs)
        }
        Codec::Opus | Codec::Vp9 | Codec::Av1 => false,
    }
}

/// Forward error correction of those who send it, as browsers write it; the window is in µs.
fn flexfec() -> RTCRtpCodecParameters {
    let rtp_codec = RTCRtpCodec {
        mime_type: MIME_TYPE_FLEX_FEC03.to_owned(),
        clock_rate: 90_000,
        sdp_fmtp_line: "repair-window=10000000".to_owned(),
        ..Default::default()
    };
    RTCRtpCodecParameters { rtp_codec, payload_type: FLEXFEC }
}

/// The media engine that offers these codecs in this order, behind them forward error correction if we send nothing: an engine that
/// takes it names repair packets of its own beside each picture that it sends, and we have none.
pub(crate) fn media_engine(codecs: &[Codec], sends: bool) -> Result<MediaEngine, Error> {
    let mut engine = MediaEngine::default();
    for &codec in codecs {
        let kind = rtc_kind(codec.kind());
        for &Format(payload_type, rtx_payload_type, parameters) in formats(codec) {
            let rtp_codec = codec_with_parameters(codec, parameters);
            engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, kind)?;
            if codec.kind() == MediaKind::Video {
                let rtp_codec = RTCRtpCodec {
                    mime_type: MIME_TYPE_RTX.to_owned(),
                    clock_rate: codec.clock_rate(),
                    sdp_fmtp_line: format!("apt={payload_type}"),
                    ..Default::default()
                };
                engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type: rtx_payload_type }, kind)?;
            }
        }
    }
    if !sends && codecs.iter().any(|codec| codec.kind() == MediaKind::Video) {
        engine.register_codec(flexfec(), RtpCodecKind::Video)?;
    }
    for (typ, parameter) in [("nack", ""), ("nack", "pli"), ("ccm", "fir")] {
        let feedback = RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() };
        engine.register_feedback(feedback, RtpCodecKind::Video);
    }
    Ok(engine)
}

/// The interceptor chain: loss recovery, reports, transport-wide feedback and our own stages. Every packet passes through all of
/// it, so who sends nothing (no `captures`) has no stages for what is sent, and who sends has none for repair packets.
///
/// Arrivals are noted before packets are rebuilt, as those never arrived, and losses after it, as nobody needs to send those again.
pub(crate) fn interceptors(
    engine: &mut MediaEngine,
    feedback: mpsc::Sender<Feedback>,
    captures: Option<mpsc::Receiver<CaptureTime>>,
    intake: Intake,
    rebuilt: Arc<AtomicU64>,
) -> Result<Registry, Error> {
    configure_simulcast_extension_headers(engine)?;
    // What it puts into descriptions; its own place for arrivals is behind those who drop packets.
    drop(configure_twcc_receiver_only(Registry::new(), engine)?);
    let mut registry = Registry::new()
        .with(Slot::from(ARRIVALS), TwccReceiverBuilder::new().build())
        .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build());
    if let Some(captures) = captures {
        registry = registry
            .with(Slot::SenderReport, SenderReportBuilder::new().with_interval(SENDER_REPORTS).build())
            .with(Slot::from(sdes::SLOT), Staged::new(SourceNamer::random()))
            .with(Slot::from(departures::SLOT), Staged::new(Departures::new(captures)))
            .with(Slot::NackResponder, NackResponderBuilder::new().build());
    } else {
        registry = registry.with(Slot::FecDecoder, FecDecoders::new(rebuilt));
    }
    Ok(registry
        .with(Slot::from(intake::SLOT), Staged::new(intake))
        .with(Slot::from(rtx::SLOT), Staged::new(RtxDecapsulator::default()))
        .with(Slot::NackGenerator, Nacks::new())
        .with(Slot::from(rtcp_tap::SLOT), Staged::new(RtcpTap::new(feedback))))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_formats_share_a_payload_type() {
        let mut seen = HashSet::from([FLEXFEC]);
        for codec in Codec::ALL {
            for Format(payload_type, rtx, _) in formats(codec) {
                assert!(seen.insert(*payload_type), "{payload_type}");
                assert!(codec.kind() == MediaKind::Audio || seen.insert(*rtx), "{rtx}");
            }
        }
    }

    #[test]
    fn h264_is_sent_in_packetization_mode_1_only() {
        let negotiated = |parameters| codec_with_parameters(Codec::H264, parameters);
        assert!(is_sendable(Codec::H264, &negotiated("packetization-mode=1;profile-level-id=42e01f")));
        assert!(!is_sendable(Codec::H264, &negotiated("packetization-mode=0;profile-level-id=42e01f")));
        assert!(!is_sendable(Codec::Vp8, &negotiated("packetization-mode=1")));
    }
}
