//! One kind of media on its way out: whoever sends it at the moment, the receiver sees one stream. Pure; time is passed in.

use std::time::{Duration, Instant, SystemTime};

use crate::rtp::{Capture, Packet, ParameterSets, SenderReport, Splice, TrackId, Wish, begins_keyframe};
use crate::terms::{Codec, MediaKind, Ssrc};

/// However much a keyframe is wanted, the sender is asked no more often than this.
const ASK: Duration = Duration::from_secs(1);

/// A report corrects what the last one said by 10 ms at most.
const STEPS_PER_SECOND: u32 = 100;

/// What a receiver must know about the stream before it can play it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) codec: Codec,
    /// For H.264, as far as they came in band.
    pub(crate) sets: ParameterSets,
}

/// The numbers and the state of one forwarded stream.
#[derive(Debug)]
pub(super) struct Lane {
    ssrc: Ssrc,
    clock_rate: u32,
    /// A keyframe is asked for when none came for this long; `None` for sound.
    keyframes: Option<Duration>,
    splice: Splice,
    source: Option<(TrackId, Codec)>,
    sets: ParameterSets,
    form: Option<Form>,
    /// A timestamp of ours, and when it was captured.
    captured: Option<(u32, Instant)>,
    /// The same as it was last reported.
    reported: Option<(u32, Instant)>,
    keyframe_came: Option<Instant>,
    asked: Option<Instant>,
    packets: u32,
    octets: u32,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// The buffer holds what is to be sent.
    pub(super) send: bool,
    /// What receivers must know has changed.
    pub(super) new_form: bool,
    pub(super) wish: Wish,
}

impl Lane {
    pub(super) fn new(kind: MediaKind, ssrc: Ssrc, keyframes: Duration) -> Self {
        let (codec, keyframes) = match kind {
            MediaKind::Audio => (Codec::Opus, None),
            MediaKind::Video => (Codec::Vp8, Some(keyframes.max(ASK))),
        };
        Self {
            ssrc,
            clock_rate: codec.clock_rate(),
            keyframes,
            splice: Splice::new(codec.clock_rate()),
            source: None,
            sets: ParameterSets::default(),
            form: None,
            captured: None,
            reported: None,
            keyframe_came: None,
            asked: None,
            packets: 0,
            octets: 0,
        }
    }

    /// For receivers that decrypt: who joins before the numbers wrap needs no rollover counter, which no SDP tells (RFC 3711,
    /// section 3.3.1).
    #[must_use]
    pub(super) fn beginning_low(self) -> Self {
        Self { splice: self.splice.beginning_with(0), ..self }
    }

