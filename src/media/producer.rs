//! The joints between pipelines: an `appsink` at the end of one stage feeds the `appsrc`s of any number of later ones.
//!
//! Based on `gstreamer_utils::StreamProducer`, with the settings that live stages need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_utils::streamproducer::{ConsumerSettings, ProducerSettings};
use gstreamer_utils::{ConsumptionLink, StreamProducer};
use gstreamer_video as gst_video;
use tokio::sync::Notify;

use super::pipeline::running_time;
use super::{MediaError, early};

/// How much a later stage may lag before its oldest media is dropped and counted.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// A mixer's input or a scaler: half a second.
    Stage,
    /// An encoder of pictures: 300 ms. With the picture that it works on, and the one that is about to be dropped, nothing is older
    /// than half a second when it comes out, unless a single picture takes longer than 160 ms. Its template has no queue.
    Encoder,
    /// An encoder of sound: two seconds. It works off what has gathered a hundred times faster than it came, so patience
    /// costs no delay.
    Sound,
    /// An output: two seconds, enough for a hiccup of the network. As much again waits in its template's queues.
    Output,
    /// An output to a disk: four seconds. Its template has no queue: each would be a thread more to wake for each access unit.
    Disk,
}

impl Patience {
    fn max_time(self) -> gst::ClockTime {
        match self {
            Self::Stage => gst::ClockTime::from_mseconds(500),
            Self::Encoder => gst::ClockTime::from_mseconds(300),
            Self::Sound | Self::Output => gst::ClockTime::from_seconds(2),
            Self::Disk => gst::ClockTime::from_seconds(4),
        }
    }
}

/// What is held back for lip sync comes all at once: so much more may wait for a later stage. More than `HOLD` in `ingest/lips.rs`.
const HELD: gst::ClockTime = gst::ClockTime::from_seconds(4);

/// One elementary stream that later stages can take.
#[derive(Clone, Debug)]
pub struct Producer {
    stream: StreamProducer,
    /// How much may come all at once.
    held: gst::ClockTime,
}

impl Producer {
    /// Makes `appsink` a producer.
    pub(crate) fn new(appsink: &gst_app::AppSink) -> Self {
        let stream = StreamProducer::with(appsink, ProducerSettings { sync: false });
        // An end of stream that reached a live mixer would make it run away from the clock: stages end alone.
        stream.set_forward_events([]);
        Self { stream, held: gst::ClockTime::ZERO }
    }

    /// The same, where what came first may come all at once.
    pub(crate) fn holding(appsink: &gst_app::AppSink) -> Self {
        Self { held: HELD, ..Self::new(appsink) }
    }

    /// Feeds `appsrc` until the link is dropped. Call it before the consumer's pipeline plays.
    pub fn feed(&self, appsrc: &gst_app::AppSrc, patience: Patience) -> Result<Feed, MediaError> {
        let settings = ConsumerSettings { max_time: patience.max_time() + self.held, ..ConsumerSettings::default() };
        let link = self
            .stream
            .add_consumer_with(appsrc, settings)
            .map_err(|error| MediaError::link(format!("{}: {error}", appsrc.name())))?;
        Ok(Feed(link))
    }

    /// Hands every buffer to `take`, from the streaming thread: it must forward and return. When it cannot take one it says
    /// false; that buffer is counted as lost, and pictures go on with the next keyframe. What is [`Tapped::early`] comes twice.
    pub(crate) fn tap(&self, take: impl Fn(Tapped) -> bool + Send + Sync + 'static) -> Tap {
        let counts = Arc::new(TapCounts::default());
        let Some(pad) = self.stream.appsink().static_pad("sink") else { return Tap { probe: None, counts } };
        let counted = Arc::clone(&counts);
        let torn = AtomicBool::new(false);
        let probe = pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
            if let Some(early) = info.event().and_then(|event| early::shown(event)) {
                take(early);
            }
            let (Some(buffer), Some(caps)) = (info.buffer(), pad.current_caps()) else {
                return gst::PadProbeReturn::Ok;
            };
            let Some(time) = running_time(pad, buffer) else { return gst::PadProbeReturn::Ok };
            let whole = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) || !torn.load(Ordering::Relaxed);
            let taken = whole && take(Tapped { buffer: buffer.to_owned(), caps, time, early: false });
            torn.store(!taken, Ordering::Relaxed);
            let count = if taken { &counted.pushed } else { &counted.dropped };
            count.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        Tap { probe: probe.map(|probe| (pad, probe)), counts }
    }

    /// Shows those behind `pad` what waits here for its time.
    pub(super) fn show_early(&self, pad: &gst::Pad) -> Tap {
        let pad = pad.clone();
        self.tap(move |tapped| {
            if tapped.early {
                early::pass_on(&pad, &tapped);
            }
            true
        })
    }

    /// Waits until something flows.
    pub async fn first_buffer(&self) {
        let arrived = Arc::new(Notify::new());
        let notify = Arc::clone(&arrived);
        if let Some(pad) = self.stream.appsink().static_pad("sink") {
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                notify.notify_one();
                gst::PadProbeReturn::Remove
            });
            arrived.notified().await;
        }
    }

    /// The stream's form, as soon as something has flowed.
    pub async fn caps(&self) -> gst::Caps {
        let Some(pad) = self.stream.appsink().static_pad("sink") else { return std::future::pending().await };
        when_caps_are_known(std::slice::from_ref(&pad), || pad.current_caps()).await
    }

    /// Lets go on at once what is held back for lip sync: its sender leaves, and nothing will tell more.
    pub(crate) fn release(&self) {
        super::ingest::sync::release(self.stream.appsink().upcast_ref());
    }

    /// Asks for a keyframe at the first picture that was taken at this running time or later.
    pub fn request_keyframe(&self, from: gst::ClockTime) {
        let request = gst_video::UpstreamForceKeyUnitEvent::builder().running_time(from).all_headers(true).build();
        if !self.stream.appsink().send_event(request) {
            tracing::debug!(producer = %self.stream.appsink().name(), "takes no request for a keyframe");
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

    /// Buffers that the consumer has not taken yet.
    pub fn waiting(&self) -> u64 {
        self.0.appsrc().current_level_buffers()
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

/// One buffer on its way, with its place in time.
#[derive(Clone, Debug)]
pub(crate) struct Tapped {
    /// The buffer; its timestamps count from a zero of its own.
    pub(crate) buffer: gst::Buffer,
    /// The form of its stream.
    pub(crate) caps: gst::Caps,
    /// When, on the bridge's clock.
    pub(crate) time: gst::ClockTime,
    /// It waits for the sender reports, comes again, and may have another time then.
    pub(crate) early: bool,
}

/// A running tap; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Tap {
    probe: Option<(gst::Pad, gst::PadProbeId)>,
    counts: Arc<TapCounts>,
}

#[derive(Debug, Default)]
struct TapCounts {
    pushed: AtomicU64,
    dropped: AtomicU64,
}

impl Tap {
    /// Buffers handed over.
    pub(crate) fn pushed(&self) -> u64 {
        self.counts.pushed.load(Ordering::Relaxed)
    }

    /// Buffers that could not be taken.
    pub(crate) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some((pad, probe)) = self.probe.take() {
            pad.remove_probe(probe);
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
