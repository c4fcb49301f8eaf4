//! The mixed picture in a smaller size, for an encoder of its own. The bridge owns it.

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use tokio::sync::mpsc;

use super::bus::BusEvent;
use super::clock::MediaClock;
use super::layout::Size;
use super::pipeline::LivePipeline;
use super::producer::{Feed, Patience, Producer};
use super::{MediaError, template};

/// A running scaler. Pictures keep their timestamps, so that keyframes of all sizes stand at the same moments.
#[derive(Debug)]
pub struct Scaler {
    pipeline: LivePipeline,
    feed: Feed,
    producer: Producer,
}

impl Scaler {
    /// Makes `raw` pictures `size` large.
    pub fn new(clock: &MediaClock, raw: &Producer, size: Size) -> Result<Self, MediaError> {
        let pipeline = LivePipeline::new(template::build("scale", &format!("scale-{size}"))?, clock);
        let caps = gst::Caps::builder("video/x-raw").field("width", size.width).field("height", size.height);
        let caps = caps.field("pixel-aspect-ratio", gst::Fraction::new(1, 1)).build();
        pipeline.element("size")?.set_property("caps", caps);
        let cast = |_| MediaError::link("pipelines/scale.launch: input and output are not appsrc and appsink");
        let input = pipeline.element("input")?.downcast::<gst_app::AppSrc>().map_err(cast)?;
        let output = pipeline.element("output")?.downcast::<gst_app::AppSink>().map_err(cast)?;
        output.set_property("async", false);
        let feed = raw.feed(&input, Patience::Stage)?;
        Ok(Self { producer: Producer::new(&output), pipeline, feed })
    }

    /// Starts to scale.
    pub async fn play(&mut self) -> Result<(), MediaError> {
        self.pipeline.play().await
    }

    /// The smaller pictures.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Pictures that came too fast.
    pub fn dropped(&self) -> u64 {
        self.feed.dropped()
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

impl Size {
    /// The same picture with so many lines, both numbers even.
    pub fn with_height(self, height: i32) -> Self {
        let width = i64::from(self.width) * i64::from(height) / i64::from(self.height.max(1));
        let width = i32::try_from(width + 1).unwrap_or(i32::MAX) & !1;
        Self { width: width.max(16), height }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_picture_keeps_its_shape() {
        let of = |width, height, smaller| {
            let size = Size { width, height }.with_height(smaller);
            (size.width, size.height)
        };
        assert_eq!(of(1280, 720, 360), (640, 360));
        assert_eq!(of(1920, 1080, 480), (854, 480));
        assert_eq!(of(1280, 720, 720), (1280, 720));
        assert_eq!(of(720, 1280, 426), (240, 426));
    }
}
