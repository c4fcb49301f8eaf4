//! Source descriptions: a CNAME in every compound we send that has a sender report.
//!
//! RFC 3550, section 6.1, demands it, and receivers such as rtpbin bring only sources with the same CNAME in step.
//! The crate sends bare sender reports.

use bytes::Bytes;
use rtc::interceptor::Packet;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};

use super::chain::Stage;

/// Wire-ward of everything that makes RTCP.
pub(crate) const SLOT: usize = 500;

/// Names our sources.
#[derive(Debug)]
pub(crate) struct SourceNamer {
    cname: String,
}

impl SourceNamer {
    /// With a name that is random for each connection (RFC 7022, section 4.2).
    pub(crate) fn random() -> Self {
        Self { cname: format!("{:016x}", rand::random::<u64>()) }
    }
}

impl Stage for SourceNamer {
    fn outbound(&mut self, packet: &mut Packet) {
        let Packet::Rtcp(packets) = packet else { return };
        let ssrc = packets.iter().find_map(|packet| packet.as_any().downcast_ref::<SenderReport>()).map(|sr| sr.ssrc);
        let named = packets.iter().any(|packet| packet.as_any().is::<SourceDescription>());
        if let (Some(ssrc), false) = (ssrc, named) {
            packets.push(Box::new(cname(ssrc, &self.cname)));
        }
    }
}

/// A source description with one CNAME.
pub(crate) fn cname(ssrc: u32, name: &str) -> SourceDescription {
    let item = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: Bytes::copy_from_slice(name.as_bytes()) };
    SourceDescription { chunks: vec![SourceDescriptionChunk { source: ssrc, items: vec![item] }] }
}

#[cfg(test)]
mod tests {
    use rtc::rtcp;
    use rtc::rtcp::receiver_report::ReceiverReport;

    use super::*;

    #[test]
    fn only_a_sender_report_without_name_gets_one() {
        let report = || -> Box<dyn rtcp::Packet> { Box::new(SenderReport { ssrc: 3, ..Default::default() }) };
        let cases: [(Vec<Box<dyn rtcp::Packet>>, usize); 3] = [
            (vec![report()], 2),
            (vec![report(), Box::new(cname(3, "x"))], 2),
            (vec![Box::new(ReceiverReport::default())], 1),
        ];
        for (packets, expected) in cases {
            let mut packet = Packet::Rtcp(packets);
            SourceNamer::random().outbound(&mut packet);
            let Packet::Rtcp(packets) = packet else { unreachable!() };
            assert_eq!(packets.len(), expected, "{packets:?}");
        }
    }
}
