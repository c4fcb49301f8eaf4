use std::time::Duration;

use rtc::interceptor::{RTCPFeedback, RTPHeaderExtension};
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::shared::TransportContext;
use rtc::shared::marshal::Marshal;
use tokio::sync::mpsc;

use super::super::codecs;
use super::super::intake::Intake;
use super::*;
use crate::terms::Codec;

const MEDIA: u32 = 0x0102_0304;
const REPAIR: u32 = 0x0506_0708;
const TRANSPORT_CC_ID: u8 = 3;
const MID_ID: u8 = 4;

/// Media that is protected in groups of three: what was sent, transport-wide numbers included.
fn media(number: u16) -> rtp::Packet {
    let payload: Vec<u8> = (0..20 + number % 7).map(|byte| (byte * 31) as u8 ^ number as u8).collect();
    let mut header = rtp::Header {
        version: 2,
        marker: number.is_multiple_of(3),
        payload_type: 96,
        sequence_number: number,
        timestamp: 90_000 + u32::from(number / 3) * 3000,
        ssrc: MEDIA,
        ..Default::default()
    };
    // Only some packets have it, so that the numbers do not stand at the same place in all.
    if number.is_multiple_of(2) {
        header.set_extension(MID_ID, Bytes::from_static(b"video")).unwrap();
    }
    header.set_extension(TRANSPORT_CC_ID, Bytes::from(number.wrapping_mul(257).to_be_bytes().to_vec())).unwrap();
    rtp::Packet { header, payload: Bytes::from(payload) }
}

/// A repair packet for `base` and those of the next 14 that `mask` names, by sections 4.2.2 and 6.2 of the draft.
fn repair(number: u16, base: u16, mask: u16) -> rtp::Packet {
    let mut recovery = [0_u8; 8];
    let mut body = Vec::new();
    for offset in (0..15).filter(|offset| mask & (0x4000 >> offset) != 0) {
        let mut packet = media(base.wrapping_add(offset));
        packet.header.set_extension(TRANSPORT_CC_ID, Bytes::from_static(&[0, 0])).unwrap();
        let bytes = packet.marshal().unwrap();
        let length = u16::try_from(bytes.len() - 12).unwrap().to_be_bytes();
        let fields = [bytes[0], bytes[1], length[0], length[1], bytes[4], bytes[5], bytes[6], bytes[7]];
        recovery.iter_mut().zip(fields).for_each(|(sum, byte)| *sum ^= byte);
        body.resize(body.len().max(bytes.len() - 12), 0);
        body.iter_mut().zip(&bytes[12..]).for_each(|(sum, byte)| *sum ^= byte);
    }
    // R and F are 0: a mask, and no retransmission.
    recovery[0] &= 0x3f;
    let mut payload = recovery.to_vec();
    payload.extend([1, 0, 0, 0]);
    payload.extend(MEDIA.to_be_bytes());
    payload.extend(base.to_be_bytes());
    payload.extend((0x8000 | mask).to_be_bytes());
    payload.extend(body);
    let header = rtp::Header {
        version: 2,
        payload_type: 35,
        sequence_number: number,
        timestamp: 90_000,
        ssrc: REPAIR,
        ..Default::default()
    };
    rtp::Packet { header, payload: Bytes::from(payload) }
}

fn protected() -> StreamInfo {
    let extension = RTPHeaderExtension { uri: TRANSPORT_CC.to_owned(), id: TRANSPORT_CC_ID.into() };
    let feedback = ["nack", "transport-cc"].map(|typ| RTCPFeedback { typ: typ.into(), parameter: String::new() });
    StreamInfo {
        ssrc: MEDIA,
        clock_rate: 90_000,
        ssrc_fec: Some(REPAIR),
        payload_type_fec: Some(35),
        rtp_header_extensions: vec![extension],
        rtcp_feedback: feedback.to_vec(),
        ..Default::default()
    }
}

fn decoders() -> FecDecoders {
    let mut decoders = FecDecoders::new(Arc::default());
    decoders.bind_remote_stream(&protected());
    decoders
}

fn tagged(packet: rtp::Packet, now: Instant) -> TaggedPacket {
    let message = AttributedPacket::new(Packet::Rtp(packet));
    TaggedPacket { now, transport: TransportContext::default(), message }
}

