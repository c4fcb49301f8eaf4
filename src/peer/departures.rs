//! Steadies the relation of RTP to wall-clock time in the sender reports that we send.
//!
//! The crate relates a report to the moment at which the last frame happened to leave. On a busy machine that is tens of
//! milliseconds late, each time anew, and a receiver moves sound against picture by it. Packets leave late but never
//! early: the one that left soonest after its media time is the one to believe. Whoever forwards somebody else's media
//! knows better, from that sender's own reports, and says so with a [`CaptureTime`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rtc::interceptor::{Packet, StreamInfo};
use rtc::rtcp::sender_report::SenderReport;
use tokio::sync::mpsc;

use super::chain::Stage;

/// App-ward of the source descriptions, wire-ward of everything that makes reports.
pub(crate) const SLOT: usize = 600;

/// The soonest packet of this long counts: two clocks that drift apart by 100 ppm differ by 1 ms after it.
const WINDOW: Duration = Duration::from_secs(10);
/// A larger step is a new timeline and not a delay.
const STEP: f64 = 1.0;

/// When a sample of a stream of ours was captured, known from elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaptureTime {
    pub(crate) ssrc: u32,
    pub(crate) timestamp: u32,
    pub(crate) at: Instant,
}

/// The departures of one connection's streams.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    streams: HashMap<u32, Timeline>,
    captures: Option<mpsc::Receiver<CaptureTime>>,
}

impl Departures {
    pub(crate) fn new(captures: mpsc::Receiver<CaptureTime>) -> Self {
        Self { streams: HashMap::new(), captures: Some(captures) }
    }

    fn learn(&mut self) {
        while let Some(capture) = self.captures.as_mut().and_then(|captures| captures.try_recv().ok()) {
            if let Some(timeline) = self.streams.get_mut(&capture.ssrc) {
                timeline.captured = Some(Departure { at: capture.at, timestamp: capture.timestamp });
            }
        }
    }

    fn packet(&mut self, packet: &Packet, now: Instant) {
        if let Packet::Rtp(packet) = packet
            && let Some(timeline) = self.streams.get_mut(&packet.header.ssrc)
        {
            timeline.departed(packet.header.timestamp, now);
        }
    }

    fn report(&self, packet: &mut Packet, now: Instant) {
        let Packet::Rtcp(packets) = packet else { return };
        for packet in packets.iter_mut() {
            let corrected = packet.as_any().downcast_ref::<SenderReport>().and_then(|report| {
                let rtp_time = self.streams.get(&report.ssrc)?.at(now)?;
                Some(SenderReport { rtp_time, ..report.clone() })
            });
            if let Some(report) = corrected {
                *packet = Box::new(report);
            }
        }
    }
}

impl Stage for Departures {
    fn outbound(&mut self, packet: &mut Packet) {
        // A report passes here within the call that made it, so this is the moment of its NTP time too.
        let now = Instant::now();
        self.packet(packet, now);
        if matches!(packet, Packet::Rtcp(_)) {
            self.learn();
            self.report(packet, now);
        }
    }

    fn local_stream_added(&mut self, info: &StreamInfo) {
        self.streams.insert(info.ssrc, Timeline::new(info.clock_rate));
    }

    fn local_stream_removed(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
    }
}

#[derive(Clone, Copy, Debug)]
struct Departure {
    at: Instant,
    timestamp: u32,
}

/// One stream's relation of RTP timestamps to time.
#[derive(Debug)]
struct Timeline {
    clock_rate: f64,
    /// The soonest departure of this window and of the one before.
    soonest: Option<Departure>,
    before: Option<Departure>,
    window_ends: Option<Instant>,
    /// What we were told; then departures do not count.
    captured: Option<Departure>,
}

impl Timeline {
    fn new(clock_rate: u32) -> Self {
        Self { clock_rate: f64::from(clock_rate), soonest: None, before: None, window_ends: None, captured: None }
    }

    fn departed(&mut self, timestamp: u32, at: Instant) {
        let departure = Departure { at, timestamp };
        if self.best().is_some_and(|best| self.delay(departure, best).abs() > STEP) {
            *self = Self { soonest: None, before: None, window_ends: None, ..*self };
        }
        if self.window_ends.is_none_or(|end| at >= end) {
            self.before = self.soonest.take();
            self.window_ends = Some(at + WINDOW);
        }
        if self.soonest.is_none_or(|soonest| self.delay(departure, soonest) < 0.0) {
            self.soonest = Some(departure);
        }
    }

