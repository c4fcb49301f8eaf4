//! Hands out what the rest of roomcast needs of RTCP: whole compounds with a sender report, keyframe requests, and that
//! our own packets arrive.
//!
//! The crate's statistics carry no NTP↔RTP relation, and rtpbin needs the report together with the CNAME to bring audio
//! and video in step (RFC 3550, section 6.4.1). This stage sits app-most, where all RTCP passes. The queue is bounded: a
//! report that finds it full is dropped, the next one comes within seconds.

use bytes::{BufMut, Bytes, BytesMut};
use rtc::interceptor::Packet;
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::source_description::SourceDescription;
use tokio::sync::mpsc;

use super::chain::{Stage, Verdict};
use super::sdes;
use crate::terms::Ssrc;

/// App-ward of every named interceptor: the jitter buffer's slot is 13000.
pub(crate) const SLOT: usize = 14_000;

/// What the tap hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// A compound packet that has a sender report of this source.
    SenderReport { ssrc: Ssrc, compound: Bytes },
    /// The other side needs a keyframe of this source of ours.
    KeyframeRequest { ssrc: Ssrc },
    /// The other side reports how it receives this source of ours.
    Reception { ssrc: Ssrc },
    /// The other side has sent from more sources than are kept apart.
    TooManySources,
}

/// The tap of one connection.
#[derive(Debug)]
pub(crate) struct RtcpTap {
    feedback: mpsc::Sender<Feedback>,
}

impl RtcpTap {
    pub(crate) fn new(feedback: mpsc::Sender<Feedback>) -> Self {
        Self { feedback }
    }

    fn hand_out(&self, feedback: Feedback) {
        // Full or closed: see the module's documentation.
        self.feedback.try_send(feedback).ok();
    }
}

impl Stage for RtcpTap {
    fn inbound(&mut self, packet: &mut Packet) -> Verdict {
        let Packet::Rtcp(packets) = packet else { return Verdict::Pass };
        if let Some(report) = packets.iter().find_map(|packet| packet.as_any().downcast_ref::<SenderReport>())
            && let Some(compound) = compound(packets, report.ssrc)
        {
            self.hand_out(Feedback::SenderReport { ssrc: Ssrc(report.ssrc), compound });
        }
        for packet in packets.iter() {
            for block in reception(&**packet) {
                self.hand_out(Feedback::Reception { ssrc: Ssrc(block.ssrc) });
            }
            if let Some(request) = packet.as_any().downcast_ref::<PictureLossIndication>() {
                self.hand_out(Feedback::KeyframeRequest { ssrc: Ssrc(request.media_ssrc) });
            } else if let Some(request) = packet.as_any().downcast_ref::<FullIntraRequest>() {
                for entry in &request.fir {
                    self.hand_out(Feedback::KeyframeRequest { ssrc: Ssrc(entry.ssrc) });
                }
            }
        }
        Verdict::Pass
    }
}

/// The report blocks of a sender or a receiver report: one per source that its author has received.
fn reception(packet: &dyn rtcp::Packet) -> &[ReceptionReport] {
    let packet = packet.as_any();
    if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
        &report.reports
    } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
        &report.reports
    } else {
        &[]
    }
}

/// The compound as bytes. Some stacks, webrtc-rs 0.21.1 among them, leave the mandatory SDES out (RFC 3550, section
/// 6.1), and rtpbin never synchronises a source without CNAME: then one is added that all their sources share.
fn compound(packets: &[Box<dyn rtcp::Packet>], ssrc: u32) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        bytes.put(packet.marshal().ok()?);
    }
    if !packets.iter().any(|packet| packet.as_any().is::<SourceDescription>()) {
        bytes.put(rtc::shared::marshal::Marshal::marshal(&sdes::cname(ssrc, "unnamed")).ok()?);
    }
    Some(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::rtcp::payload_feedbacks::full_intra_request::FirEntry;

    fn tap(capacity: usize, compounds: Vec<Vec<Box<dyn rtcp::Packet>>>) -> Vec<Feedback> {
        let (sender, mut receiver) = mpsc::channel(capacity);
        let mut tap = RtcpTap::new(sender);
        for packets in compounds {
            assert_eq!(tap.inbound(&mut Packet::Rtcp(packets)), Verdict::Pass);
        }
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }

    fn report(ssrc: u32) -> Box<dyn rtcp::Packet> {
        Box::new(SenderReport { ssrc, ntp_time: 0x1122_3344_5566_7788, rtp_time: 9, ..Default::default() })
    }

    #[test]
    fn a_sender_report_comes_out_as_the_whole_compound() {
        let feedback = tap(4, vec![vec![report(5), Box::new(sdes::cname(5, "ab"))]]);
        let [Feedback::SenderReport { ssrc: Ssrc(5), compound }] = feedback.as_slice() else { panic!("{feedback:?}") };
        // SR: version 2, type 200, 6 words; SDES: one chunk, type 202.
        assert_eq!(compound[..4], [0x80, 200, 0, 6]);
        assert_eq!(compound[8..16], [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        assert_eq!(compound[28..30], [0x81, 202]);
        assert_eq!(compound[36..40], [1, 2, b'a', b'b']);
    }

    #[test]
    fn a_report_without_source_description_gets_one() {
        let feedback = tap(4, vec![vec![report(5)]]);
        let [Feedback::SenderReport { compound, .. }] = feedback.as_slice() else { panic!("{feedback:?}") };
        assert_eq!(compound[28..30], [0x81, 202]);
    }

    #[test]
    fn pli_and_fir_are_keyframe_requests_of_the_source_they_name() {
        let pli: Box<dyn rtcp::Packet> = Box::new(PictureLossIndication { sender_ssrc: 1, media_ssrc: 7 });
        let fir: Box<dyn rtcp::Packet> = Box::new(FullIntraRequest {
            sender_ssrc: 1,
            media_ssrc: 0,
            fir: vec![FirEntry { ssrc: 8, sequence_number: 1 }],
        });
        let requests = [7, 8].map(|ssrc| Feedback::KeyframeRequest { ssrc: Ssrc(ssrc) });
        assert_eq!(tap(4, vec![vec![pli, fir]]), requests);
    }

    #[test]
    fn each_report_block_says_that_a_source_arrives() {
        let block = |ssrc| ReceptionReport { ssrc, ..Default::default() };
        let receiver = ReceiverReport { ssrc: 1, reports: vec![block(7), block(8)], ..Default::default() };
        let sender = SenderReport { ssrc: 1, reports: vec![block(9)], ..Default::default() };
        let feedback = tap(8, vec![vec![Box::new(receiver)], vec![Box::new(sender)]]);
        let arrived: Vec<_> = feedback
            .iter()
            .filter_map(|one| if let Feedback::Reception { ssrc } = one { Some(ssrc.0) } else { None })
            .collect();
        assert_eq!(arrived, [7, 8, 9]);
    }

    #[test]
    fn other_rtcp_passes_unnoticed() {
        assert_eq!(tap(4, vec![vec![Box::new(ReceiverReport::default())], vec![]]), []);
    }

    #[test]
    fn a_full_queue_drops_reports_and_blocks_nothing() {
        assert_eq!(tap(1, (0..100).map(|ssrc| vec![report(ssrc)]).collect()).len(), 1);
    }
}
