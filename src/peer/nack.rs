//! Requests for lost packets (RFC 4585, section 6.2.1), with a clock that ticks only after a loss.
//!
//! The crate's generator looks for losses fifty times a second, and each look wakes the connection's whole driver, which for one
//! participant costs as much as receiving does. Nothing can be missing while every packet is followed by the next one: so the
//! generator's clock is hidden until a packet was left out, and again when it must have come or was asked for often enough.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rtc::interceptor::{Interceptor, NackGeneratorBuilder, NackGeneratorInterceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Requests go out after this time and soon again: a jitter buffer of 200 ms leaves time for several round trips.
const INTERVAL: Duration = Duration::from_millis(20);

/// How often a packet is asked for.
const REQUESTS: u16 = 10;

/// How long the clock ticks after a loss: long enough for all requests where packets are rare and the loss is seen late.
const AWAKE: Duration = Duration::from_secs(1);

/// The crate's generator, awake after losses only.
pub(crate) struct Nacks {
    generator: NackGeneratorInterceptor,
    /// For each stream, the number that comes next when nothing is lost.
    next: HashMap<u32, Option<u16>>,
    wake: Option<Wake>,
}

/// When the clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wake {
    /// Not before: packets that overtook one another are no loss yet.
    from: Instant,
    until: Instant,
}

impl Nacks {
    pub(crate) fn new() -> Self {
        let generator = NackGeneratorBuilder::new()
            .with_size(1024)
            .with_interval(INTERVAL)
            .with_skip_last_n(2)
            .with_max_nacks_per_packet(REQUESTS)
            .build();
        Self { generator, next: HashMap::new(), wake: None }
    }

    fn note(&mut self, ssrc: u32, number: u16, now: Instant) {
        let Some(next) = self.next.get_mut(&ssrc) else { return };
        let ahead = next.map_or(0, |next| number.wrapping_sub(next));
        // Half of all numbers are older (RFC 3550, appendix A.1): what was sent again, or a duplicate.
        if ahead >= 0x8000 {
            return;
        }
        *next = Some(number.wrapping_add(1));
        if ahead > 0 {
            let from = self.awake(now).map_or(now + INTERVAL, |wake| wake.from);
            self.wake = Some(Wake { from, until: now + AWAKE });
        }
    }

    fn awake(&self, now: Instant) -> Option<Wake> {
        self.wake.filter(|wake| now < wake.until)
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Nacks {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = &message.message.packet {
            let (ssrc, number) = (packet.header.ssrc, packet.header.sequence_number);
            self.note(ssrc, number, message.now);
        }
        self.generator.handle_read(message)
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.generator.poll_read()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.generator.handle_write(message)
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.generator.poll_write()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.awake(now).is_none() {
            self.wake = None;
            return Ok(());
        }
        self.generator.handle_timeout(now)
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let wake = self.wake?;
        self.generator.poll_timeout().map(|due| due.max(wake.from))
    }
}

impl Interceptor for Nacks {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        self.generator.bind_local_stream(info);
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.generator.unbind_local_stream(info);
    }

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        self.next.insert(info.ssrc, None);
        self.generator.bind_remote_stream(info);
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.next.remove(&info.ssrc);
        self.generator.unbind_remote_stream(info);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rtc::interceptor::{AttributedPacket, RTCPFeedback};
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
    use rtc::rtp;
    use rtc::shared::TransportContext;

    use super::*;

    const SSRC: u32 = 7;

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

        fn packets(&mut self, numbers: impl IntoIterator<Item = u16>) {
            for sequence_number in numbers {
                let header = rtp::Header { version: 2, ssrc: SSRC, sequence_number, ..Default::default() };
                let packet = rtp::Packet { header, payload: Bytes::from_static(&[1]) };
                let message = AttributedPacket::new(Packet::Rtp(packet));
                let tagged = TaggedPacket { now: self.now, transport: TransportContext::default(), message };
                self.nacks.handle_read(tagged).unwrap();
                assert!(self.nacks.poll_read().is_some());
            }
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
                        asked.extend(nack.nacks.iter().flat_map(|pair| pair.packet_list()));
                    }
                }
                woken.push(((self.now - start).as_millis(), asked));
            }
            self.now = end;
            woken
        }
    }

    #[test]
    fn a_stream_without_loss_wakes_nobody() {
        let mut receiver = Receiver::new();
        for number in 65_500..=65_535_u16 {
            receiver.packets([number]);
            assert_eq!(receiver.pass(Duration::from_millis(20)), []);
        }
        receiver.packets([0, 1, 2]);
        assert_eq!(receiver.pass(Duration::from_secs(10)), []);
    }

    #[test]
    fn a_lost_packet_is_asked_for_ten_times_and_then_it_is_quiet_again() {
        let mut receiver = Receiver::new();
        receiver.packets(0..100);
        receiver.pass(Duration::from_secs(5));
        receiver.packets([101, 102, 103, 104]);
        let woken = receiver.pass(Duration::from_secs(5));
        let asked: Vec<_> = woken.iter().filter(|(_, asked)| *asked == [100]).map(|(at, _)| *at).collect();
        assert_eq!(asked, [20, 40, 60, 80, 100, 120, 140, 160, 180, 200]);
        assert!(woken.iter().all(|(at, _)| *at <= AWAKE.as_millis()), "{woken:?}");
        receiver.packets([105, 106]);
        assert_eq!(receiver.pass(Duration::from_secs(5)), []);
    }

    #[test]
    fn what_comes_late_by_itself_is_not_asked_for() {
        let mut receiver = Receiver::new();
        receiver.packets([1, 2, 5, 6, 7, 8]);
        receiver.pass(Duration::from_millis(10));
        receiver.packets([4, 3]);
        assert!(receiver.pass(Duration::from_secs(5)).iter().all(|(_, asked)| asked.is_empty()));
    }

    #[test]
    fn a_second_loss_is_asked_for_while_the_first_is() {
        let mut receiver = Receiver::new();
        receiver.packets([1, 2, 4, 5, 6]);
        receiver.pass(Duration::from_millis(390));
        receiver.packets([8, 9, 10]);
        let asked = receiver.pass(Duration::from_secs(1)).into_iter().filter(|(_, asked)| *asked == [7]).count();
        assert_eq!(asked, usize::from(REQUESTS));
    }
}
