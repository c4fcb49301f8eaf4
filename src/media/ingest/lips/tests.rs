use super::*;
use MediaKind::{Audio, Video};

const MS: i64 = 1_000_000;
/// The sender's wall clock when our time is 0, in seconds.
const NTP: u64 = 3_900_000_000;

/// A participant whose sound and pictures come at the same time, unless one of them is late; times are in ms.
struct Person {
    lips: Lips,
    /// By how much each is late.
    late: [i64; 2],
    /// The wall clock was set by this much.
    set: i64,
}

fn rate(kind: MediaKind) -> u32 {
    if kind == Audio { 48_000 } else { 90_000 }
}

impl Person {
    fn new(late: [i64; 2]) -> Self {
        let mut lips = Lips::default();
        for kind in [Audio, Video] {
            lips.begin(kind, Ssrc(7), rate(kind));
        }
        Self { lips, late, set: 0 }
    }

    fn timestamp(kind: MediaKind, taken: u64) -> u32 {
        // Both wrap within the first seconds.
        (taken * u64::from(rate(kind)) / 1000) as u32
    }

    /// What was taken at `taken` comes.
    fn packet(&mut self, kind: MediaKind, taken: u64) -> Place {
        let time = (taken as i64 + self.late[index(kind)]) * MS;
        self.lips.packet(kind, Ssrc(7), Self::timestamp(kind, taken).wrapping_sub(50_000), time)
    }

    fn report_of(&self, kind: MediaKind, source: u32, taken: u64) -> Report {
        let ms = (NTP * 1000).wrapping_add_signed(self.set) + taken;
        let ntp = ((ms / 1000) << 32) | (((ms % 1000) << 32) / 1000);
        let timestamp = Self::timestamp(kind, taken).wrapping_sub(50_000);
        Report { source: Ssrc(source), ntp, timestamp, came: taken as i64 * MS }
    }

    fn report(&mut self, kind: MediaKind, taken: u64) {
        let report = self.report_of(kind, 7, taken);
        self.lips.report(kind, report);
    }

    /// Both send from here on; returns where sound and picture end up, in ms.
    fn play(&mut self, from: u64, until: u64) -> [i64; 2] {
        let mut last = [0; 2];
        for ms in (from..until).step_by(20) {
            last = [Audio, Video].map(|kind| self.packet(kind, ms).offset / MS);
        }
        last
    }

    fn wanted(&self) -> [i64; 2] {
        // Fractions of a second are rounded on their way through NTP.
        self.lips.streams.map(|stream| (stream.wanted + MS / 2) / MS)
    }
}

#[test]
fn the_stream_that_comes_sooner_waits_for_the_other_at_once() {
    for (late, held) in [([150, 0], [0, 150]), ([0, 150], [150, 0]), ([0, 0], [0, 0])] {
        let mut person = Person::new(late);
        person.play(0, 1000);
        person.report(Video, 1000);
        assert_eq!(person.play(1000, 2500), [0, 0], "one report says nothing");
        person.report(Audio, 2500);
        assert_eq!(person.wanted(), held);
        let first = [Audio, Video].map(|kind| (person.packet(kind, 2500).offset + MS / 2) / MS);
        assert_eq!(first, held);
    }
}

#[test]
fn what_is_copied_waits_until_both_have_reported_and_were_measured() {
    let mut person = Person::new([0, 0]);
    assert!(!person.packet(Video, 0).flows && !person.packet(Audio, 0).flows);
    person.report(Video, 300);
    person.report(Audio, 300);
    assert!(!person.packet(Video, 980).flows, "the jitter buffer does not know yet how late the first were");
    assert!(person.packet(Video, 1000).flows && person.packet(Audio, 1000).flows);
}

#[test]
fn without_reports_or_without_a_companion_nothing_waits_for_ever() {
    let mut person = Person::new([0, 0]);
    assert!(!person.packet(Video, 0).flows && !person.packet(Video, 1480).flows);
    assert!(person.packet(Video, 1500).flows, "alone");
    assert!(!person.packet(Audio, 1520).flows, "a companion");
    assert!(person.packet(Audio, 3000).flows, "nothing is reported");
    person.lips.begin(Video, Ssrc(9), 90_000);
    assert!(person.lips.packet(Video, Ssrc(9), 0, 0).flows, "what flowed goes on");
}

#[test]
fn a_report_that_comes_before_the_first_packet_counts() {
    let mut person = Person::new([150, 0]);
    person.report(Video, 0);
    person.report(Audio, 0);
    assert_eq!(person.play(0, 40), [0, 150]);
}

#[test]
fn what_comes_later_by_and_by_moves_in_small_steps_and_what_trembles_not_at_all() {
    let mut person = Person::new([0, 0]);
    person.play(0, 100);
    person.report(Video, 100);
    person.report(Audio, 100);
    person.play(100, 1000);
    person.late = [3, 0];
    person.packet(Audio, 1000);
    assert_eq!(person.wanted(), [0, 0]);
    person.late = [47, 0];
    person.packet(Audio, 1020);
    assert_eq!(person.wanted(), [0, 47], "before the next report");
    assert_eq!(person.play(1040, 1140), [0, 10], "2 ms with each picture");
    assert_eq!(person.play(1140, 2000), [0, 47]);
}

