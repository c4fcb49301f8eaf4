//! One GStreamer pipeline with an owner: started, watched and stopped in bounded time.
//!
//! Changing a pipeline's state can block for as long as a device or a peer blocks. Therefore every change runs on a
//! blocking thread with a time limit, and a pipeline that would not stop is abandoned and counted, never used again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use tokio::sync::mpsc;

use super::MediaError;
use super::bus::{self, BusEvent};
use super::clock::MediaClock;

/// How long a change of state may take.
const STATE_CHANGE: Duration = Duration::from_secs(5);

static ABANDONED: AtomicUsize = AtomicUsize::new(0);

/// How many pipelines of this process would not stop in time.
pub fn abandoned() -> usize {
    ABANDONED.load(Ordering::Relaxed)
}

/// A pipeline on the bridge's clock.
#[derive(Debug)]
pub struct LivePipeline {
    pipeline: gst::Pipeline,
    events: mpsc::Receiver<BusEvent>,
}

impl LivePipeline {
    /// Takes a pipeline in state NULL and puts it on `clock`.
    pub fn new(pipeline: gst::Pipeline, clock: &MediaClock) -> Self {
        clock.apply(&pipeline);
        let events = bus::watch(&pipeline);
        Self { pipeline, events }
    }

    /// The pipeline itself.
    pub fn pipeline(&self) -> &gst::Pipeline {
        &self.pipeline
    }

    /// An element of the pipeline by the name that its text or builder gave it.
    pub fn element(&self, name: &str) -> Result<gst::Element, MediaError> {
        self.pipeline
            .by_name(name)
            .ok_or_else(|| MediaError::link(format!("{} has no element named `{name}`", self.pipeline.name())))
    }

    /// Goes to PAUSED in bounded time: sources are open, nothing flows.
    pub async fn pause(&mut self) -> Result<(), MediaError> {
        self.change("PAUSED", gst::State::Paused).await
    }

    /// Goes to PLAYING in bounded time.
    pub async fn play(&mut self) -> Result<(), MediaError> {
        self.change("PLAYING", gst::State::Playing).await
    }

    async fn change(&mut self, name: &'static str, state: gst::State) -> Result<(), MediaError> {
        let pipeline = self.pipeline.clone();
        let changed = tokio::task::spawn_blocking(move || pipeline.set_state(state).is_ok());
        let reason = match tokio::time::timeout(STATE_CHANGE, changed).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(_) => self.first_fault().await,
            Err(_) => format!("no answer in {STATE_CHANGE:?}"),
        };
        Err(MediaError::State { pipeline: self.pipeline.name().to_string(), state: name, reason })
    }

    /// The words of the element that failed; it may find them a moment later.
    async fn first_fault(&mut self) -> String {
        let fault = async {
            while let Some(event) = self.events.recv().await {
                if let BusEvent::Error(fault) = event {
                    return fault.to_string();
                }
            }
            String::new()
        };
        tokio::time::timeout(Duration::from_secs(1), fault).await.unwrap_or_else(|_| "no element said why".into())
    }

    /// Hands the bus's events to somebody else, who then gets all of them.
    pub fn take_events(&mut self) -> mpsc::Receiver<BusEvent> {
        std::mem::replace(&mut self.events, mpsc::channel(1).1)
    }

    /// Waits for the next event of the bus.
    pub async fn next_event(&mut self) -> Option<BusEvent> {
        self.events.recv().await
    }

    /// Goes to NULL in bounded time. Returns false when the pipeline would not stop and was abandoned.
    pub async fn stop(&self) -> bool {
        let pipeline = self.pipeline.clone();
        let stopping = tokio::task::spawn_blocking(move || pipeline.set_state(gst::State::Null).is_ok());
        let stopped = matches!(tokio::time::timeout(STATE_CHANGE, stopping).await, Ok(Ok(true)));
        if !stopped {
            ABANDONED.fetch_add(1, Ordering::Relaxed);
            tracing::error!(pipeline = %self.pipeline.name(), "would not stop in {STATE_CHANGE:?}: abandoned");
        }
        stopped
    }
}

impl Drop for LivePipeline {
    /// A pipeline whose owner failed half-way is still stopped, on a thread of GStreamer's: this may be an async task.
    fn drop(&mut self) {
        // Whoever took the events hears that there are no more.
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        if self.pipeline.current_state() != gst::State::Null {
            self.pipeline.call_async(|pipeline| {
                if pipeline.set_state(gst::State::Null).is_err() {
                    tracing::error!(pipeline = %pipeline.name(), "would not stop");
                }
            });
        }
    }
}

/// Makes an element, or says which one is missing.
pub(crate) fn make(factory: &str) -> Result<gst::Element, MediaError> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|error| MediaError::Element { element: factory.to_owned(), reason: error.to_string() })
}

/// A buffer's time on the bridge's clock: encoders count from other zeros than we do, and the segment knows.
pub(crate) fn running_time(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    segment.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipeline_whose_owner_gives_up_is_stopped() {
        gst::init().unwrap();
        let text = "videotestsrc is-live=true ! fakesink";
        let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
        let mut live = LivePipeline::new(pipeline.clone(), &MediaClock::start());
        live.play().await.unwrap();
        drop(live);
        let stopped = async {
            while pipeline.current_state() != gst::State::Null {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(STATE_CHANGE, stopped).await.expect("it stops");
    }

    #[tokio::test]
    async fn who_took_the_events_hears_the_end_of_the_stream_and_then_of_the_pipeline() {
        gst::init().unwrap();
        let pipeline = gst::parse::launch("fakesrc num-buffers=1 ! fakesink").unwrap().downcast().unwrap();
        let mut live = LivePipeline::new(pipeline, &MediaClock::start());
        let mut events = live.take_events();
        live.play().await.unwrap();
        assert_eq!(events.recv().await, Some(BusEvent::Eos));
        drop(live);
        assert_eq!(events.recv().await, None);
    }
}
