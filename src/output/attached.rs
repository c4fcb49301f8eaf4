//! One output's pipeline while it runs: fed by encoded streams, finished by an end of stream of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gstreamer as gst;
use gstreamer_app as gst_app;

use gst::prelude::*;
use tokio::sync::Notify;

use super::OutputError;
use super::streams::{Forms, Sources};
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
    span: Arc<Span>,
}

/// Up to which running time, in ns, each stream has reached the output, and where all of them end.
#[derive(Debug)]
struct Progress {
    reached: Vec<AtomicU64>,
    end: AtomicU64,
    moved: Notify,
}

/// What reached the muxer, in ns of the bridge's clock.
#[derive(Debug)]
pub(crate) struct Span {
    first: AtomicU64,
    end: AtomicU64,
    begun: Notify,
}

impl Span {
    /// Watches what leads: the pictures where there are any. Sound begins with them or later.
    fn watch(leading: &gst::Pad, all: &[gst::Pad]) -> Arc<Self> {
        let span = Arc::new(Self { first: AtomicU64::new(u64::MAX), end: AtomicU64::new(0), begun: Notify::new() });
        for pad in all {
            let (watched, leads) = (Arc::clone(&span), pad == leading);
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                if let Some(buffer) = info.buffer()
                    && let Some(time) = running_time(pad, buffer)
                {
                    let end = time + buffer.duration().unwrap_or_default();
                    watched.end.fetch_max(end.nseconds(), Ordering::Relaxed);
                    let before = watched.first.fetch_min(time.nseconds(), Ordering::Relaxed);
                    if leads && before == u64::MAX {
                        watched.begun.notify_one();
                    }
                }
                gst::PadProbeReturn::Ok
            });
        }
        span
    }

    /// When the first buffer was taken; waits for it once.
    pub(crate) async fn begun(&self) -> Duration {
        self.begun.notified().await;
        Duration::from_nanos(self.first.load(Ordering::Relaxed))
    }

    /// From the first buffer to the end of the last; zero when there was none.
    pub(crate) fn length(&self) -> Duration {
        let end = self.end.load(Ordering::Relaxed);
        Duration::from_nanos(end.saturating_sub(self.first.load(Ordering::Relaxed)))
    }
}

impl Progress {
    fn watch<'a>(pads: impl Iterator<Item = &'a gst::Pad>) -> Arc<Self> {
        let pads: Vec<_> = pads.collect();
        let reached = pads.iter().map(|_| AtomicU64::new(0)).collect();
        let progress = Arc::new(Self { reached, end: AtomicU64::new(u64::MAX), moved: Notify::new() });
        for (index, pad) in pads.into_iter().enumerate() {
            let progress = Arc::clone(&progress);
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                let Some(time) = info.buffer().and_then(|buffer| running_time(pad, buffer)) else {
                    return gst::PadProbeReturn::Ok;
                };
                if let Some(reached) = progress.reached.get(index) {
                    reached.store(time.nseconds(), Ordering::Relaxed);
                }
                progress.moved.notify_one();
                let over = time.nseconds() > progress.end.load(Ordering::Relaxed);
                if over { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
            });
        }
        progress
    }

    /// Lets the streams end at `time`, and waits until all of them are there.
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
        sources: &Sources,
        forms: &Forms,
    ) -> Result<Self, OutputError> {
        let live = LivePipeline::new(template::build_with(template, name, forms.ends()?)?, clock)?;
        let feed = |end: &str, producer: &Producer| {
            let appsrc = live
                .element(end)?
                .downcast::<gst_app::AppSrc>()
                .map_err(|_| MediaError::Link(format!("pipelines/{template}.launch: `{end}` is not an appsrc")))?;
            let pad = source_pad(&live, end)?;
            Ok::<_, MediaError>((producer.feed(&appsrc, Patience::Output)?, pad))
        };
        let picture = sources.video.as_ref().map(|producer| feed("video", producer)).transpose()?;
        let sound = sources.audio.as_ref().map(|producer| feed("audio", producer)).transpose()?;
        let start = clock.running_time();
        start_together(picture.as_ref().map(|(_, pad)| pad), sound.as_ref().map(|(_, pad)| pad), start);
        if let Some(video) = &sources.video {
            video.request_keyframe(start);
        }
        let ends: Vec<_> = picture.into_iter().chain(sound).collect();
        let progress = Progress::watch(ends.iter().map(|(_, pad)| pad));
        // Parsers may leave something out: what counts is what the muxer gets.
        let fed: Vec<_> = ends.iter().map(|(_, pad)| muxed(&live, pad)).collect();
        let span = match fed.first() {
            Some(leading) => Span::watch(leading, &fed),
            None => return Err(OutputError::Ended),
        };
        let feeds = ends.into_iter().map(|(feed, _)| feed).collect();
        Ok(Self { live, clock: clock.clone(), feeds, progress, span })
    }

    /// What has reached the muxer.
    pub(crate) fn span(&self) -> Arc<Span> {
        Arc::clone(&self.span)
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

/// The muxer's pad that an end of the template leads to, or the end itself when there is no element named `mux`.
fn muxed(live: &LivePipeline, end: &gst::Pad) -> gst::Pad {
    let mut pad = end.clone();
    let mux = live.element("mux").ok();
    while let Some(peer) = pad.peer() {
        let Some(element) = peer.parent_element() else { break };
        if mux.as_ref() == Some(&element) {
            return peer;
        }
        match element.static_pad("src") {
            Some(next) => pad = next,
            None => break,
        }
    }
    end.clone()
}

fn source_pad(live: &LivePipeline, end: &str) -> Result<gst::Pad, MediaError> {
    live.element(end)?.static_pad("src").ok_or_else(|| MediaError::Link(format!("`{end}` has no source pad")))
}

/// Lets picture and sound begin together, with the first keyframe of what was mixed since `start`. Encoders may still hold
/// what happened before, and sound that ran ahead of its picture would be a hole in the picture at the beginning of every
/// file and playlist.
fn start_together(video: Option<&gst::Pad>, audio: Option<&gst::Pad>, start: gst::ClockTime) {
    // Without pictures, sound begins at once.
    let first_picture = Arc::new(video.map_or(OnceLock::from(start), |_| OnceLock::new()));
    if let Some(video) = video {
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
    }
    if let Some(audio) = audio {
        audio.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let time = info.buffer().and_then(|buffer| running_time(pad, buffer));
            match (first_picture.get(), time) {
                (Some(first), Some(time)) if time >= *first => gst::PadProbeReturn::Remove,
                _ => gst::PadProbeReturn::Handled,
            }
        });
    }
}