/// What goes on, and whether it was rebuilt.
fn passed(decoders: &mut impl Interceptor) -> Vec<(rtp::Packet, bool)> {
    std::iter::from_fn(|| decoders.poll_read())
        .map(|message| {
            let rebuilt = message.message.has(&Attribute::RecoveredByFec);
            match message.message.packet {
                Packet::Rtp(packet) => (packet, rebuilt),
                packet => panic!("{packet:?} out of RTP"),
            }
        })
        .collect()
}

fn read(decoders: &mut FecDecoders, packet: rtp::Packet) -> Vec<(rtp::Packet, bool)> {
    decoders.handle_read(tagged(packet, Instant::now())).unwrap();
    passed(decoders)
}

fn read_again(decoders: &mut FecDecoders, packet: rtp::Packet) -> Vec<(rtp::Packet, bool)> {
    let mut message = tagged(packet, Instant::now());
    message.message.add(Attribute::Retransmission);
    decoders.handle_read(message).unwrap();
    passed(decoders)
}

/// The packet but for its transport-wide number, which nobody can know.
fn assert_rebuilt(read: &[(rtp::Packet, bool)], number: u16) {
    let mut expected = media(number);
    expected.header.set_extension(TRANSPORT_CC_ID, Bytes::from_static(&[0, 0])).unwrap();
    let [(packet, true)] = read else { panic!("{number}: {read:?}") };
    assert_eq!(packet.payload, expected.payload);
    assert_eq!(packet.header, expected.header);
}

