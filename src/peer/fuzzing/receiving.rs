//! Packets of an authenticated sender that mean anything: what [`super`] calls for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::interceptor::{
    AttributedPacket, Interceptor, Packet, RTCPFeedback, RTPHeaderExtension, StreamInfo, TaggedPacket,
};
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use rtc::shared::marshal::Unmarshal;
use tokio::sync::mpsc;

use super::super::chain::{Stage, Verdict};
use super::super::fec::FecDecoders;
use super::super::nack::Nacks;
use super::super::packet::RtpPacket;
use super::super::rtcp_tap::{Feedback, RtcpTap};
use super::super::rtx::RtxDecapsulator;
use super::super::simulcast::Simulcast;
use crate::rtp::fuzzing::Steps;
use crate::rtp::{SenderClock, begins_keyframe};
use crate::terms::{Codec, Ssrc};

/// One packet, as the network brings it.
pub(super) fn rtp(input: &[u8]) {
    let Ok(packet) = RtpPacket::parse(Bytes::copy_from_slice(input)) else { return };
    assert!(packet.payload().len() <= input.len() && packet.payload_type().0 < 128);
    for codec in Codec::ALL {
        begins_keyframe(codec, packet.payload());
    }
    let mut written = vec![0; packet.marshal_size()];
    assert_eq!(packet.marshal_into(&mut written), Some(written.len()), "it is as long as it says");
    assert_eq!(packet.marshal_into(&mut vec![0; written.len() - 1]), None, "nor longer than its place");
    let again = RtpPacket::parse(written.into());
    assert!(
        again.is_ok_and(|again| (
            again.ssrc(),
            again.sequence_number(),
            again.timestamp(),
            again.marker(),
            again.payload()
        ) == (
            packet.ssrc(),
            packet.sequence_number(),
            packet.timestamp(),
            packet.marker(),
            packet.payload()
        )),
        "what goes to the jitter buffer is what came"
    );
}

/// Compound packets, each behind its length.
pub(super) fn rtcp(input: &[u8]) {
    let (sender, mut told) = mpsc::channel(64);
    let (mut tap, mut clock, mut steps) = (RtcpTap::new(sender), SenderClock::default(), Steps(input));
    while !steps.is_over() {
        let Some(packet) = compound(steps.sized()) else { continue };
        let mut packet = packet;
        assert_eq!(tap.inbound(&mut packet), Verdict::Pass);
        while let Ok(feedback) = told.try_recv() {
            if let Feedback::SenderReport { ssrc, compound } = feedback {
                let capture = clock.read(&compound, Instant::now());
                assert!(capture.is_some_and(|capture| capture.ssrc == ssrc), "{ssrc} is not in {compound:x?}");
            }
        }
    }
}

fn compound(mut bytes: &[u8]) -> Option<Packet> {
    rtc::rtcp::packet::unmarshal(&mut bytes).ok().map(Packet::Rtcp)
}

/// A connection whose sender has a plain stream with retransmissions and repair packets, and a simulcast. A step is a byte that says how long it took,
/// in tens of milliseconds, and whether RTP or RTCP comes; the packet stands behind its length.
pub(super) fn connection(input: &[u8]) {
    let (sender, mut told) = mpsc::channel(16);
    let (mut rtx, mut nacks, mut tap) = (RtxDecapsulator::default(), Nacks::new(), RtcpTap::new(sender));
    let mut fec = FecDecoders::new(Arc::default());
    let extensions = ["mid", "rtp-stream-id", "repaired-rtp-stream-id"];
    let extensions = extensions
        .iter()
        .zip(1..)
        .map(|(name, id)| RTPHeaderExtension { uri: format!("urn:ietf:params:rtp-hdrext:sdes:{name}"), id });
    let nack = vec![RTCPFeedback { typ: "nack".into(), parameter: String::new() }];
    let plain = StreamInfo {
        ssrc: 10,
        ssrc_rtx: Some(11),
        ssrc_fec: Some(12),
        payload_type: 96,
        payload_type_fec: Some(49),
        rtp_header_extensions: extensions.collect(),
        rtcp_feedback: nack,
        ..Default::default()
    };
    rtx.remote_stream_added(&plain);
    fec.bind_remote_stream(&plain);
    nacks.bind_remote_stream(&plain);
    let mut now = Instant::now();
    let mut simulcast = Simulcast::new(Ssrc(20), 90_000, now);
    let (mut steps, mut passed) = (Steps(input), VecDeque::new());
    while !steps.is_over() {
        let step = steps.byte();
        now += Duration::from_millis(u64::from(step >> 1) * 10);
        let bytes = steps.sized();
        let packet = if step & 1 == 1 {
            compound(bytes)
        } else {
            rtc::rtp::Packet::unmarshal(&mut Bytes::copy_from_slice(bytes)).ok().map(Packet::Rtp)
        };
        let Some(mut packet) = packet else { continue };
        if rtx.inbound(&mut packet) == Verdict::Pass {
            let message = AttributedPacket::new(packet);
            fec.handle_read(TaggedPacket { now, transport: TransportContext::default(), message }).ok();
        }
        while let Some(passed_on) = fec.poll_read() {
            nacks.handle_read(passed_on).ok();
        }
        while let Some(mut passed_on) = nacks.poll_read() {
            tap.inbound(&mut passed_on.message.packet);
            if let Packet::Rtp(packet) = passed_on.message.packet {
                let codec = Codec::ALL[usize::from(packet.header.payload_type) % Codec::ALL.len()];
                if let Some(shown) = simulcast.take(RtpPacket::new(packet, Some(codec)), now) {
                    assert_eq!(shown.ssrc(), Ssrc(20), "layers are shown as one source");
                    passed.push_back(shown.sequence_number());
                }
                simulcast.asks(now);
            }
        }
        while let Ok(feedback) = told.try_recv() {
            if let Feedback::SenderReport { ssrc, compound } = feedback
                && let Some((shown, compound)) = simulcast.report(ssrc, &compound)
            {
                assert!(shown == Ssrc(20) && compound.len() >= 28, "{compound:x?}");
            }
        }
        due(&mut nacks, now);
        // Two packets of one number, one soon after the other, would be decoded twice.
        if passed.len() > 1 {
            let last = passed.pop_back();
            assert!(!passed.iter().rev().take(16).any(|number| Some(*number) == last), "{last:?} is shown twice");
            passed.extend(last);
        }
    }
}

/// Lets the generator do what is due: a bounded number of requests.
fn due(nacks: &mut Nacks, now: Instant) {
    if nacks.poll_timeout().is_some_and(|due| due <= now) {
        nacks.handle_timeout(now).ok();
    }
    let requests = std::iter::from_fn(|| nacks.poll_write()).take(1000).count();
    assert!(requests < 1000, "requests without end");
}

/// What is before any authentication: DTLS records and STUN messages, as the engine reads them.
pub(super) fn records(input: &[u8]) {
    let mut rest = input;
    while !rest.is_empty() {
        let before = rest.len();
        rtc::dtls::record_layer::RecordLayer::unmarshal(&mut rest).ok();
        if rest.len() == before {
            break;
        }
    }
    let mut message = rtc::stun::message::Message::new();
    if message.unmarshal_binary(input).is_ok() {
        assert!(message.raw.len() <= input.len().max(20));
    }
}
