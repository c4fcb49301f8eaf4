//! The valve in front of an encoder of pictures, and the clock behind it: leaves out pictures when the encoder does not keep up, and
//! measures how old they are when they come out. What the preset has to do with it is for the encoder's owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::clock::MediaClock;
use super::overload::{Overload, Second, Step};
use super::pipeline::running_time;
use super::producer::Feed;

/// How an encoder of pictures keeps up.
#[derive(Debug)]
pub(crate) struct Relief {
    counts: Arc<Counts>,
    overload: Overload,
    /// Pushed and dropped when it was last looked at.
    before: (u64, u64),
    late: Duration,
}

#[derive(Debug)]
struct Counts {
    /// One of so many pictures passes.
    one_in: AtomicU32,
    /// Pictures that came to the valve.
    came: AtomicU64,
    left_out: AtomicU64,
    /// The greatest age of a picture that came out since it was last asked for, in ns.
    late: AtomicU64,
}

impl Relief {
    /// Stands between `input`, whose source it watches, and `output`, the end of the encoder.
    pub(crate) fn new(
        clock: &MediaClock,
        input: &gst::Element,
        output: &gst::Element,
        has_faster_preset: bool,
    ) -> Self {
        let counts = Arc::new(Counts {
            one_in: AtomicU32::new(1),
            came: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            late: AtomicU64::new(0),
        });
        if let Some(pad) = input.static_pad("src") {
            let counts = Arc::clone(&counts);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                let number = counts.came.fetch_add(1, Ordering::Relaxed);
                if number.is_multiple_of(counts.one_in.load(Ordering::Relaxed).into()) {
                    return gst::PadProbeReturn::Ok;
                }
                counts.left_out.fetch_add(1, Ordering::Relaxed);
                // Not `Drop`: with it GStreamer 1.22 releases the buffer that the binding has released already.
                gst::PadProbeReturn::Handled
            });
        }
        if let Some(pad) = output.static_pad("sink") {
            let (counts, clock) = (Arc::clone(&counts), clock.clone());
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                if let Some(time) = info.buffer().and_then(|buffer| running_time(pad, buffer)) {
                    let age = clock.running_time().saturating_sub(time);
                    counts.late.fetch_max(age.nseconds(), Ordering::Relaxed);
                }
                gst::PadProbeReturn::Ok
            });
        }
        Self { counts, overload: Overload::new(has_faster_preset), before: (0, 0), late: Duration::ZERO }
    }

    /// Looks at the last second. True when there are more or fewer pictures from now on.
    pub(crate) fn look(&mut self, feed: &Feed) -> bool {
        let now = (feed.pushed(), feed.dropped());
        let (pushed, dropped) = std::mem::replace(&mut self.before, now);
        self.late = Duration::from_nanos(self.counts.late.swap(0, Ordering::Relaxed));
        let (came, dropped) = (now.0.saturating_sub(pushed), now.1.saturating_sub(dropped));
        let changed = self.overload.take(Second { came, dropped, late: self.late });
        self.counts.one_in.store(self.overload.step().one_in, Ordering::Relaxed);
        changed
    }

    /// Pictures that were left out so far.
    pub(crate) fn left_out(&self) -> u64 {
        self.counts.left_out.load(Ordering::Relaxed)
    }

    /// 0 is everything.
    pub(crate) fn level(&self) -> usize {
        self.overload.level()
    }

    /// How the encoder is relieved.
    pub(crate) fn step(&self) -> Step {
        self.overload.step()
    }

    /// The greatest age of a picture that came out in the last second.
    pub(crate) fn late(&self) -> Duration {
        self.late
    }
}
