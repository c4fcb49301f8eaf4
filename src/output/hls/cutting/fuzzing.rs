//! Pictures and sound at any time through the cuts of a rendition: what `output::fuzzing` calls for them.
//!
//! The first bytes are the lengths; a step is a byte that says what comes, and two that say how many milliseconds later.

use std::time::Duration;

use super::{Cut, Lengths, State};
use crate::rtp::fuzzing::Steps;

pub(in super::super::super) fn fuzz_cuts(input: &[u8]) {
    let mut steps = Steps(input);
    let what = steps.byte();
    let lengths = Lengths {
        segment: Duration::from_secs(u64::from(what & 0x1f) + 1),
        part: (what & 0x20 != 0).then(|| Duration::from_millis(u64::from(steps.two()) + 1)),
        on_grid: what & 0x40 != 0,
    };
    let (mut state, mut times, mut last) = (State::default(), [Duration::ZERO; 2], None::<Duration>);
    let (mut made, mut followed) = (0_usize, 0_usize);
    while !steps.is_over() {
        let step = steps.byte();
        let sound = usize::from(step & 1);
        let far = if step & 0x80 == 0 { 1 } else { 100_000 };
        times[sound] = times[sound].saturating_add(Duration::from_millis(u64::from(steps.two()) * far));
        let time = times[sound];
        if sound == 1 {
            followed += usize::from(state.follow(time).is_some());
            continue;
        }
        let (cut, wanted) = state.lead(lengths, time, step & 2 != 0);
        followed += usize::from(state.overdue(time).is_some());
        assert!(wanted.is_none_or(|wanted| wanted + lengths.segment >= time), "a keyframe is wanted long ago");
        if let Some(cut) = cut {
            made += 1;
            assert!(cut == Cut::Part || step & 2 != 0, "a segment begins with a picture that is no keyframe");
            assert!(last.is_none_or(|last| last <= time));
            last = Some(time);
        }
    }
    assert!(state.ends.len() == made && followed <= made, "{made} cuts, {followed} of them in the second stream");
}
