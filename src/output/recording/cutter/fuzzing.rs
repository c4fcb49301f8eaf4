//! Units in any order through the cutter: what `output::fuzzing` calls for it.
//!
//! The first three bytes are what is recorded; a step is a byte that says what comes, how long after the last unit of its kind, and
//! how many bytes it has.

use std::time::Duration;

use super::super::super::spec::Split;
use super::{Cutter, Step, Unit};
use crate::rtp::fuzzing::Steps;
use crate::terms::MediaKind;

const MS: u64 = 1_000_000;

/// Files as they would be written.
#[derive(Default)]
struct Written {
    files: usize,
    /// The one before the last still takes sound.
    former: bool,
    /// Which streams the last file takes.
    open: [bool; 2],
    first: bool,
    given: std::collections::BTreeSet<u32>,
}

pub(in super::super::super) fn fuzz_cutter(input: &[u8]) {
    let mut steps = Steps(input);
    let (what, split) = (steps.byte(), steps.two());
    let (video, audio) = [(true, true), (true, false), (false, true)][usize::from(what % 3)];
    let split = match what >> 6 {
        0 => None,
        1 => Some(Split::Size(u64::from(split) * 100)),
        _ => Some(Split::Time(Duration::from_millis(u64::from(split) + 1))),
    };
    let mut cutter = Cutter::new(video, audio, what & 0x20 != 0, split, 0);
    let (mut written, mut times) = (Written { first: true, ..Written::default() }, [0_u64; 2]);
    let mut number = 0;
    while !steps.is_over() {
        let step = steps.byte();
        if step == 0xff {
            cutter.end(times[0].max(times[1]));
            continue;
        }
        let kind = if step & 1 == 0 { MediaKind::Video } else { MediaKind::Audio };
        if (kind == MediaKind::Video && !video) || (kind == MediaKind::Audio && !audio) {
            continue;
        }
        let index = usize::from(kind == MediaKind::Audio);
        // Sometimes time stands still or jumps; it never runs backwards (`media::ingest::forward`).
        let far = if step & 0x40 == 0 { 1 } else { 60_000 };
        times[index] = times[index].saturating_add(u64::from(steps.byte()) * MS * far);
        let (keyframe, form) = (kind == MediaKind::Audio || step & 2 != 0, u32::from(step >> 2 & 3));
        number += 1;
        let (time, bytes) = (times[index], u64::from(steps.two()));
        let unit = Unit { kind, time, arrival: time, keyframe, bytes, form, payload: number };
        written.obey(cutter.take(unit), [video, audio]);
        cutter.is_over();
    }
    written.obey(cutter.rest(), [video, audio]);
    assert!(!written.former, "the file before the last is never completed");
}

impl Written {
    fn obey(&mut self, steps: Vec<Step<u32>>, streams: [bool; 2]) {
        for step in steps {
            match step {
                Step::Open { video, audio, .. } => {
                    assert!(!self.former, "a third file is open at once");
                    assert!((video || audio) && (!video || streams[0]) && (!audio || streams[1]));
                    self.former = self.files > 0;
                    self.files += 1;
                    (self.open, self.first) = ([video, audio], true);
                }
                Step::Give(unit) => {
                    assert!(self.files > 0 && self.open[usize::from(unit.kind == MediaKind::Audio)], "{unit:?}");
                    if unit.kind == MediaKind::Video {
                        assert!(!std::mem::take(&mut self.first) || unit.keyframe, "a file begins with {unit:?}");
                    }
                    assert!(self.given.insert(unit.payload), "{unit:?} is given twice");
                }
                Step::GiveFormer(unit) => {
                    assert!(self.former && unit.kind == MediaKind::Audio, "{unit:?}");
                    assert!(self.given.insert(unit.payload), "{unit:?} is given twice");
                }
                Step::Close => assert!(std::mem::take(&mut self.former), "a file is closed twice"),
                Step::End(kind) => {
                    let open = &mut self.open[usize::from(kind == MediaKind::Audio)];
                    assert!(std::mem::take(open), "a stream ends twice");
                }
                Step::Ask(_) => assert!(streams[0] || self.files > 0),
            }
        }
    }
}
