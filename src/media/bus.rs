//! A pipeline's bus as typed events.
//!
//! LATENCY messages are answered at once, off the streaming threads as they must be; everything else that matters goes to the
//! pipeline's owner. Nothing here changes the pipeline's state.

use std::fmt;

use gst::prelude::*;
use gstreamer as gst;
use tokio::sync::mpsc;

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

/// Sends what a pipeline tells to its owner, from whichever thread tells it. It keeps no thread of its own, and no message that
/// nobody reads. To be called once for each pipeline.
pub(crate) fn watch(pipeline: &gst::Pipeline) -> mpsc::Receiver<BusEvent> {
    let (events, receiver) = mpsc::channel(BACKLOG);
    let weak = pipeline.downgrade();
    if let Some(bus) = pipeline.bus() {
        bus.set_sync_handler(move |_, message| {
            if matches!(message.view(), gst::MessageView::Latency(_)) {
                if let Some(pipeline) = weak.upgrade() {
                    pipeline.call_async(recalculate_latency);
                }
            } else if let Some(event) = read(message)
                && events.try_send(event).is_err()
            {
                tracing::trace!("a pipeline told something that nobody waits for");
            }
            gst::BusSyncReply::Drop
        });
    }
    receiver
}

fn recalculate_latency(pipeline: &gst::Pipeline) {
    if pipeline.recalculate_latency().is_err() {
        tracing::debug!(pipeline = %pipeline.name(), "latency could not be recalculated");
    }
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
