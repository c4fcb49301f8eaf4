//! Plays a file again and again without a gap in running time, by seeking in segments.

use gst::prelude::*;
use gstreamer as gst;

/// Starts over whenever a segment is done. The message is answered off the streaming thread, where a seek would
/// deadlock.
pub(super) fn repeat(pipeline: &gst::Pipeline) {
    let Some(bus) = pipeline.bus() else { return };
    let weak = pipeline.downgrade();
    bus.set_sync_handler(move |_, message| {
        if matches!(message.view(), gst::MessageView::SegmentDone(_))
            && let Some(pipeline) = weak.upgrade()
        {
            pipeline.call_async(|pipeline| {
                seek(pipeline, gst::SeekFlags::SEGMENT);
            });
        }
        gst::BusSyncReply::Pass
    });
}

/// Makes the first segment, before anything plays.
pub(super) fn begin(pipeline: &gst::Pipeline) -> bool {
    seek(pipeline, gst::SeekFlags::SEGMENT | gst::SeekFlags::FLUSH)
}

fn seek(pipeline: &gst::Pipeline, flags: gst::SeekFlags) -> bool {
    let (from, until) = (gst::ClockTime::ZERO, gst::ClockTime::NONE);
    let sought = pipeline.seek(1.0, flags, gst::SeekType::Set, from, gst::SeekType::None, until);
    if let Err(error) = &sought {
        tracing::warn!(%error, "the file cannot be repeated");
    }
    sought.is_ok()
}
