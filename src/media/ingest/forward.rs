//! Time that runs only forward, for what is passed on as it came.
//!
//! When packets come a second late, because the sender's or this machine stood still, `rtpbin` takes their arrival for the new
//! truth, and a moment later, when they come in time again, jumps back. A mixer leaves out what is too old; a file or a player
//! that is given the same second twice is broken.

use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;

use crate::media::pipeline::running_time;
use crate::terms::MediaKind;

/// The least distance between two pictures, where time would run backwards.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(1);

/// Leaves out sound that is older than what has passed the pad; a picture, on which the next ones build, gets the next moment instead.
pub(super) fn only_forward(pad: &gst::Pad, kind: MediaKind) {
    let last = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(time) = info.buffer().and_then(|buffer| running_time(pad, buffer)) else {
            return gst::PadProbeReturn::Ok;
        };
        let before = gst::ClockTime::from_nseconds(last.load(Ordering::Relaxed));
        if time > before || before.is_zero() {
            last.store(time.nseconds(), Ordering::Relaxed);
            return gst::PadProbeReturn::Ok;
        }
        tracing::debug!(%kind, %time, %before, "time ran backwards");
        if kind == MediaKind::Audio {
            // Not `Drop`: with it GStreamer 1.22 releases the buffer that the binding has released already.
            return gst::PadProbeReturn::Handled;
        }
        let next = before + STEP;
        last.store(next.nseconds(), Ordering::Relaxed);
        if let Some(buffer) = info.buffer_mut() {
            let buffer = buffer.make_mut();
            let later = |stamp: Option<gst::ClockTime>| Some(stamp? + (next - time));
            let (pts, dts) = (later(buffer.pts()), later(buffer.dts()));
            buffer.set_pts(pts);
            buffer.set_dts(dts);
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of buffers with these times, in ms, arrives, and when.
    fn passed(kind: MediaKind, times: &[u64]) -> Vec<u64> {
        let (pipeline, source, sink) = super::super::tests::passage();
        only_forward(&sink.static_pad("sink").unwrap(), kind);
        pipeline.set_state(gst::State::Playing).unwrap();
        for time in times {
            super::super::tests::push(&source, *time);
        }
        source.end_of_stream().unwrap();
        let mut seen = Vec::new();
        while let Ok(sample) = sink.pull_sample() {
            seen.push(sample.buffer().unwrap().pts().unwrap().mseconds());
        }
        pipeline.set_state(gst::State::Null).unwrap();
        seen
    }

    #[test]
    fn sound_of_a_second_that_has_passed_is_left_out_and_a_picture_comes_at_once() {
        let times = [0, 20, 40, 1000, 60, 80, 1020];
        assert_eq!(passed(MediaKind::Audio, &times), [0, 20, 40, 1000, 1020]);
        assert_eq!(passed(MediaKind::Video, &times), [0, 20, 40, 1000, 1001, 1002, 1020]);
    }
}