    /// Writes the packet as it is to be sent into `buffer`, if it is to be sent.
    pub(super) fn take(&mut self, packet: &Packet, now: Instant, buffer: &mut Vec<u8>) -> Taken {
        let mut taken = Taken::default();
        if self.source != Some((packet.track, packet.codec)) {
            // What the last one sends after this is not heard again: tracks are replaced, not mixed.
            self.source = Some((packet.track, packet.codec));
            self.splice.end_source();
            self.sets = ParameterSets::default();
        }
        let keyframe = begins_keyframe(packet.codec, &packet.payload);
        if !keyframe && self.splice.would_begin(packet.ssrc, now) {
            // A decoder that gets the middle of a sequence shows a torn picture.
            taken.wish.keyframe = self.ask(now);
            return taken;
        }
        let Some(place) = self.splice.place(packet.ssrc, packet.sequence_number, packet.timestamp, now) else {
            return taken;
        };
        if place.new_source {
            self.captured = None;
        }
        if keyframe {
            self.keyframe_came = Some(now);
        }
        taken.new_form = self.learn(packet);
        taken.wish.keyframe = self.is_keyframe_due(now) && self.ask(now);
        buffer.clear();
        buffer.extend([0x80, u8::from(packet.marker) << 7 | payload_type(packet.codec)]);
        buffer.extend(place.sequence_number.to_be_bytes());
        buffer.extend(place.timestamp.to_be_bytes());
        buffer.extend(self.ssrc.0.to_be_bytes());
        buffer.extend_from_slice(&packet.payload);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u32::try_from(packet.payload.len()).unwrap_or_default());
        taken.send = true;
        taken
    }

    /// Takes what a sender report said.
    pub(super) fn relate(&mut self, capture: &Capture) {
        if let Some(timestamp) = self.splice.timestamp(capture.ssrc, capture.timestamp) {
            self.captured = Some((timestamp, capture.at));
        }
    }

    /// Asks for a keyframe with the next packet that may ask for one.
    pub(super) fn want_keyframe(&mut self) {
        self.keyframe_came = None;
    }

    /// What receivers must know, once it is known.
    pub(super) fn form(&self) -> Option<&Form> {
        self.form.as_ref()
    }

    /// Whether the sender's own reports relate its media to time.
    pub(super) fn is_related(&self) -> bool {
        self.captured.is_some()
    }

    /// Whether anything was sent.
    pub(super) fn has_begun(&self) -> bool {
        self.packets > 0
    }

    /// Writes a sender report for this moment. False when nothing is known to report.
    ///
    /// A browser's reports wander by tens of milliseconds while its machine is busy, and another sender's relation is not quite
    /// that of the last one. Players follow at once, and sound that goes back is an error in some: what is reported follows in
    /// small steps.
    pub(super) fn report(&mut self, cname: &str, now: Instant, time: SystemTime, buffer: &mut Vec<u8>) -> bool {
        let Some(captured) = self.captured else { return false };
        let mut timestamp = self.timestamp_at(captured, now);
        if let Some(reported) = self.reported {
            let before = self.timestamp_at(reported, now);
            let difference = i64::from(timestamp.wrapping_sub(before).cast_signed());
            let step = i64::from(self.clock_rate / STEPS_PER_SECOND);
            if difference.abs() < i64::from(self.clock_rate) {
                // Less than a second in ticks.
                timestamp = before.wrapping_add(difference.clamp(-step, step) as u32);
            }
        }
        self.reported = Some((timestamp, now));
        let Self { ssrc, packets, octets, .. } = *self;
        SenderReport { ssrc, cname, time, timestamp, packets, octets }.write(buffer);
        true
    }

    /// Which timestamp belongs to a moment when another one belongs to another.
    fn timestamp_at(&self, (timestamp, at): (u32, Instant), now: Instant) -> u32 {
        let ticks = |time: Duration| (time.as_secs_f64() * f64::from(self.clock_rate)).round() as u64 as u32;
        match now.checked_duration_since(at) {
            Some(passed) => timestamp.wrapping_add(ticks(passed)),
            None => timestamp.wrapping_sub(ticks(at.saturating_duration_since(now))),
        }
    }

    fn is_keyframe_due(&self, now: Instant) -> bool {
        let came = self.keyframe_came;
        self.keyframes.is_some_and(|period| came.is_none_or(|came| now.saturating_duration_since(came) >= period))
    }

    fn ask(&mut self, now: Instant) -> bool {
        let due = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK);
        if due {
            self.asked = Some(now);
        }
        due
    }

    /// True when the stream's form is known now, or another one.
    fn learn(&mut self, packet: &Packet) -> bool {
        if packet.codec == Codec::H264 {
            let new = self.sets.learn(&packet.payload);
            // Until its parameter sets came, or could have: they stand in front of the first picture.
            let picture = matches!(packet.payload.first().map_or(0, |first| first & 0x1f), 1..=5 | 28);
            let complete = new && self.sets.both().is_some();
            if !(picture || complete) {
                return false;
            }
        }
        if self.form.as_ref().is_some_and(|form| form.codec == packet.codec && form.sets == self.sets) {
            return false;
        }
        self.form = Some(Form { codec: packet.codec, sets: self.sets.clone() });
        true
    }
}

