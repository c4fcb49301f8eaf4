//! The times of what goes into a mixer and comes out of it: probes on its pads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;

use super::super::phase::{Phase, Phases};
use super::super::pipeline::running_time;

/// Leaves out what has no time. A decoder may put it out after a loss, and GStreamer's mixers end for everybody when they meet one.
pub(super) fn refuse_timeless(pad: &gst::GhostPad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| match info.buffer() {
        // Not `Drop`: with it GStreamer 1.22 releases the buffer that the binding has released already.
        Some(buffer) if buffer.pts().is_none() => gst::PadProbeReturn::Handled,
        _ => gst::PadProbeReturn::Ok,
    });
}

/// Answers latency queries for one branch: without it, one participant who stops video would raise the whole mix's
/// latency to that participant's jitter budget.
pub(super) fn answer_latency(pad: &gst::GhostPad, latency: gst::ClockTime) {
    pad.add_probe(gst::PadProbeType::QUERY_UPSTREAM | gst::PadProbeType::PULL, move |_, info| {
        if let Some(query) = info.query_mut()
            && let gst::QueryViewMut::Latency(answer) = query.view_mut()
        {
            answer.set(true, latency, gst::ClockTime::NONE);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Gives each picture its time. With its first input the compositor puts out one picture that lasts from zero to the end
/// of the tick that was due: it gets that tick's time, and a picture for a time that was shown already is dropped. Then
/// the time at which the picture was taken takes the place of the tick's.
pub(super) fn correct_time(pad: &gst::Pad, tick: gst::ClockTime, phases: Phases) {
    let last = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        let (Some(time), Some(duration)) = (buffer.pts(), buffer.duration()) else { return gst::PadProbeReturn::Ok };
        let before = gst::ClockTime::from_nseconds(last.load(Ordering::Relaxed));
        let due = before + tick;
        let time = if time > before || before.is_zero() {
            time
        } else if time + duration > due {
            due
        } else {
            // Not `Drop`: with it GStreamer 1.22 releases the buffer that the binding has released already.
            return gst::PadProbeReturn::Handled;
        };
        last.store(time.nseconds(), Ordering::Relaxed);
        let buffer = buffer.make_mut();
        buffer.set_pts(gst::ClockTime::from_nseconds(phases.correct(time.nseconds(), tick.nseconds())));
        buffer.set_duration(tick);
        gst::PadProbeReturn::Ok
    });
}

/// Measures how far the ticks move an input's pictures.
pub(super) fn measure_phase(pad: &gst::Pad, tick: gst::ClockTime, phase: &Arc<Phase>) {
    let phase = Arc::downgrade(phase);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(phase) = phase.upgrade() else { return gst::PadProbeReturn::Remove };
        if let Some(time) = info.buffer().and_then(|buffer| running_time(pad, buffer)) {
            phase.measure(time.nseconds(), tick.nseconds());
        }
        gst::PadProbeReturn::Ok
    });
}
