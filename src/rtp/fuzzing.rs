//! What senders put into RTP and RTCP: what `crate::fuzzing` calls for the arithmetic on it.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::{ParameterSets, SenderClock, SenderReport, Splice, begins_keyframe};
use crate::terms::{Codec, Ssrc};

type Target = (&'static str, fn(&[u8]));

/// The targets, by name.
pub(crate) const TARGETS: &[Target] = &[("payloads", payloads), ("splice", splice), ("reports", reports)];

/// Steps in the form of bytes: numbers are taken from the front, most significant byte first, and are 0 when nothing is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps<'a>(pub(crate) &'a [u8]);

impl<'a> Steps<'a> {
    pub(crate) fn is_over(self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes, as many as there are.
    pub(crate) fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    pub(crate) fn two(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    pub(crate) fn four(&mut self) -> u32 {
        u32::from(self.two()) << 16 | u32::from(self.two())
    }

    /// The bytes of a length that stands in front of them, in two bytes.
    pub(crate) fn sized(&mut self) -> &'a [u8] {
        let length = self.two();
        self.bytes(length.into())
    }
}

/// A payload of whatever codec, alone and after itself.
fn payloads(input: &[u8]) {
    let payload = Bytes::copy_from_slice(input);
    for codec in Codec::ALL {
        let begins = begins_keyframe(codec, &payload);
        assert!(!begins || codec == Codec::Opus || !payload.is_empty(), "{codec}: nothing begins a keyframe");
    }
    let mut sets = ParameterSets::default();
    for payload in [payload.clone(), payload.slice(payload.len() / 2..)] {
        sets.learn(&payload);
        if let Some((sps, pps)) = sets.both() {
            assert!((4..=1024).contains(&sps.len()) && (1..=1024).contains(&pps.len()));
        }
        assert!(sets.profile_level_id().is_none_or(|id| id.len() == 6), "{sets:?}");
    }
}

/// Packets of four sources; a step is what happens, and for a packet its number and its timestamp.
fn splice(input: &[u8]) {
    let (mut steps, mut now) = (Steps(input), Instant::now());
    let mut splice = Splice::new(90_000);
    let mut highest = None::<u16>;
    // What was passed on of the source that is heard: its numbers, by which they were moved, and its highest.
    let (mut passed, mut moved, mut last) = (VecDeque::new(), 0, 0_u16);
    while !steps.is_over() {
        let step = steps.byte();
        if step == 0 {
            splice.end_source();
            continue;
        }
        now += Duration::from_millis(u64::from(step >> 4) * 100);
        let (ssrc, number, timestamp) = (Ssrc(u32::from(step & 3)), steps.two(), steps.four());
        let begins = splice.would_begin(ssrc, now);
        let Some(place) = splice.place(ssrc, number, timestamp, now) else {
            assert!(!begins, "the first packet of a source is never left out");
            continue;
        };
        assert_eq!(place.new_source, begins);
        let by = place.sequence_number.wrapping_sub(number);
        if begins {
            let next = highest.map(|highest| highest.wrapping_add(1));
            assert!(next.is_none_or(|next| next == place.sequence_number), "numbers go on");
            (moved, last) = (by, number);
            passed.clear();
        }
        assert_eq!(by, moved, "a source's numbers keep their distances");
        assert!(!passed.contains(&number), "{number} is sent twice");
        let ahead = number.wrapping_sub(last).cast_signed();
        if ahead > 0 {
            last = number;
        }
        // Behind a gap as large as what is remembered a number may mean another packet.
        if ahead >= 1024 {
            passed.clear();
        }
        passed.push_back(number);
        if passed.len() > 64 {
            passed.pop_front();
        }
        if begins || highest.is_none_or(|highest| place.sequence_number.wrapping_sub(highest).cast_signed() > 0) {
            highest = Some(place.sequence_number);
        }
        assert_eq!(splice.timestamp(ssrc, timestamp), Some(place.timestamp));
    }
}

/// Compound packets, each with the tenths of a second before it; and a report of our own, read again.
fn reports(input: &[u8]) {
    let (mut steps, mut now) = (Steps(input), Instant::now());
    let mut clock = SenderClock::default();
    while !steps.is_over() {
        now += Duration::from_millis(u64::from(steps.byte()) * 100);
        if let Some(capture) = clock.read(steps.sized(), now) {
            let off = capture.at.saturating_duration_since(now).max(now.saturating_duration_since(capture.at));
            assert!(off <= Duration::from_secs(1), "{off:?} away from now");
        }
    }
    let cname = String::from_utf8_lossy(input);
    let (ssrc, timestamp) = (Ssrc(7), u32::try_from(input.len()).unwrap_or(u32::MAX));
    let mut bytes = Vec::new();
    SenderReport { ssrc, cname: &cname, time: SystemTime::UNIX_EPOCH, timestamp, packets: 1, octets: 2 }
        .write(&mut bytes);
    let read = SenderClock::default().read(&bytes, now);
    assert!(read.is_some_and(|read| (read.ssrc, read.timestamp) == (ssrc, timestamp)), "{bytes:?}");
    assert!(bytes.len().is_multiple_of(4) && bytes.len() <= 28 + 8 + 260);
}