/// One per codec: a receiver that has not heard of a change leaves out what it cannot decode (RFC 3551, section 3).
pub(crate) fn payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::Vp8 => 96,
        Codec::Vp9 => 98,
        Codec::Av1 => 99,
        Codec::H264 => 102,
        Codec::Opus => 111,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const KEYFRAME: &[u8] = &[0x10, 0x00];
    const DELTA: &[u8] = &[0x10, 0x01];

    struct Sender {
        track: TrackId,
        codec: Codec,
        ssrc: Ssrc,
    }

    impl Sender {
        fn new(codec: Codec, ssrc: u32) -> Self {
            Self { track: TrackId::unique(), codec, ssrc: Ssrc(ssrc) }
        }

        fn packet(&self, sequence_number: u16, timestamp: u32, payload: &'static [u8]) -> Packet {
            let Self { track, codec, ssrc } = *self;
            let payload = Bytes::from_static(payload);
            Packet { track, codec, ssrc, sequence_number, timestamp, marker: true, payload }
        }
    }

    fn video() -> Lane {
        Lane::new(MediaKind::Video, Ssrc(0x0a0b_0c0d), Duration::from_secs(2))
    }

    /// Sequence number and timestamp of what is sent.
    fn sent(lane: &mut Lane, packet: &Packet, now: Instant) -> Option<(u16, u32)> {
        let mut buffer = Vec::new();
        lane.take(packet, now, &mut buffer).send.then(|| {
            let word = |at: usize| u32::from_be_bytes(*buffer[at..].first_chunk().unwrap());
            assert_eq!(word(8), 0x0a0b_0c0d, "one source for all");
            ((word(0) & 0xffff) as u16, word(4))
        })
    }

    #[test]
    fn a_packet_goes_out_with_our_numbers_and_its_own_payload() {
        let (mut lane, mut buffer) = (video(), Vec::new());
        let sender = Sender::new(Codec::Vp8, 7);
        let taken = lane.take(&sender.packet(0x1234, 9, KEYFRAME), Instant::now(), &mut buffer);
        assert_eq!(taken, Taken { send: true, new_form: true, wish: Wish { keyframe: false } });
        assert_eq!(buffer, [0x80, 0x80 | 96, 0x12, 0x34, 0, 0, 0, 9, 10, 11, 12, 13, 0x10, 0]);
    }

    #[test]
    fn whoever_takes_over_begins_with_a_keyframe_and_goes_on_in_numbers_across_the_wrap() {
        let (mut lane, start) = (video(), Instant::now());
        let [alice, bob] = [Sender::new(Codec::Vp8, 1), Sender::new(Codec::Vp8, 1)];
        assert_eq!(sent(&mut lane, &alice.packet(65_534, 0, KEYFRAME), start), Some((65_534, 0)));
        assert_eq!(sent(&mut lane, &alice.packet(65_535, 3000, DELTA), start), Some((65_535, 3000)));
        let later = start + Duration::from_secs(3);
        assert_eq!(sent(&mut lane, &bob.packet(8, 500, DELTA), later), None);
        assert_eq!(sent(&mut lane, &bob.packet(9, 600, KEYFRAME), later), Some((0, 273_000)));
        assert_eq!(sent(&mut lane, &bob.packet(8, 500, DELTA), later), None, "from before it began");
        assert_eq!(sent(&mut lane, &bob.packet(11, 3600, DELTA), later), Some((2, 276_000)), "a gap stays a gap");
        assert_eq!(sent(&mut lane, &bob.packet(10, 3600, DELTA), later), Some((1, 276_000)), "sent again by RTX");
        assert_eq!(sent(&mut lane, &bob.packet(10, 3600, DELTA), later), None, "a duplicate");
    }

    #[test]
    fn keyframes_are_asked_for_when_none_came_for_a_while_and_once_a_second_at_most() {
        let (mut lane, start, mut buffer) = (video(), Instant::now(), Vec::new());
        let sender = Sender::new(Codec::Vp8, 1);
        let mut wishes = Vec::new();
        for step in 0..60_u16 {
            let now = start + Duration::from_millis(100) * u32::from(step);
            // It begins in the middle of a sequence, answers the first request with a delay and the others not at all.
            let payload = if step == 3 { KEYFRAME } else { DELTA };
            if lane.take(&sender.packet(step, u32::from(step) * 9000, payload), now, &mut buffer).wish.keyframe {
                wishes.push(step);
            }
        }
        assert_eq!(wishes, [0, 23, 33, 43, 53]);
        lane.want_keyframe();
        let now = start + Duration::from_secs(10);
        assert!(lane.take(&sender.packet(60, 0, DELTA), now, &mut buffer).wish.keyframe);
    }

    #[test]
    fn a_change_of_codec_or_parameter_sets_is_told_once() {
        let (mut lane, now, mut buffer) = (video(), Instant::now(), Vec::new());
        let mut new_form = |sender: &Sender, number, payload| {
            let taken = lane.take(&sender.packet(number, 0, payload), now, &mut buffer);
            (taken.send, taken.new_form)
        };
        let vp8 = Sender::new(Codec::Vp8, 1);
        assert_eq!(new_form(&vp8, 1, KEYFRAME), (true, true));
        assert_eq!(new_form(&vp8, 2, KEYFRAME), (true, false));
        // The same track goes over to H.264.
        let h264 = Sender { codec: Codec::H264, ..vp8 };
        assert_eq!(new_form(&h264, 3, &[0x41]), (false, false));
        assert_eq!(new_form(&h264, 4, &[0x67, 0x42, 0xc0, 0x1f]), (true, false));
        assert_eq!(new_form(&h264, 5, &[0x68, 0xce]), (true, true));
        assert_eq!(new_form(&h264, 6, &[0x65]), (true, false));
        assert_eq!(new_form(&h264, 7, &[0x67, 0x42, 0xc0, 0x20]), (true, true));
        let form = lane.form().unwrap();
        assert_eq!((form.codec, form.sets.profile_level_id().as_deref()), (Codec::H264, Some("42c020")));
    }

    #[test]
    fn reports_relate_our_timestamps_to_now() {
        let (mut lane, start, mut buffer) = (video(), Instant::now(), Vec::new());
        let time = SystemTime::now();
        assert!(!lane.report("x", start, time, &mut buffer));
        let sender = Sender::new(Codec::Vp8, 1);
        lane.take(&sender.packet(1, 1000, KEYFRAME), start, &mut buffer);
        lane.relate(&Capture { ssrc: Ssrc(2), timestamp: 5, at: start });
        assert!(!lane.is_related(), "of another source");
        lane.relate(&Capture { ssrc: Ssrc(1), timestamp: 1000, at: start });
        assert!(lane.report("x", start + Duration::from_millis(500), time, &mut buffer));
        assert_eq!(buffer[16..20], 46_000_u32.to_be_bytes());
        assert_eq!(buffer[20..28], [0, 0, 0, 1, 0, 0, 0, 2]);
        lane.relate(&Capture { ssrc: Ssrc(1), timestamp: 1000 + 9000, at: start });
        assert!(lane.report("x", start + Duration::from_millis(1500), time, &mut buffer));
        assert_eq!(buffer[16..20], (136_000_u32 + 900).to_be_bytes(), "a step of 10 ms towards the other relation");
        lane.relate(&Capture { ssrc: Ssrc(1), timestamp: 1000 + 900_000, at: start });
        assert!(lane.report("x", start + Duration::from_millis(1500), time, &mut buffer));
        assert_eq!(buffer[16..20], (136_000_u32 + 900_000).to_be_bytes(), "a sender that set its clock");
        let next = Sender::new(Codec::Vp8, 3);
        lane.take(&next.packet(1, 0, KEYFRAME), start, &mut buffer);
        assert!(!lane.is_related(), "another sender's relation says nothing about this one");
    }
}
