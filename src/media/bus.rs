//! A pipeline's bus as typed events.
//!
//! One thread per pipeline: it answers LATENCY messages at once, which must happen off the streaming threads, and sends
//! everything else that matters to the pipeline's owner. It never changes the pipeline's state.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;
use gstreamer as gst;
use tokio::sync::mpsc;

/// How long the thread waits for a message before it looks whether it should end.
const POLL: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// Errors come in bursts when a device fails; the first ones say why.
const BACKLOG: usize = 64;

/// An error or warning with the element that reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementFault {
    /// The element's name inside its pipeline.
    pub element: String,
    /// What it says.
    pub message: String,
    /// Details for developers; may be empty.
    pub debug: String,
    /// Whether the cause is a lack of space on the device.
    pub no_space_left: bool,
    /// What is wrong with the place that was to be opened, read or written, if that is at fault.
    pub resource: Option<gst::ResourceError>,
}

impl fmt::Display for ElementFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.element, self.message.trim_end_matches('.'))?;
        // GStreamer's debug text is "file(line): function: path:\nthe useful part".
        match self.debug.split_once('\n') {
            Some((_, detail)) if !detail.trim().is_empty() => write!(f, " ({})", detail.trim().replace('\n', "; ")),
            _ => Ok(()),
        }
    }
}

/// What a pipeline tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusEvent {
    /// The pipeline cannot go on.
    Error(ElementFault),
    /// Something is wrong but the pipeline goes on.
    Warning(ElementFault),
    /// Every sink has seen the end of the stream.
    Eos,
}

/// Ends the bus thread when it is dropped.
#[derive(Debug)]
pub(crate) struct BusWatch {
    stopped: Arc<AtomicBool>,
}

impl Drop for BusWatch {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Starts the thread that reads a pipeline's bus.
pub(crate) fn watch(pipeline: &gst::Pipeline) -> Result<(BusWatch, mpsc::Receiver<BusEvent>), std::io::Error> {
    let (events, receiver) = mpsc::channel(BACKLOG);
    let stopped = Arc::new(AtomicBool::new(false));
    let (weak, stop) = (pipeline.downgrade(), Arc::clone(&stopped));
    if let Some(bus) = pipeline.bus() {
        std::thread::Builder::new().name(format!("bus-{}", pipeline.name())).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Some(message) = bus.timed_pop(POLL) else { continue };
                let Some(pipeline) = weak.upgrade() else { break };
                if matches!(message.view(), gst::MessageView::Latency(_)) {
                    if pipeline.recalculate_latency().is_err() {
                        tracing::debug!(pipeline = %pipeline.name(), "latency could not be recalculated");
                    }
                } else if let Some(event) = read(&message)
                    && events.try_send(event).is_err_and(|error| matches!(error, mpsc::error::TrySendError::Closed(_)))
                {
                    break;
                }
            }
        })?;
    }
    Ok((BusWatch { stopped }, receiver))
}

fn read(message: &gst::Message) -> Option<BusEvent> {
    let fault = |error: gst::glib::Error, debug: Option<gst::glib::GString>| ElementFault {
        element: message.src().map(|source| source.name().to_string()).unwrap_or_default(),
        message: error.message().to_owned(),
        debug: debug.map(|text| text.to_string()).unwrap_or_default(),
        no_space_left: error.matches(gst::ResourceError::NoSpaceLeft),
        resource: error.kind(),
    };
    match message.view() {
        gst::MessageView::Error(error) => Some(BusEvent::Error(fault(error.error(), error.debug()))),
        // An output whose latency was set by us sends its packets at that time, whatever its elements would need at most.
        gst::MessageView::Warning(warning) if warning.error().matches(gst::CoreError::Clock) => None,
        gst::MessageView::Warning(warning) => Some(BusEvent::Warning(fault(warning.error(), warning.debug()))),
        gst::MessageView::Eos(_) => Some(BusEvent::Eos),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_the_element_and_the_useful_half_of_the_details() {
        let fault = ElementFault {
            element: "filesink0".into(),
            message: "No space left on the resource.".into(),
            debug: "gstfilesink.c(1): gst_file_sink_render (): /x:\nsystem error: No space left on device".into(),
            no_space_left: true,
            resource: Some(gst::ResourceError::NoSpaceLeft),
        };
        assert_eq!(
            fault.to_string(),
            "filesink0: No space left on the resource (system error: No space left on device)"
        );
    }
}
