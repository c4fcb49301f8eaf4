//! A decoder behind each stream that `rtpbin` finds, and the keyframe requests and refusals that come back from it.

use std::sync::Arc;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::Notify;

use super::bursts::Bursts;
use super::continuity::mark_jumps;
use super::gate::Gate;
use super::sync::LipSync;
use super::{add, link, static_pad};
use crate::media::{MediaError, decode};
use crate::terms::{Codec, MediaKind, Ssrc};

/// The largest picture that is decoded: 4096x4096, more than any camera or screen share of a call has.
const MAX_PIXELS: i64 = 4096 * 4096;

/// Where one kind of media comes out.
#[derive(Debug)]
pub(super) struct Sinks {
    pub(super) raw: gst_app::AppSink,
    /// The stream as it came.
    pub(super) encoded: gst_app::AppSink,
    /// Whether anybody wants it decoded.
    pub(super) gate: Gate,
    /// Whether what is passed on as it came may wait.
    pub(super) bursts: Bursts,
}

/// Puts a decoder behind each pad on which `rtpbin` offers a stream. The newest stream of a kind wins.
pub(super) fn decode_new_pads(
    pipeline: &gst::Pipeline,
    rtpbin: &gst::Element,
    sinks: [Sinks; 2],
    sync: LipSync,
    keyframe_wanted: Arc<Notify>,
) {
    let weak = pipeline.downgrade();
    rtpbin.connect_pad_added(move |_, pad| {
        let name = pad.name();
        let Some(pipeline) = weak.upgrade() else { return };
        let Some(stream) = name.strip_prefix("recv_rtp_src_") else { return };
        let sinks = &sinks[usize::from(stream.starts_with('1'))];
        // Session, source and payload type.
        let source = stream.split('_').nth(1).and_then(|source| source.parse().ok()).map(Ssrc);
        if let Err(error) = decode_pad(&pipeline, (pad, source), sinks, &sync, &keyframe_wanted) {
            gst::element_error!(sinks.raw, gst::CoreError::Negotiation, ["{} cannot be decoded: {error}", name]);
        }
    });
}

fn decode_pad(
    pipeline: &gst::Pipeline,
    (pad, source): (&gst::Pad, Option<Ssrc>),
    sinks: &Sinks,
    sync: &LipSync,
    keyframe_wanted: &Arc<Notify>,
) -> Result<(), MediaError> {
    let codec = pad
        .current_caps()
        .and_then(|caps| caps.structure(0)?.get::<String>("encoding-name").ok())
        .and_then(|name| Codec::from_encoding_name(&name))
        .ok_or_else(|| MediaError::link("the stream's codec is not known"))?;
    let bin = decode::bin(codec)?;
    if codec.kind() == MediaKind::Video
        && let Some(depay) = bin.by_name("depay")
    {
        forward_keyframe_requests(&static_pad(&depay, "sink")?, Arc::clone(keyframe_wanted));
        if let Some(decoder) = bin.by_name("decoder") {
            refuse_giants(&static_pad(&decoder, "sink")?, &sinks.raw);
            refuse_giants(&static_pad(&decoder, "src")?, &sinks.raw);
        }
    }
    add(pipeline, &bin)?;
    let raw_pad = static_pad(&sinks.raw, "sink")?;
    if let Some(old) = unlink(&raw_pad) {
        // Its state must not change from this streaming thread.
        if let Some(old) = old.parent_element() {
            pipeline.call_async(move |pipeline| {
                if old.set_state(gst::State::Null).is_err() || pipeline.remove(&old).is_err() {
                    tracing::debug!(bin = %old.name(), "could not be removed");
                }
            });
        }
    }
    let raw = static_pad(&bin, "src")?;
    if codec.kind() == MediaKind::Audio {
        mark_jumps(&raw);
    }
    link(&raw, &raw_pad)?;
    let tee = bin.by_name("encoded").ok_or_else(|| MediaError::link("the decoder has no tee"))?;
    if let Some(decoding) = tee.src_pads().first() {
        sinks.gate.guard(decoding);
    }
    let encoded = pass_on(&bin, &tee, &static_pad(&sinks.encoded, "sink")?)?;
    if let Some(source) = source {
        sync.place(codec.kind(), source, codec.clock_rate(), pad, &encoded);
    }
    sinks.bursts.gather(&encoded);
    bin.sync_state_with_parent().map_err(|error| MediaError::link(format!("{codec} decoder: {error}")))?;
    link(pad, &static_pad(&bin, "sink")?)
}

/// Links a decoder's tee to the sink for what is passed on as it came, and returns the pad from which it goes there.
fn pass_on(bin: &gst::Bin, tee: &gst::Element, sink: &gst::Pad) -> Result<gst::Pad, MediaError> {
    let tee = tee.request_pad_simple("src_%u").ok_or_else(|| MediaError::link("the tee gives no pad"))?;
    let ghost = gst::GhostPad::with_target(&tee).map_err(|error| MediaError::link(error.to_string()))?;
    bin.add_pad(&ghost).map_err(|error| MediaError::link(error.to_string()))?;
    unlink(sink);
    let ghost = ghost.upcast::<gst::Pad>();
    link(&ghost, sink)?;
    Ok(ghost)
}

fn forward_keyframe_requests(pad: &gst::Pad, wanted: Arc<Notify>) {
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if info.event().is_some_and(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok()) {
            wanted.notify_one();
        }
        gst::PadProbeReturn::Ok
    });
}

/// Ends the ingest with an error when its pictures become larger than anybody's screen, before they are decoded where
/// the stream says their size in time: a few bytes can ask for half a gigabyte.
fn refuse_giants(pad: &gst::Pad, sink: &gst_app::AppSink) {
    let weak = sink.downgrade();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let Some(event) = info.event() else { return gst::PadProbeReturn::Ok };
        let gst::EventView::Caps(caps) = event.view() else { return gst::PadProbeReturn::Ok };
        let side = |name| caps.caps().structure(0)?.get::<i32>(name).ok();
        let (Some(width), Some(height)) = (side("width"), side("height")) else { return gst::PadProbeReturn::Ok };
        if i64::from(width) * i64::from(height) <= MAX_PIXELS {
            return gst::PadProbeReturn::Ok;
        }
        if let Some(sink) = weak.upgrade() {
            gst::element_error!(
                sink,
                gst::StreamError::Format,
                ["pictures of {width}x{height} are larger than the {MAX_PIXELS} pixels that are taken"]
            );
        }
        // Not `Drop`: with it GStreamer 1.22 releases the event that the binding has released already.
        gst::PadProbeReturn::Handled
    });
}

/// Takes a pad from whatever feeds it, and returns that.
fn unlink(sink: &gst::Pad) -> Option<gst::Pad> {
    let old = sink.peer()?;
    if old.unlink(sink).is_err() {
        tracing::debug!(pad = %old.name(), "was already unlinked");
    }
    Some(old)
}