#[test]
fn packets_of_one_picture_move_together() {
    let mut person = Person::new([0, 0]);
    person.play(0, 100);
    person.report(Video, 100);
    person.report(Audio, 100);
    person.play(100, 200);
    person.late = [40, 0];
    person.packet(Audio, 200);
    let moved = [200, 200, 200, 220].map(|taken| person.packet(Video, taken).offset / MS);
    assert_eq!(moved, [2, 2, 2, 4]);
}

#[test]
fn a_clock_that_is_set_moves_nothing() {
    for set in [2000, -2000, 3_600_000, -3_600_000] {
        let mut person = Person::new([150, 0]);
        person.play(0, 100);
        person.report(Video, 100);
        person.report(Audio, 100);
        person.play(100, 1000);
        person.set = set;
        person.report(Video, 1000);
        person.play(1000, 2000);
        person.report(Video, 2000);
        assert_eq!(person.wanted(), [0, 150], "{set}");
        person.report(Audio, 2000);
        assert_eq!(person.wanted(), [0, 150], "{set}");
        person.late = [190, 0];
        person.play(2020, 3000);
        person.report(Audio, 3000);
        assert_eq!(person.wanted(), [0, 190], "and goes on");
    }
}

#[test]
fn one_wrong_report_moves_nothing_and_a_stream_that_is_later_is_believed_when_the_other_has_reported() {
    let mut person = Person::new([0, 0]);
    person.play(0, 100);
    person.report(Video, 100);
    person.report(Audio, 100);
    person.play(100, 1000);
    person.set = 9000;
    person.report(Audio, 1000);
    person.set = 0;
    person.report(Audio, 1000);
    assert_eq!(person.wanted(), [0, 0]);
    person.late = [200, 0];
    person.play(1000, 2000);
    person.report(Audio, 2000);
    assert_eq!(person.wanted(), [0, 0], "not confirmed");
    person.report(Video, 2000);
    assert_eq!(person.wanted(), [0, 200]);
}

#[test]
fn a_report_in_front_of_its_media_is_believed_when_the_next_one_says_the_same() {
    for kind in [Audio, Video] {
        let mut person = Person::new([0, 0]);
        person.play(0, 500);
        person.report(if kind == Audio { Video } else { Audio }, 500);
        for ahead in [2000, 650] {
            let mut guessed = person.report_of(kind, 7, 500);
            guessed.timestamp = guessed.timestamp.wrapping_add(rate(kind) / 1000 * ahead);
            person.lips.report(kind, guessed);
            assert_eq!((person.wanted(), person.lips.known), ([0, 0], false));
        }
        person.report(kind, 1000);
        assert_eq!((person.wanted(), person.lips.known), ([0, 0], true));
    }
    // An encoder that thinks for 400 ms.
    let mut person = Person::new([0, 400]);
    person.play(0, 500);
    person.report(Audio, 500);
    person.report(Video, 500);
    assert_eq!(person.wanted(), [0, 0]);
    person.play(500, 1500);
    person.report(Video, 1500);
    assert_eq!(person.wanted(), [400, 0]);
    // One who has paused says how far he would be.
    let mut person = Person::new([150, 0]);
    person.play(0, 500);
    person.report(Audio, 500);
    person.report(Video, 10_500);
    assert_eq!(person.wanted(), [0, 150]);
}

#[test]
fn another_source_begins_where_the_one_before_it_was() {
    let mut person = Person::new([150, 0]);
    person.play(0, 100);
    person.report(Video, 100);
    person.report(Audio, 100);
    person.play(100, 200);
    person.lips.begin(Video, Ssrc(8), 90_000);
    let place = person.lips.packet(Video, Ssrc(8), 1, 1000 * MS);
    assert_eq!((place.offset + MS / 2) / MS, 150);
    person.report(Video, 1000);
    assert_eq!(person.wanted(), [0, 150], "the old one does not count");
}

#[test]
fn streams_of_different_clocks_are_left_alone_and_no_number_is_too_large() {
    let mut person = Person::new([0, 0]);
    person.play(0, 100);
    person.report(Video, 100);
    person.set = 7_200_000;
    person.report(Audio, 100);
    assert_eq!(person.wanted(), [0, 0]);
    for (ntp, timestamp, time) in
        [(u64::MAX, u32::MAX, i64::MAX), (0, 0, i64::MIN), (u64::MAX, 0, 0), (0, 0x8000_0000, i64::MAX)]
    {
        for kind in [Audio, Video] {
            person.lips.begin(kind, Ssrc(time as u32), 1);
            person.lips.packet(kind, Ssrc(time as u32), timestamp, time);
            person.lips.report(kind, Report { source: Ssrc(time as u32), ntp, timestamp, came: time });
            person.lips.packet(kind, Ssrc(time as u32), timestamp ^ 1, time);
        }
    }
    assert!(person.lips.known);
}
