//! Keyframes of a stream that is copied: its sender is asked when one is due.

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::super::OutputError;
use super::super::attached::Attached;

/// Muxers ask for the keyframe of the next segment when the last one has begun, for a moment that is still to come. An
/// encoder keeps that moment; a browser far away would make one at once. So the request waits here until it is due, but for `lead`.
pub(super) fn ask_in_time(attached: &Attached, lead: gst::ClockTime) -> Result<(), OutputError> {
    let appsrc = attached.element("video")?;
    // Behind the source: what reaches the source's own pad has already been passed on to the sender.
    let Some(pad) = appsrc.static_pad("src").and_then(|pad| pad.peer()) else { return Ok(()) };
    let pipeline = attached.pipeline().downgrade();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |pad, info| {
        let Some(pipeline) = pipeline.upgrade() else { return gst::PadProbeReturn::Ok };
        let Some(due) = info.event().and_then(|event| due(event, lead, &pipeline)) else {
            return gst::PadProbeReturn::Ok;
        };
        let pad = pad.downgrade();
        let timer = pipeline.pipeline_clock().new_single_shot_id(due);
        let asked = timer.wait_async(move |_, _, _| {
            if let Some(pad) = pad.upgrade() {
                pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
            }
        });
        // Without a timer it is better asked too early than never.
        if asked.is_ok() { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
    });
    Ok(())
}

/// Gives pictures that came by RTP the moment of their decoding, which the muxer of MP4 asks for: they are decoded in the order in
/// which they are shown, because nobody who is in a call waits for pictures that come later.
pub(super) fn decoded_as_shown(mux: &gst::Element) {
    let Some(pad) = mux.sink_pads().first().and_then(|sink| sink.peer()) else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        if let Some(buffer) = info.buffer_mut().filter(|buffer| buffer.dts().is_none()) {
            let shown = buffer.pts();
            buffer.make_mut().set_dts(shown);
        }
        gst::PadProbeReturn::Ok
    });
}

/// The moment on the clock at which to ask for a keyframe, when it is still to come.
fn due(event: &gst::Event, lead: gst::ClockTime, pipeline: &gst::Pipeline) -> Option<gst::ClockTime> {
    let request = gst_video::UpstreamForceKeyUnitEvent::parse(event).ok()?;
    let due = (pipeline.base_time()? + request.running_time?).saturating_sub(lead);
    (due > pipeline.pipeline_clock().time()).then_some(due)
}
