//! One clock and one base time for every pipeline of a bridge, so that a timestamp means the same moment in all of them.

use gst::prelude::*;
use gstreamer as gst;

/// The bridge's clock: the monotonic system clock, and the moment at which running time is zero.
#[derive(Clone, Debug)]
pub struct MediaClock {
    clock: gst::Clock,
    base_time: gst::ClockTime,
}

impl MediaClock {
    /// Starts a clock whose running time is zero now.
    pub fn start() -> Self {
        let clock = gst::SystemClock::obtain();
        let base_time = clock.time();
        Self { clock, base_time }
    }

    /// Takes another clock, whose time is the running time: for a simulation of days in minutes. Nothing that a user can say
    /// leads here.
    pub fn simulated(clock: gst::Clock) -> Self {
        Self { clock, base_time: gst::ClockTime::ZERO }
    }

    /// Puts a pipeline on this clock; call it before the pipeline leaves NULL.
    pub fn apply(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        // Without a start time of NONE the pipeline would choose a base time of its own when it goes to PLAYING.
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base_time);
    }

    /// Time since the start, the timestamps' unit.
    pub fn running_time(&self) -> gst::ClockTime {
        self.clock.time().saturating_sub(self.base_time)
    }
}
