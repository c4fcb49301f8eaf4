//! One participant's encoded stream, passed on as it came.
//!
//! Outputs that copy are attached to the relay once; which participant feeds it may change while they run.

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_utils::StreamProducer;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::MediaError;
use super::bus::BusEvent;
use super::clock::MediaClock;
use super::pipeline::LivePipeline;
use super::producer::{Feed, Patience, Producer, Tap, appsink};

/// A place in the stream at which its source can be changed.
#[derive(Debug)]
pub struct Relay {
    pipeline: LivePipeline,
    input: gst_app::AppSrc,
    feed: Option<Feed>,
    /// Shows what waits for its time at the source.
    early: Option<Tap>,
    /// Tells the form of the source, which is known before the source flows.
    form: Option<AbortOnDropHandle<()>>,
    producer: Producer,
}

impl Relay {
    /// Builds a relay without a source.
    pub fn new(clock: &MediaClock, name: &str) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::with_name(name);
        let input = gst_app::AppSrc::builder().name("input").build();
        // Its form must be known before it plays; a producer sets it only when it begins to feed.
        StreamProducer::configure_consumer(&input);
        let output = appsink("output");
        let elements: [&gst::Element; 2] = [input.upcast_ref(), output.upcast_ref()];
        pipeline.add_many(elements).map_err(|error| MediaError::link(error.to_string()))?;
        gst::Element::link_many(elements).map_err(|error| MediaError::link(error.to_string()))?;
        Ok(Self {
            producer: Producer::holding(&output),
            pipeline: LivePipeline::new(pipeline, clock),
            input,
            feed: None,
            early: None,
            form: None,
        })
    }

    /// Starts to pass on.
    pub async fn play(&mut self) -> Result<(), MediaError> {
        self.pipeline.play().await
    }

    /// Takes another source, or none. A source's first picture is a keyframe: others are left out, and one is asked for. Call it
    /// within a runtime of Tokio.
    pub fn switch(&mut self, source: Option<&Producer>) -> Result<(), MediaError> {
        (self.feed, self.early, self.form) = (None, None, None);
        self.feed = source.map(|source| source.feed(&self.input, Patience::Output)).transpose()?;
        let pad = self.input.static_pad("src");
        self.early = source.zip(pad).map(|(source, pad)| source.show_early(&pad));
        self.form = source.cloned().map(|source| {
            let input = self.input.clone();
            // What waits for its time comes all at once: outputs that know the form by then have it from its beginning.
            AbortOnDropHandle::new(tokio::spawn(async move { input.set_caps(Some(&source.caps().await)) }))
        });
        Ok(())
    }

    /// What is passed on.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Hands the pipeline's events to its owner.
    pub fn take_events(&mut self) -> mpsc::Receiver<BusEvent> {
        self.pipeline.take_events()
    }

    /// Ends it in bounded time.
    pub async fn stop(&self) -> bool {
        self.pipeline.stop().await
    }
}
