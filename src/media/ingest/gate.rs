//! What nobody wants decoded ends here, in front of the decoder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;
use gstreamer as gst;

/// Whether one kind of media is decoded. Clones share the answer.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<AtomicBool>);

impl Gate {
    pub(super) fn new(open: bool) -> Self {
        Self(Arc::new(AtomicBool::new(open)))
    }

    pub(super) fn set(&self, open: bool) {
        self.0.store(open, Ordering::Relaxed);
    }

    /// Lets buffers pass `pad` while the gate is open. After it was closed the first one is a keyframe: a decoder that gets
    /// the middle of a sequence shows a torn picture.
    pub(super) fn guard(&self, pad: &gst::Pad) {
        let open = Arc::clone(&self.0);
        let flows = AtomicBool::new(false);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
            let open = open.load(Ordering::Relaxed);
            let starts = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            if open && (starts || flows.load(Ordering::Relaxed)) {
                flows.store(true, Ordering::Relaxed);
                return gst::PadProbeReturn::Ok;
            }
            flows.store(false, Ordering::Relaxed);
            // Not `Drop`: with it GStreamer 1.22 releases the buffer that the binding has released already.
            gst::PadProbeReturn::Handled
        });
    }
}