    /// Seconds by which `one` left later after its media time than `other` did.
    fn delay(&self, one: Departure, other: Departure) -> f64 {
        let media = f64::from(one.timestamp.wrapping_sub(other.timestamp).cast_signed()) / self.clock_rate;
        let passed =
            if one.at >= other.at { (one.at - other.at).as_secs_f64() } else { -(other.at - one.at).as_secs_f64() };
        passed - media
    }

    fn best(&self) -> Option<Departure> {
        match (self.soonest, self.before) {
            (Some(soonest), Some(before)) if self.delay(before, soonest) < 0.0 => Some(before),
            (soonest, before) => soonest.or(before),
        }
    }

    /// The RTP timestamp of this moment.
    fn at(&self, now: Instant) -> Option<u32> {
        let known = self.captured.or_else(|| self.best())?;
        let seconds = match now.checked_duration_since(known.at) {
            Some(since) => since.as_secs_f64(),
            None => -(known.at - now).as_secs_f64(),
        };
        // Wraps as RTP timestamps do.
        Some(known.timestamp.wrapping_add((seconds * self.clock_rate).round() as i64 as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// Sends 50 packets a second from a timestamp that wraps soon, each late by what `late` says.
    fn timeline(start: Instant, packets: u64, late: impl Fn(u64) -> u64) -> Timeline {
        let mut timeline = Timeline::new(48_000);
        for number in 0..packets {
            let timestamp = 0xffff_f000_u32.wrapping_add(number as u32 * 960);
            timeline.departed(timestamp, start + milliseconds(number * 20 + late(number)));
        }
        timeline
    }

    #[test]
    fn late_packets_do_not_move_the_report() {
        let start = Instant::now();
        // All are late by 3 ms at least, most by much more, the last by 110 ms.
        let timeline = timeline(start, 100, |number| if number == 17 { 3 } else { 10 + number % 100 });
        let expected = 0xffff_f000_u32.wrapping_add(((2500 - 3) * 48) as u32);
        assert_eq!(timeline.at(start + milliseconds(2500)), Some(expected));
    }

    #[test]
    fn a_soonest_packet_is_forgotten_after_two_windows() {
        let start = Instant::now();
        let timeline = timeline(start, 50 * 25, |number| if number == 17 { 0 } else { 10 });
        let expected = 0xffff_f000_u32.wrapping_add(((30_000 - 10) * 48) as u32);
        assert_eq!(timeline.at(start + milliseconds(30_000)), Some(expected));
    }

    #[test]
    fn a_jump_in_timestamps_begins_anew() {
        let start = Instant::now();
        let mut timeline = timeline(start, 50, |_| 0);
        timeline.departed(1_000_000, start + milliseconds(1000));
        assert_eq!(timeline.at(start + milliseconds(1010)), Some(1_000_000 + 480));
    }

    #[test]
    fn a_capture_time_that_was_told_counts_more_than_departures() {
        let (told, captures) = mpsc::channel(4);
        let mut departures = Departures::new(captures);
        departures.local_stream_added(&StreamInfo { ssrc: 1, clock_rate: 90_000, ..Default::default() });
        let start = Instant::now();
        departures.streams.get_mut(&1).unwrap().departed(5000, start + milliseconds(80));
        for (ssrc, timestamp) in [(1, 5000), (2, 7)] {
            told.try_send(CaptureTime { ssrc, timestamp, at: start }).unwrap();
        }
        departures.learn();
        for (late, expected) in [(100, 5000 + 9000), (0, 5000)] {
            assert_eq!(departures.streams[&1].at(start + milliseconds(late)), Some(expected));
        }
    }

    #[test]
    fn reports_of_unknown_streams_stay_as_they_are() {
        let mut packet = Packet::Rtcp(vec![Box::new(SenderReport { ssrc: 1, rtp_time: 7, ..Default::default() })]);
        Departures::default().outbound(&mut packet);
        let Packet::Rtcp(packets) = packet else { unreachable!() };
        assert_eq!(packets[0].as_any().downcast_ref::<SenderReport>().unwrap().rtp_time, 7);
    }
}
