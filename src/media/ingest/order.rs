//! Timestamps of encoded pictures that only ever grow.
//!
//! After a stall, pictures come in a burst, and `rtpbin` gives several of them the same time, or an earlier one while it corrects its
//! clocks. Parsers take what has the same time for one picture and leave the second without any, and the muxer of fragmented MP4
//! ends at a picture without time.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

/// Pictures of a burst are so far apart. They are behind their time, so the true times soon overtake these.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(1);

/// Moves what passes `pad` out of order to a little after what passed before.
pub(super) fn keep(pad: &gst::Pad) {
    let last = Mutex::new(None);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let time = if buffer.pts() > *last { buffer.pts() } else { last.map(|last| last + STEP) };
        if buffer.pts() != time {
            buffer.make_mut().set_pts(time);
        }
        *last = time;
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use gstreamer_app as gst_app;

    use super::*;

    #[test]
    fn pictures_of_a_burst_follow_one_another() {
        gst::init().unwrap();
        let text = "appsrc name=source format=time ! appsink name=sink sync=false";
        let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("source").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
        keep(&sink.static_pad("sink").unwrap());
        pipeline.set_state(gst::State::Playing).unwrap();
        for time in [None, Some(100), Some(133), Some(133), Some(120), None, Some(166)] {
            let mut buffer = gst::Buffer::new();
            buffer.get_mut().unwrap().set_pts(time.map(gst::ClockTime::from_mseconds));
            source.push_buffer(buffer).unwrap();
        }
        source.end_of_stream().unwrap();
        let times: Vec<_> = std::iter::from_fn(|| sink.pull_sample().ok())
            .map(|sample| sample.buffer().unwrap().pts().map(gst::ClockTime::mseconds))
            .collect();
        pipeline.set_state(gst::State::Null).unwrap();
        let expected = [None, Some(100), Some(133), Some(134), Some(135), Some(136), Some(166)];
        assert_eq!(times, expected);
    }
}
