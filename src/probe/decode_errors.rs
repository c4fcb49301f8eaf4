//! Counts what a decoder complains about.
//!
//! FFmpeg's decoders conceal damage and go on: their only trace is a line in GStreamer's log, without the element that it is
//! about. A decoder runs on the thread that feeds it (frame threading is off, see [`watch`]), so the pad probe of a watched
//! decoder leaves its tally on that thread, and the log function finds it there. Decoders of other pipelines in this process run
//! on other threads and are never counted.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, Weak};

use gst::log::DebugCategory;
use gst::prelude::*;
use gstreamer as gst;

thread_local! {
    static DECODING: RefCell<Weak<Tally>> = const { RefCell::new(Weak::new()) };
}

/// What one decoder complained about.
#[derive(Debug, Default)]
pub(super) struct Tally {
    errors: AtomicU64,
    first: OnceLock<String>,
    /// The codec of what it decodes, from its sink pad's caps.
    caps: Mutex<Option<gst::Caps>>,
}

impl Tally {
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub(super) fn first(&self) -> Option<&str> {
        self.first.get().map(String::as_str)
    }

    /// What goes into the decoder.
    pub(super) fn caps(&self) -> Option<gst::Caps> {
        self.caps.lock().ok()?.clone()
    }

    pub(super) fn add(&self, message: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.first.get_or_init(|| message.trim().to_owned());
    }
}

/// Whether an element decodes sound or pictures itself (and is no bin around such an element).
pub(super) fn is_decoder(element: &gst::Element) -> bool {
    let klass = element.factory().and_then(|factory| factory.metadata("klass").map(str::to_owned)).unwrap_or_default();
    klass.contains("Decoder") && (klass.contains("Video") || klass.contains("Audio")) && !element.is::<gst::Bin>()
}

/// Starts to count a decoder's complaints. Until the first keyframe its input is dropped: a player that joins late waits for
/// it too, and the errors before it would say nothing about the source.
pub(super) fn watch(decoder: &gst::Element) -> Arc<Tally> {
    listen();
    // Messages must come from the thread that feeds the decoder; one thread carries several times the pictures of a call.
    if decoder.has_property_with_type("max-threads", i32::static_type()) {
        decoder.set_property("max-threads", 1_i32);
    }
    let tally = Arc::new(Tally::default());
    let Some(sink) = decoder.static_pad("sink") else {
        return tally;
    };
    let of_probe = Arc::clone(&tally);
    let keyframe_seen = AtomicBool::new(false);
    sink.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        DECODING.with_borrow_mut(|current| *current = Arc::downgrade(&of_probe));
        match &info.data {
            Some(gst::PadProbeData::Event(event)) => {
                if let (gst::EventView::Caps(caps), Ok(mut of_decoder)) = (event.view(), of_probe.caps.lock()) {
                    *of_decoder = Some(caps.caps_owned());
                }
            }
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let is_keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
                if !keyframe_seen.fetch_or(is_keyframe, Ordering::Relaxed) && !is_keyframe {
                    // Not `Drop`: with it GStreamer 1.22 releases the buffer that the binding has released already.
                    return gst::PadProbeReturn::Handled;
                }
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    tally
}

/// Hooks into GStreamer's log, once per process.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Without GST_DEBUG nobody asked for these lines: they are counted, not printed.
        if std::env::var_os("GST_DEBUG").is_none() {
            gst::log::remove_default_log_function();
        }
        gst::log::add_log_function(|category, level, _file, _function, _line, _object, message| {
            let complaint = match (category.name(), level) {
                ("libav", gst::DebugLevel::Error) => message.get(),
                ("videodecoder" | "audiodecoder", gst::DebugLevel::Warning) => {
                    message.get().filter(|text| text.starts_with("error: "))
                }
                _ => None,
            };
            if let Some(text) = complaint {
                let tally = DECODING.try_with(|current| current.try_borrow().ok().and_then(|tally| tally.upgrade()));
                if let Ok(Some(tally)) = tally {
                    tally.add(&text);
                }
            }
        });
    });
    // Categories exist once their plugin was loaded, so this is repeated for each decoder.
    for (name, level) in [
        ("libav", gst::DebugLevel::Error),
        ("videodecoder", gst::DebugLevel::Warning),
        ("audiodecoder", gst::DebugLevel::Warning),
    ] {
        if let Some(category) = DebugCategory::get(name)
            && category.threshold() < level
        {
            category.set_threshold(level);
        }
    }
}
