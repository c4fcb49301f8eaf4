//! Says so when a piece of decoded sound does not follow on from the one before it.
//!
//! Lip sync moves sound, and decoders pass the new time on without a word. A mixer of GStreamer takes that for trembling: it puts
//! sound where it expects it, and believes what the timestamps say after a second.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use crate::media::decode::BYTES_PER_SECOND;

/// Sound that is out of its place by this much, in ns, is put there. Less is not heard, and how times tremble.
const NOTICED: u64 = 20_000_000;

/// Marks each piece of raw sound that passes this pad and does not follow on as a discontinuity.
pub(super) fn mark_jumps(pad: &gst::Pad) {
    let due = Mutex::new(None);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        let Some(time) = buffer.pts().map(gst::ClockTime::nseconds) else { return gst::PadProbeReturn::Ok };
        let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
        if jumps(&mut due, time, buffer.size() as u64) {
            buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Whether a piece that starts at `time` comes elsewhere than at the end of the one before it; `due` becomes its own end.
fn jumps(due: &mut Option<u64>, time: u64, bytes: u64) -> bool {
    let jumps = due.is_some_and(|due| due.abs_diff(time) >= NOTICED);
    let start = due.filter(|_| !jumps).unwrap_or(time);
    *due = Some(start.saturating_add(bytes.saturating_mul(1_000_000_000) / BYTES_PER_SECOND));
    jumps
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    /// 20 ms.
    const PIECE: u64 = 3840;

    #[test]
    fn what_trembles_follows_on_and_what_moves_does_not() {
        let mut due = None;
        let mut take = |ms: u64| jumps(&mut due, ms * MS, PIECE);
        assert!(!take(1000) && !take(1035) && !take(1025) && !take(1079));
        assert!(take(1230), "150 ms later");
        assert!(!take(1250) && take(1200), "and back");
    }

    #[test]
    fn small_steps_are_noticed_when_they_have_become_a_large_one() {
        let mut due = None;
        let moved = (0..100).filter(|number| jumps(&mut due, number * 22 * MS, PIECE)).count();
        assert_eq!(moved, 9, "of 2 ms each");
    }
}
