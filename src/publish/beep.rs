//! The sound's measuring mark: 100 ms of 1 kHz on each second, silence otherwise.
//!
//! Drawn into the samples here because audiotestsrc's own ticks (GStreamer 1.22) come one buffer too early, all but
//! the first.

use std::f64::consts::TAU;

use gst::prelude::*;
use gstreamer as gst;

/// Samples per second, of two channels each.
pub(super) const RATE: u64 = 48_000;
const BEEP_SAMPLES: u64 = RATE / 10;
const HERTZ: f64 = 1000.0;
const AMPLITUDE: f64 = 0.5 * i16::MAX as f64;

/// The sample with this number, counted from running time 0.
fn sample(number: u64) -> i16 {
    let in_second = number % RATE;
    if in_second >= BEEP_SAMPLES {
        return 0;
    }
    let phase = TAU * HERTZ * in_second as f64 / RATE as f64;
    // Bounded by the amplitude, so it always fits.
    (phase.sin() * AMPLITUDE).round() as i16
}

/// Draws the beep into each buffer (S16LE, stereo, 48 kHz) that leaves `pad`.
pub(super) fn add_beep(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        // The source counts from 0, so its timestamps are running times; half a sample makes up for their rounding.
        let first = info.buffer().and_then(|buffer| buffer.pts());
        if let (Some(time), Some(buffer)) = (first, info.buffer_mut())
            && let Ok(mut samples) = buffer.make_mut().map_writable()
            && let Some(first) = (time.nseconds() + 10_000).checked_mul(RATE)
        {
            let first = first / gst::ClockTime::SECOND.nseconds();
            for (number, frame) in (first..).zip(samples.chunks_exact_mut(4)) {
                let [low, high] = sample(number).to_le_bytes();
                frame.copy_from_slice(&[low, high, low, high]);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beep_starts_on_the_second_and_lasts_a_tenth() {
        for second in [0, 1, 7, 3600] {
            let at = |offset: u64| sample(second * RATE + offset);
            assert!(at(12) > 16_000, "the first quarter of the first period is its top");
            assert_eq!((at(0), at(BEEP_SAMPLES), at(RATE - 1)), (0, 0, 0));
            assert_ne!(at(BEEP_SAMPLES - 12), 0);
        }
    }
}
