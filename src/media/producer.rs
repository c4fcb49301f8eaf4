//! The joints between pipelines: an `appsink` at the end of one stage feeds the `appsrc`s of any number of later ones.
//!
//! Based on `gstreamer_utils::StreamProducer`, with the settings that live stages need.

use std::sync::Arc;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_utils::streamproducer::{ConsumerSettings, ProducerSettings};
use gstreamer_utils::{ConsumptionLink, StreamProducer};
use gstreamer_video as gst_video;
use tokio::sync::Notify;

use super::MediaError;

/// How much a later stage may lag before its oldest media is dropped and counted.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// A mixer's input or an encoder of pictures: half a second.
    Stage,
    /// An encoder of sound: two seconds. It works off what has gathered a hundred times faster than it came, so patience
    /// costs no delay.
    Sound,
    /// An output: two seconds, enough for a slow disk or a hiccup of the network.
    Output,
}

impl Patience {
    fn max_time(self) -> gst::ClockTime {
        match self {
            Self::Stage => gst::ClockTime::from_mseconds(500),
            Self::Sound | Self::Output => gst::ClockTime::from_seconds(2),
        }
    }
}

/// One elementary stream that later stages can take.
#[derive(Clone, Debug)]
pub struct Producer(StreamProducer);

impl Producer {
    /// Makes `appsink` a producer.
    pub(crate) fn new(appsink: &gst_app::AppSink) -> Self {
        let producer = StreamProducer::with(appsink, ProducerSettings { sync: false });
        // An end of stream that reached a live mixer would make it run away from the clock: stages end alone.
        producer.set_forward_events([]);
        Self(producer)
    }

    /// Feeds `appsrc` until the link is dropped. Call it before the consumer's pipeline plays.
    pub fn feed(&self, appsrc: &gst_app::AppSrc, patience: Patience) -> Result<Feed, MediaError> {
        let settings = ConsumerSettings { max_time: patience.max_time(), ..ConsumerSettings::default() };
        let link = self
            .0
            .add_consumer_with(appsrc, settings)
            .map_err(|error| MediaError::link(format!("{}: {error}", appsrc.name())))?;
        Ok(Feed(link))
    }

    /// Waits until something flows.
    pub async fn first_buffer(&self) {
        let arrived = Arc::new(Notify::new());
        let notify = Arc::clone(&arrived);
        if let Some(pad) = self.0.appsink().static_pad("sink") {
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                notify.notify_one();
                gst::PadProbeReturn::Remove
            });
            arrived.notified().await;
        }
    }

    /// The stream's form, as soon as something has flowed.
    pub async fn caps(&self) -> gst::Caps {
        let Some(pad) = self.0.appsink().static_pad("sink") else { return std::future::pending().await };
        when_caps_are_known(std::slice::from_ref(&pad), || pad.current_caps()).await
    }

    /// Asks for a keyframe at the first picture that was taken at this running time or later.
    pub fn request_keyframe(&self, from: gst::ClockTime) {
        let request = gst_video::UpstreamForceKeyUnitEvent::builder().running_time(from).all_headers(true).build();
        if !self.0.appsink().send_event(request) {
            tracing::debug!(producer = %self.0.appsink().name(), "takes no request for a keyframe");
        }
    }
}

/// A running link from a producer to one `appsrc`; dropping it unlinks.
#[derive(Debug)]
pub struct Feed(ConsumptionLink);

impl Feed {
    /// Buffers handed over.
    pub fn pushed(&self) -> u64 {
        self.0.pushed()
    }

    /// Buffers lost because the consumer was too slow.
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Unlinks and tells the consumer that its stream has ended.
    pub fn end(self) {
        let appsrc = self.0.appsrc().clone();
        drop(self.0);
        if appsrc.end_of_stream().is_err() {
            tracing::debug!(appsrc = %appsrc.name(), "was already stopped");
        }
    }
}

/// Adds an `appsink` for [`Producer::new`] to a pipeline.
///
/// `async=false`: a participant without video must not hold back the whole pipeline's preroll.
pub(crate) fn appsink(name: &str) -> gst_app::AppSink {
    let sink = gst_app::AppSink::builder().name(name).build();
    sink.set_property("async", false);
    sink
}

/// Waits until `ready` gives a value, looking each time when a pad's caps change.
pub(crate) async fn when_caps_are_known<T>(pads: &[gst::Pad], ready: impl Fn() -> Option<T>) -> T {
    let changed = Arc::new(Notify::new());
    let watched: Vec<_> = pads
        .iter()
        .map(|pad| {
            let changed = Arc::clone(&changed);
            (pad.clone(), pad.connect_caps_notify(move |_| changed.notify_one()))
        })
        .collect();
    let value = loop {
        // A permit is kept when the caps change between the look and the wait.
        match ready() {
            Some(value) => break value,
            None => changed.notified().await,
        }
    };
    for (pad, handler) in watched {
        pad.disconnect(handler);
    }
    value
}