#[test]
fn one_packet_of_a_group_is_rebuilt_whichever_it_is() {
    for lost in 10..13 {
        let mut decoders = decoders();
        for number in (10..13).filter(|number| *number != lost) {
            assert_eq!(read(&mut decoders, media(number)), [(media(number), false)]);
        }
        assert_rebuilt(&read(&mut decoders, repair(1, 10, 0x7000)), lost);
        assert_eq!(decoders.rebuilt.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_group_may_end_after_its_repair_packet_and_after_the_last_number() {
    let mut decoders = decoders();
    read(&mut decoders, media(0xffff));
    assert_eq!(read(&mut decoders, repair(1, 0xffff, 0x7000)), []);
    let rest = read(&mut decoders, media(1));
    assert_eq!(rest[0], (media(1), false));
    assert_rebuilt(&rest[1..], 0);
}

#[test]
fn two_losses_are_rebuilt_by_two_groups_that_cross() {
    let mut decoders = decoders();
    for number in [10, 13, 14] {
        read(&mut decoders, media(number));
    }
    // 11 and 12 are missing: the first group lacks both, the second only 12.
    assert_eq!(read(&mut decoders, repair(1, 10, 0x7000)), []);
    let rebuilt = read(&mut decoders, repair(2, 12, 0x7000));
    assert_rebuilt(&rebuilt[..1], 12);
    assert_rebuilt(&rebuilt[1..], 11);
}

#[test]
fn nothing_is_made_of_whole_groups_and_of_too_many_losses() {
    let mut decoders = decoders();
    for number in 10..13 {
        read(&mut decoders, media(number));
    }
    assert_eq!(read(&mut decoders, repair(1, 10, 0x7000)), []);
    read(&mut decoders, media(20));
    assert_eq!(read(&mut decoders, repair(2, 20, 0x7000)), []);
    assert_eq!(decoders.rebuilt.load(Ordering::Relaxed), 0);
}

/// With `Protected::arrive` always true: 11 came again.
#[test]
fn what_was_rebuilt_does_not_come_again() {
    let mut decoders = decoders();
    for number in [10, 12] {
        read(&mut decoders, media(number));
    }
    assert_rebuilt(&read(&mut decoders, repair(1, 10, 0x7000)), 11);
    assert_eq!(read_again(&mut decoders, media(11)), []);
    assert_eq!(read(&mut decoders, media(11)), []);
    // Not so long afterwards: numbers wrap.
    for number in 13..REMEMBERED as u16 + 13 {
        assert_eq!(read(&mut decoders, media(number)).len(), 1);
    }
    assert_eq!(read_again(&mut decoders, media(11)).len(), 1);
    assert!(decoders.streams.values().all(|stream| stream.passed.len() == REMEMBERED && stream.rebuilt.is_empty()));
}

/// With `Protected::rebuild` always true: 11 came again.
#[test]
fn what_was_sent_again_in_time_is_not_rebuilt_and_nothing_is_rebuilt_from_it() {
    let mut decoders = decoders();
    for number in [10, 12, 20] {
        read(&mut decoders, media(number));
    }
    let mut sent_again = media(11);
    sent_again.header.set_extension(MID_ID, Bytes::from_static(b"other")).unwrap();
    assert_eq!(read_again(&mut decoders, sent_again.clone()), [(sent_again, false)]);
    assert_eq!(read(&mut decoders, repair(1, 10, 0x7000)), []);
    assert_eq!(decoders.rebuilt.load(Ordering::Relaxed), 0);
    read_again(&mut decoders, media(21));
    assert_eq!(read(&mut decoders, repair(2, 20, 0x7000)), []);
}

/// What one connection says of a packet that was lost and rebuilt. With the decoder wire-ward of where arrivals are noted (slot 5100),
/// 11 arrived as number 0 and no repair packet did; application-ward of the requests (slot 7500), 11 was asked for ten times.
#[test]
fn the_network_is_told_that_it_was_lost_and_nobody_is_asked_for_it() {
    let (feedback, _told) = mpsc::channel(16);
    let intake = Intake::new(1000, Arc::default(), feedback.clone());
    let rebuilt = Arc::<AtomicU64>::default();
    let mut engine = codecs::media_engine(&[Codec::Vp8], false).unwrap();
    let registry = codecs::interceptors(&mut engine, feedback, None, intake, Arc::clone(&rebuilt)).unwrap();
    let mut chain = registry.build();
    chain.bind_remote_stream(&protected());
    let start = Instant::now();
    let mut arrived = repair(1, 10, 0x7000);
    arrived.header.set_extension(TRANSPORT_CC_ID, Bytes::from_static(&[12, 50])).unwrap();
    for packet in [media(10), media(12), arrived] {
        chain.handle_read(tagged(packet, start)).unwrap();
    }
    let passed = passed(&mut chain);
    assert_eq!(passed[..2], [(media(10), false), (media(12), false)]);
    assert_rebuilt(&passed[2..], 11);
    assert_eq!(rebuilt.load(Ordering::Relaxed), 1);

    let (mut arrivals, mut lost, mut requests) = (Vec::new(), Vec::new(), 0);
    for step in 1..300 {
        chain.handle_timeout(start + Duration::from_millis(5 * step)).unwrap();
        while let Some(message) = chain.poll_write() {
            let Packet::Rtcp(packets) = message.message.packet else { panic!("media to the network") };
            for packet in packets {
                let packet = packet.as_any();
                if let Some(seen) = packet.downcast_ref::<TransportLayerCc>() {
                    arrivals.push((seen.base_sequence_number, seen.packet_status_count, seen.recv_deltas.len()));
                } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                    lost.extend(
                        report.reports.iter().filter(|block| block.ssrc == MEDIA).map(|block| block.total_lost),
                    );
                } else if packet.is::<TransportLayerNack>() {
                    requests += 1;
                }
            }
        }
    }
    // Transport-wide numbers from that of 10 to that of the repair packet, and those of three that arrived.
    let (first, last) = (10 * 257, 12 * 256 + 50);
    assert_eq!((arrivals, lost, requests), (vec![(first, last - first + 1, 3)], vec![0], 0));
}

#[test]
fn other_streams_pass_and_a_stream_that_went_away_is_forgotten() {
    let mut decoders = decoders();
    let mut other = media(5);
    other.header.ssrc = 99;
    assert_eq!(read(&mut decoders, other.clone()), [(other, false)]);
    decoders.unbind_remote_stream(&StreamInfo { ssrc: MEDIA, ..Default::default() });
    assert_eq!(read(&mut decoders, repair(1, 10, 0x7000)).len(), 1);
    assert!(decoders.streams.is_empty() && decoders.repairs.is_empty());
}

#[test]
fn no_repair_packet_of_a_stranger_does_harm() {
    let mut decoders = decoders();
    for number in 10..12 {
        read(&mut decoders, media(number));
    }
    let whole = repair(1, 10, 0x7000).payload;
    for seed in 0..20_000_u32 {
        let mut payload = whole.to_vec();
        payload.truncate(seed as usize % (whole.len() + 1));
        let mut noise = seed;
        for byte in payload.iter_mut() {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if noise >> 28 == 0 {
                *byte = (noise >> 16) as u8;
            }
        }
        let mut packet = repair(seed as u16, 10, 0x7000);
        packet.payload = Bytes::from(payload);
        for (rebuilt, _) in read(&mut decoders, packet) {
            assert_eq!(rebuilt.header.ssrc, MEDIA);
        }
    }
}
