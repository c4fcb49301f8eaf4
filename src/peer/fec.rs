//! Rebuilds lost packets from FlexFEC (draft-ietf-payload-flexible-fec-scheme-03, `flexfec-03` in SDP) before anybody asks for
//! them: where a round trip takes longer than a jitter buffer waits, a retransmission comes too late and this does not.
//!
//! The arithmetic is the rtc crate's; its interceptor around it takes packets as they came. Browsers protect a packet before
//! its transport-wide sequence number is written, which counts as zeros (libwebrtc's `ZeroMutableExtensions`): taken as it came,
//! it would leave that number in whatever bytes of a rebuilt packet stand in its place. Retransmissions ([`super::rtx`]) are not the
//! bytes that were protected either: of them only the number counts, so that no packet goes on twice. Repair packets end here, as
//! they are no media.

mod description;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use rtc::interceptor::{Attribute, AttributedPacket, FlexFec03Decoder, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

pub(crate) use description::beside_ours;

const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// A call has a camera and a screen; each protected stream may cost megabytes.
const MAX_STREAMS: usize = 8;

/// How many numbers of a stream are remembered: retransmissions come within a second or not at all.
const REMEMBERED: usize = 1024;

/// One protected stream.
struct Protected {
    decoder: FlexFec03Decoder,
    /// The numbers that went on, in this order.
    passed: VecDeque<u16>,
    /// Those of them that were rebuilt.
    rebuilt: VecDeque<u16>,
}

impl Protected {
    fn new(decoder: FlexFec03Decoder) -> Self {
        Self { decoder, passed: VecDeque::new(), rebuilt: VecDeque::new() }
    }

    /// A packet came. False when it was rebuilt before.
    fn arrive(&mut self, number: u16) -> bool {
        if self.rebuilt.contains(&number) {
            return false;
        }
        self.pass(number);
        true
    }

    /// A packet was rebuilt. False when it had come, sent again or long ago.
    fn rebuild(&mut self, number: u16) -> bool {
        if self.passed.contains(&number) {
            return false;
        }
        self.pass(number);
        self.rebuilt.push_back(number);
        true
    }

    fn pass(&mut self, number: u16) {
        if self.passed.len() == REMEMBERED
            && let Some(oldest) = self.passed.pop_front()
            && self.rebuilt.front() == Some(&oldest)
        {
            self.rebuilt.pop_front();
        }
        self.passed.push_back(number);
    }
}

/// The protected streams of one connection.
pub(crate) struct FecDecoders {
    streams: HashMap<u32, Protected>,
    /// The SSRC of repair packets to the SSRC that they protect.
    repairs: HashMap<u32, u32>,
    transport_cc: Option<u8>,
    rebuilt: Arc<AtomicU64>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl FecDecoders {
    /// Counts in `rebuilt` the packets that came in no other way.
    pub(crate) fn new(rebuilt: Arc<AtomicU64>) -> Self {
        Self {
            streams: HashMap::new(),
            repairs: HashMap::new(),
            transport_cc: None,
            rebuilt,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }
}

/// The packet as its sender protected it.
fn as_protected(packet: &rtp::Packet, transport_cc: Option<u8>) -> rtp::Packet {
    let mut packet = packet.clone();
    let written = packet.header.extensions.iter_mut().find(|extension| Some(extension.id) == transport_cc);
    if let Some(extension) = written {
        extension.payload = Bytes::from(vec![0; extension.payload.len()]);
    }
    packet
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for FecDecoders {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        let Packet::Rtp(packet) = &message.message.packet else {
            self.reads.push_back(message);
            return Ok(());
        };
        let repaired = self.repairs.get(&packet.header.ssrc).copied();
        let Some(stream) = self.streams.get_mut(&repaired.unwrap_or(packet.header.ssrc)) else {
            self.reads.push_back(message);
            return Ok(());
        };
        if repaired.is_none() && !stream.arrive(packet.header.sequence_number) {
            return Ok(());
        }
        let rebuilt = if message.message.has(&Attribute::Retransmission) {
            Vec::new()
        } else {
            stream.decoder.decode(as_protected(packet, self.transport_cc))
        };
        let (now, transport) = (message.now, message.transport);
        if repaired.is_none() {
            self.reads.push_back(message);
        }
        for packet in rebuilt {
            if !stream.rebuild(packet.header.sequence_number) {
                continue;
            }
            self.rebuilt.fetch_add(1, Ordering::Relaxed);
            let message = AttributedPacket::new(Packet::Rtp(packet)).with(Attribute::RecoveredByFec);
            self.reads.push_back(TaggedPacket { now, transport, message });
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

impl Interceptor for FecDecoders {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}

    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        let transport_cc = info.rtp_header_extensions.iter().find(|extension| extension.uri == TRANSPORT_CC);
        if let Some(extension) = transport_cc {
            self.transport_cc = u8::try_from(extension.id).ok();
        }
        // The payload type is there when the format was agreed on.
        if let (Some(repairs), Some(_)) = (info.ssrc_fec, info.payload_type_fec)
            && (self.streams.len() < MAX_STREAMS || self.streams.contains_key(&info.ssrc))
        {
            self.unbind_remote_stream(info);
            self.streams.insert(info.ssrc, Protected::new(FlexFec03Decoder::new(repairs, info.ssrc)));
            self.repairs.insert(repairs, info.ssrc);
        }
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
        self.repairs.retain(|_, repaired| *repaired != info.ssrc);
    }
}

#[cfg(test)]
mod tests;
