//! Requests for lost packets (RFC 4585, section 6.2.1), with a clock that ticks only for them.
//!
//! The crate's generator looks for losses all the time, and each look wakes the connection's whole driver, which for one participant
//! costs as much as receiving does. It also asks again at a fixed pace, ten times before the first answer where a round trip takes
//! 400 ms. Here each packet has a time of its own: soon after it was left out, and again when the answer should have come, as
//! libwebrtc does it (`modules/video_coding/nack_requester.cc`).

mod losses;
mod path;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use rtc::interceptor::{Attribute, AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use rtc::shared::error::Error;

use self::losses::{Losses, Way};
use self::path::Path;

/// The requests of one connection.
pub(crate) struct Nacks {
    /// Our own source, in whose name we ask.
    sender: u32,
    streams: HashMap<u32, Losses>,
    path: Path,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Nacks {
    pub(crate) fn new() -> Self {
        Self {
            sender: rand::random(),
            streams: HashMap::new(),
            path: Path::default(),
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Nacks {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = &message.message.packet
            && let Some(losses) = self.streams.get_mut(&packet.header.ssrc)
        {
            let way = if message.message.has(&Attribute::Retransmission) {
                Way::SentAgain
            } else if message.message.has(&Attribute::RecoveredByFec) {
                Way::Rebuilt
            } else {
                Way::Sent
            };
            losses.note(packet.header.sequence_number, way, message.now, &mut self.path);
        }
        self.reads.push_back(message);
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

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        for (ssrc, losses) in &mut self.streams {
            let numbers = losses.ask(now, &self.path);
            if numbers.is_empty() {
                continue;
            }
            let nacks = nack_pairs_from_sequence_numbers(&numbers);
            let request = TransportLayerNack { sender_ssrc: self.sender, media_ssrc: *ssrc, nacks };
            let message = AttributedPacket::new(Packet::Rtcp(vec![Box::new(request)]));
            self.writes.push_back(TaggedPacket { now, transport: TransportContext::default(), message });
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.streams.values().filter_map(Losses::due).min()
    }
}

impl Interceptor for Nacks {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}

    fn unbind_local_stream(&mut self, _: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        if info.rtcp_feedback.iter().any(|feedback| feedback.typ == "nack" && feedback.parameter.is_empty()) {
            self.streams.insert(info.ssrc, Losses::default());
        }
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use rtc::interceptor::RTCPFeedback;
    use rtc::rtp;

    use super::losses::{GIVE_UP, REQUESTS};
    use super::*;

    const SSRC: u32 = 7;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    struct Receiver {
        nacks: Nacks,
        now: Instant,
    }

    impl Receiver {
        fn new() -> Self {
            let mut nacks = Nacks::new();
            let rtcp_feedback = vec![RTCPFeedback { typ: "nack".into(), parameter: String::new() }];
            nacks.bind_remote_stream(&StreamInfo { ssrc: SSRC, rtcp_feedback, ..Default::default() });
            Self { nacks, now: Instant::now() }
        }

        fn packet(&mut self, sequence_number: u16, mark: Option<Attribute>) {
            let header = rtp::Header { version: 2, ssrc: SSRC, sequence_number, ..Default::default() };
            let packet = rtp::Packet { header, payload: Bytes::from_static(&[1]) };
            let mut message = AttributedPacket::new(Packet::Rtp(packet));
            message.attributes.extend(mark);
            let tagged = TaggedPacket { now: self.now, transport: TransportContext::default(), message };
            self.nacks.handle_read(tagged).unwrap();
            assert!(self.nacks.poll_read().is_some());
        }

        fn packets(&mut self, numbers: impl IntoIterator<Item = u16>) {
            numbers.into_iter().for_each(|number| self.packet(number, None));
        }

        /// Lets time pass as the driver does, and returns when, in ms, it was woken and what was asked for.
        fn pass(&mut self, time: Duration) -> Vec<(u128, Vec<u16>)> {
            let (start, end) = (self.now, self.now + time);
            let mut woken = Vec::new();
            while let Some(due) = self.nacks.poll_timeout().filter(|due| *due <= end) {
                self.now = self.now.max(due);
                self.nacks.handle_timeout(self.now).unwrap();
                let mut asked = Vec::new();
                while let Some(request) = self.nacks.poll_write() {
                    let Packet::Rtcp(packets) = request.message.packet else { panic!() };
                    for packet in packets {
                        let nack = packet.as_any().downcast_ref::<TransportLayerNack>().unwrap();
                        assert_eq!(nack.media_ssrc, SSRC);
                        asked.extend(nack.nacks.iter().flat_map(|pair| pair.packet_list()));
                    }
                }
                woken.push(((self.now - start).as_millis(), asked));
            }
            self.now = end;
            woken
        }

        /// Loses so many packets, one after the other, on a way where an answer takes this long, and returns how often each was
        /// asked for until it came.
        fn lose(&mut self, numbers: impl IntoIterator<Item = u16>, trip: Duration) -> Vec<usize> {
            let lose = |number: u16| {
                self.packets([number.wrapping_sub(1), number.wrapping_add(1)]);
                let first = self.pass(ms(20)).len();
                let more = self.pass(trip - ms(15)).len();
                self.packet(number, Some(Attribute::Retransmission));
                first + more
            };
            numbers.into_iter().map(lose).collect()
        }
    }

    #[test]
    fn a_stream_without_loss_wakes_nobody() {
        let mut receiver = Receiver::new();
        for number in 65_500..=65_535_u16 {
            receiver.packets([number]);
            assert_eq!(receiver.pass(ms(20)), []);
        }
        receiver.packets([0, 1, 2]);
        assert_eq!(receiver.pass(Duration::from_secs(10)), []);
    }

    /// With the pace fixed at 20 ms, as it was: two requests for each where a trip takes 30 ms.
    #[test]
    fn a_packet_is_asked_for_again_when_its_answer_should_have_come() {
        for (trip, requests) in [(30, 1), (100, 5), (250, 1), (400, 1)] {
            let mut receiver = Receiver::new();
            receiver.lose((1..10).map(|number| 2 * number), ms(trip));
            let asked = receiver.lose((10..30).map(|number| 2 * number), ms(trip));
            assert_eq!(asked, [requests; 20], "{trip} ms");
        }
    }

    #[test]
    fn what_does_not_come_is_asked_for_so_often_and_so_long_and_then_it_is_quiet_again() {
        for (trip, at) in [(30, vec![5, 47, 90, 132, 175, 217, 260, 302, 345, 387]), (400, vec![5, 505])] {
            let mut receiver = Receiver::new();
            receiver.lose((1..10).map(|number| 2 * number), ms(trip));
            receiver.pass(Duration::from_secs(5));
            receiver.packets(20..100);
            receiver.packets([101, 102]);
            let woken = receiver.pass(Duration::from_secs(5));
            let asked: Vec<_> = woken.iter().filter(|(_, asked)| *asked == [100]).map(|(at, _)| *at).collect();
            assert_eq!(asked, at, "{trip} ms");
            assert!(asked.len() <= REQUESTS as usize && asked.iter().all(|at| *at < GIVE_UP.as_millis()));
            receiver.packets([103, 104]);
            assert_eq!(receiver.pass(Duration::from_secs(5)), []);
        }
    }

    #[test]
    fn what_comes_late_by_itself_is_waited_for() {
        let mut receiver = Receiver::new();
        receiver.lose([10], ms(30));
        receiver.packets([12, 15, 16]);
        receiver.pass(ms(12));
        receiver.packets([14, 13]);
        assert_eq!(receiver.pass(Duration::from_secs(1)), []);
        // Where that happened, a little longer.
        receiver.packets([18]);
        receiver.pass(ms(9));
        receiver.packets([17]);
        assert_eq!(receiver.pass(Duration::from_secs(1)), []);
    }

    /// With `Way::SentAgain` for it: a trip of 20 ms, and the last one was asked for ten times.
    #[test]
    fn what_was_rebuilt_is_not_asked_for_any_more_and_tells_nothing_of_the_way() {
        let mut receiver = Receiver::new();
        receiver.lose((1..10).map(|number| 2 * number), ms(400));
        for (number, after) in (20..60).step_by(2).zip([0, 20].into_iter().cycle()) {
            receiver.packets([number + 1]);
            assert_eq!(receiver.pass(ms(after)).len(), usize::from(after > 0));
            receiver.packet(number, Some(Attribute::RecoveredByFec));
            assert_eq!(receiver.pass(GIVE_UP), []);
        }
        assert_eq!(receiver.lose([60], ms(400)), [1]);
    }

    #[test]
    fn losses_are_asked_for_each_at_its_time_and_across_the_wrap() {
        let mut receiver = Receiver::new();
        receiver.packets([65_533, 65_535]);
        assert_eq!(receiver.pass(ms(8)), [(5, vec![65_534])]);
        receiver.packets([2]);
        assert_eq!(receiver.pass(ms(20)), [(5, vec![0, 1])]);
        receiver.packet(65_534, Some(Attribute::Retransmission));
        receiver.packet(1, Some(Attribute::Retransmission));
        assert!(receiver.pass(2 * GIVE_UP).iter().all(|(_, asked)| asked.is_empty() || *asked == [0]));
    }

    #[test]
    fn a_stream_that_jumps_is_no_loss_and_endless_losses_do_not_grow() {
        let mut receiver = Receiver::new();
        receiver.packets([1, 30_000, 30_002]);
        assert_eq!(receiver.pass(ms(6)), [(5, vec![30_001])]);
        for number in 0..30_u16 {
            receiver.packets([30_003 + number * 900]);
        }
        let asked: usize = receiver.pass(ms(6)).iter().map(|(_, asked)| asked.len()).sum();
        assert_eq!(asked, 1000);
    }

    #[test]
    fn streams_that_send_nothing_again_are_not_asked() {
        let mut nacks = Nacks::new();
        let pli = RTCPFeedback { typ: "nack".into(), parameter: "pli".into() };
        nacks.bind_remote_stream(&StreamInfo { ssrc: SSRC, rtcp_feedback: vec![pli], ..Default::default() });
        let mut receiver = Receiver { nacks, now: Instant::now() };
        receiver.packets([1, 5]);
        assert_eq!(receiver.pass(GIVE_UP), []);
    }
}
