//! One output's pipeline while it runs: fed by encoded streams, finished by an end of stream of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gstreamer as gst;
use gstreamer_app as gst_app;

use gst::prelude::*;
use tokio::sync::Notify;

use super::OutputError;
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::media::pipeline::{LivePipeline, running_time};
use crate::media::producer::{Feed, Patience, Producer};
use crate::media::{MediaError, template};

/// How long muxers and sinks may take to write what they hold.
const END_OF_STREAM: Duration = Duration::from_secs(5);

/// How long what was mixed before the stop may take to come out of the encoders.
const DRAIN: Duration = Duration::from_secs(1);

/// A running output pipeline.
#[derive(Debug)]
pub(crate) struct Attached {
    live: LivePipeline,
    clock: MediaClock,
    feeds: Vec<Feed>,
    progress: Arc<Progress>,
}

/// Up to which running time, in ns, picture and sound have reached the output, and where both end.
#[derive(Debug)]
struct Progress {
    reached: [AtomicU64; 2],
    end: AtomicU64,
    moved: Notify,
}

impl Default for Progress {
    fn default() -> Self {
        Self { reached: Default::default(), end: AtomicU64::new(u64::MAX), moved: Notify::new() }
    }
}

impl Progress {
    fn watch(self: &Arc<Self>, pad: &gst::Pad, index: usize) {
        let progress = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let Some(time) = info.buffer().and_then(|buffer| running_time(pad, buffer)) else {
                return gst::PadProbeReturn::Ok;
            };
            progress.reached[index].store(time.nseconds(), Ordering::Relaxed);
            progress.moved.notify_one();
            let over = time.nseconds() > progress.end.load(Ordering::Relaxed);
            if over { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
        });
    }

    /// Lets picture and sound end at `time`, and waits until both are there.
    async fn end(&self, time: gst::ClockTime) {
        self.end.store(time.nseconds(), Ordering::Relaxed);
        while self.reached.iter().any(|reached| reached.load(Ordering::Relaxed) < time.nseconds()) {
            self.moved.notified().await;
        }
    }
}

impl Attached {
    /// Builds `pipelines/{template}.launch` and links its ends `video` and `audio` to the streams.
    pub(crate) fn build(
        template: &str,
        name: &str,
        clock: &MediaClock,
        video: &Producer,
        audio: &Producer,
    ) -> Result<Self, OutputError> {
        let live = LivePipeline::new(template::build(template, name)?, clock)?;
        let feed = |end: &str, producer: &Producer| {
            let appsrc = live
                .element(end)?
                .downcast::<gst_app::AppSrc>()
                .map_err(|_| MediaError::Link(format!("pipelines/{template}.launch: `{end}` is not an appsrc")))?;
            producer.feed(&appsrc, Patience::Output)
        };
        let feeds = vec![feed("video", video)?, feed("audio", audio)?];
        let (picture, sound) = (source_pad(&live, "video")?, source_pad(&live, "audio")?);
        let start = clock.running_time();
        start_together(&picture, &sound, start);
        video.request_keyframe(start);
        let progress = Arc::new(Progress::default());
        progress.watch(&picture, 0);
        progress.watch(&sound, 1);
        Ok(Self { live, clock: clock.clone(), feeds, progress })
    }

    pub(crate) fn pipeline(&self) -> &gst::Pipeline {
        self.live.pipeline()
    }

    pub(crate) fn element(&self, name: &str) -> Result<gst::Element, OutputError> {
        Ok(self.live.element(name)?)
    }

    pub(crate) async fn play(&mut self) -> Result<(), OutputError> {
        Ok(self.live.play().await?)
    }

    pub(crate) async fn next_event(&mut self) -> Option<BusEvent> {
        self.live.next_event().await
    }

    /// Access units handed to the output, and those it was too slow for.
    pub(crate) fn counters(&self) -> (u64, u64) {
        (self.feeds.iter().map(Feed::pushed).sum(), self.feeds.iter().map(Feed::dropped).sum())
    }

    /// Lets the output write its end, then stops it. Fails when the end could not be written.
    pub(crate) async fn finish(mut self) -> Result<(), OutputError> {
        // What happened before the stop is still on its way through mixer and encoders: a recording has it too.
        if tokio::time::timeout(DRAIN, self.progress.end(self.clock.running_time())).await.is_err() {
            tracing::debug!("the encoders are more than {DRAIN:?} behind, or nobody sends what is copied");
        }
        for feed in std::mem::take(&mut self.feeds) {
            feed.end();
        }
        let end = async {
            loop {
                match self.live.next_event().await {
                    Some(BusEvent::Eos) => return Ok(()),
                    Some(BusEvent::Error(fault)) => return Err(OutputError::Pipeline(fault)),
                    Some(BusEvent::Warning(fault)) => tracing::warn!(%fault, "while the output ended"),
                    None => return Err(OutputError::Ended),
                }
            }
        };
        let ended = tokio::time::timeout(END_OF_STREAM, end).await.unwrap_or_else(|_| {
            Err(OutputError::NotReady { what: "the end of the stream was not written".into(), waited: END_OF_STREAM })
        });
        self.live.stop().await;
        ended
    }

    /// Stops without an end: the output has failed.
    pub(crate) async fn abandon(mut self) {
        self.feeds.clear();
        self.live.stop().await;
    }
}

fn source_pad(live: &LivePipeline, end: &str) -> Result<gst::Pad, MediaError> {
    live.element(end)?.static_pad("src").ok_or_else(|| MediaError::Link(format!("`{end}` has no source pad")))
}

/// Lets picture and sound begin together, with the first keyframe of what was mixed since `start`. Encoders may still hold
/// what happened before, and sound that ran ahead of its picture would be a hole in the picture at the beginning of every
/// file and playlist.
fn start_together(video: &gst::Pad, audio: &gst::Pad, start: gst::ClockTime) {
    let first_picture = Arc::new(OnceLock::new());
    let first = Arc::clone(&first_picture);
    video.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        match running_time(pad, buffer) {
            Some(time) if keyframe && time >= start => {
                // This probe does so once.
                first.set(time).ok();
                gst::PadProbeReturn::Remove
            }
            _ => gst::PadProbeReturn::Handled,
        }
    });
    audio.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let time = info.buffer().and_then(|buffer| running_time(pad, buffer));
        match (first_picture.get(), time) {
            (Some(first), Some(time)) if time >= *first => gst::PadProbeReturn::Remove,
            _ => gst::PadProbeReturn::Handled,
        }
    });
}

/// Waits until `ready` gives a value, looking each time when `pad`'s caps change.
pub(crate) async fn when_caps_are_known<T>(pads: &[gst::Pad], ready: impl Fn() -> Option<T>) -> T {
    let changed = std::sync::Arc::new(tokio::sync::Notify::new());
    let watched: Vec<_> = pads
        .iter()
        .map(|pad| {
            let changed = std::sync::Arc::clone(&changed);
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
