//! What waits for its place in time ([`super::ingest`]), shown at once to whoever must not lose it: a recording.
//!
//! It is shown by an event, which passes what waits, and comes again when its time is known.

use gst::prelude::*;
use gstreamer as gst;

use super::pipeline::running_time;
use super::producer::Tapped;

/// The name of the event.
const EARLY: &str = "roomcast-early";

/// Shows a buffer that waits at this pad, and lies where its arrival has put it.
pub(super) fn show(pad: &gst::Pad, buffer: &gst::Buffer) {
    if let (Some(caps), Some(time)) = (pad.current_caps(), running_time(pad, buffer)) {
        pass_on(pad, &Tapped { buffer: buffer.clone(), caps, time, early: true });
    }
}

/// Shows it to whatever is behind another pad.
pub(super) fn pass_on(pad: &gst::Pad, tapped: &Tapped) {
    let Tapped { buffer, caps, time, .. } = tapped;
    let shown = gst::Structure::builder(EARLY).field("buffer", buffer).field("caps", caps).field("time", time).build();
    // Nobody needs to take it.
    pad.push_event(gst::event::CustomDownstreamOob::new(shown));
}

/// What an event shows.
pub(super) fn shown(event: &gst::EventRef) -> Option<Tapped> {
    let shown = event.structure().filter(|shown| shown.has_name(EARLY))?;
    let (buffer, caps) = (shown.get("buffer").ok()?, shown.get("caps").ok()?);
    Some(Tapped { buffer, caps, time: shown.get("time").ok()?, early: true })
}
