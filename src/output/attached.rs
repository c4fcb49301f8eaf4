//! One output's pipeline while it runs: fed by encoded streams, finished by an end of stream of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gstreamer as gst;
use gstreamer_app as gst_app;

use gst::prelude::*;
use tokio::sync::Notify;

use super::OutputError;
use super::stall::Flow;
use super::streams::{Forms, Sources};
use crate::media::MediaError;
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::media::pipeline::{LivePipeline, running_time};
use crate::media::producer::{Feed, Patience, Producer};
use crate::media::template::{self, Ends};

/// How long muxers and sinks may take to write what they hold.
const END_OF_STREAM: Duration = Duration::from_secs(5);

/// How long what was mixed before the stop may take to come out of the encoders.
const DRAIN: Duration = Duration::from_secs(1);

/// Sound ends this much after the picture: a muxer that was told to cut the picture must find the same place in the sound, or it
/// has no end. (`isofmp4mux` 0.14.5 with `manual-split` panics when one stream has a cut and the other has ended without it.)
const SOUND_AFTER_PICTURE: gst::ClockTime = gst::ClockTime::from_mseconds(50);

/// A running output pipeline.
#[derive(Debug)]
pub(crate) struct Attached {
    live: LivePipeline,
    clock: MediaClock,
    ends: Ends,
    feeds: Vec<Feed>,
    progress: Arc<Progress>,
}

/// Up to which running time, in ns, each stream has reached the output, and where all of them end.
#[derive(Debug)]
struct Progress {
    reached: Vec<AtomicU64>,
    /// How much later than `end` each of them ends.
    after: Vec<u64>,
    end: AtomicU64,
    moved: Notify,
}

impl Progress {
    fn watch(streams: &[(gst::Pad, gst::ClockTime)]) -> Arc<Self> {
        let reached = streams.iter().map(|_| AtomicU64::new(0)).collect();
        let after = streams.iter().map(|(_, after)| after.nseconds()).collect();
        let progress = Arc::new(Self { reached, after, end: AtomicU64::new(u64::MAX), moved: Notify::new() });
        for (index, (pad, after)) in streams.iter().enumerate() {
            let (progress, after) = (Arc::clone(&progress), after.nseconds());
            pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                let Some(time) = info.buffer().and_then(|buffer| running_time(pad, buffer)) else {
                    return gst::PadProbeReturn::Ok;
                };
                if let Some(reached) = progress.reached.get(index) {
                    reached.store(time.nseconds(), Ordering::Relaxed);
                }
                progress.moved.notify_one();
                let over = time.nseconds() > progress.end.load(Ordering::Relaxed).saturating_add(after);
                if over { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
            });
        }
        progress
    }

    /// Lets the streams end at `time`, and waits until all of them are there.
    async fn end(&self, time: gst::ClockTime) {
        self.end.store(time.nseconds(), Ordering::Relaxed);
        let behind = |(reached, after): (&AtomicU64, &u64)| reached.load(Ordering::Relaxed) < time.nseconds() + after;
        while self.reached.iter().zip(&self.after).any(behind) {
            self.moved.notified().await;
        }
    }
}

impl Attached {
    /// Builds `pipelines/{template}.launch` and links its ends `video` and `audio` to the streams.
    pub(crate) fn build(
        (template, patience): (&str, Patience),
        name: &str,
        clock: &MediaClock,
        sources: &Sources,
        forms: &Forms,
    ) -> Result<Self, OutputError> {
        let ends = forms.ends()?;
        let live = LivePipeline::new(template::build_with(template, name, ends)?, clock);
        let feed = |end: &str, producer: &Producer| {
            let appsrc = live
                .element(end)?
                .downcast::<gst_app::AppSrc>()
                .map_err(|_| MediaError::Link(format!("pipelines/{template}.launch: `{end}` is not an appsrc")))?;
            let pad = source_pad(&live, end)?;
            Ok::<_, MediaError>((producer.feed(&appsrc, patience)?, pad))
        };
        let picture = sources.video.as_ref().map(|producer| feed("video", producer)).transpose()?;
        let sound = sources.audio.as_ref().map(|producer| feed("audio", producer)).transpose()?;
        let lower = sources.lower.iter().enumerate();
        let lower: Vec<_> =
            lower.map(|(index, producer)| feed(&format!("lower{index}"), producer)).collect::<Result<_, _>>()?;
        let start = clock.running_time();
        start_together(picture.as_ref().map(|(_, pad)| pad), sound.as_ref().map(|(_, pad)| pad), start);
        if let Some(video) = &sources.video {
            video.request_keyframe(start);
        }
        for ((_, pad), producer) in lower.iter().zip(&sources.lower) {
            start_together(Some(pad), None, start);
            producer.request_keyframe(start);
        }
        let after = if picture.is_some() { SOUND_AFTER_PICTURE } else { gst::ClockTime::ZERO };
        let at_once = |(feed, pad)| (feed, (pad, gst::ClockTime::ZERO));
        let sound = sound.map(|(feed, pad)| (feed, (pad, after)));
        let (feeds, streams): (_, Vec<_>) =
            picture.map(at_once).into_iter().chain(sound).chain(lower.into_iter().map(at_once)).unzip();
        let progress = Progress::watch(&streams);
        Ok(Self { live, clock: clock.clone(), ends, feeds, progress })
    }

    pub(crate) fn pipeline(&self) -> &gst::Pipeline {
        self.live.pipeline()
    }

    /// The clock it runs on, for pipelines that an output makes besides.
    pub(crate) fn clock(&self) -> &MediaClock {
        &self.clock
    }

    /// Which of the ends it has, and what is in them.
    pub(crate) fn ends(&self) -> Ends {
        self.ends
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

    /// Access units that the output has not taken yet.
    pub(crate) fn waiting(&self) -> u64 {
        self.feeds.iter().map(Feed::waiting).sum()
    }

    /// What each stream was offered, and up to where it was taken.
    pub(crate) fn flows(&self) -> Vec<Flow> {
        let taken = self.progress.reached.iter().map(|reached| reached.load(Ordering::Relaxed));
        self.feeds.iter().zip(taken).map(|(feed, taken)| Flow { fed: feed.pushed(), taken }).collect()
    }

    /// Stops, with the end of the stream written if somebody needs it. Fails when it could not be.
    pub(crate) async fn end(self, written: bool) -> Result<(), OutputError> {
        if written {
            return self.finish().await;
        }
        self.abandon().await;
        Ok(())
    }

    /// Lets the output write its end, then stops it.
    async fn finish(mut self) -> Result<(), OutputError> {
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
