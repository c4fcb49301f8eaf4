//! The canvas: every participant's picture on one, every voice in one, always live.
//!
//! A mixer is of pictures (compositor) or of sound (audiomixer), and runs with `force-live`: it puts out a picture or a
//! piece of sound at each tick of the clock whether or not anybody sends. A participant who pauses, mutes or vanishes
//! leaves a last picture, black or silence, never a stall. It may start at any time: it begins with the present, not with
//! the zero of the clock. The bridge calls this from blocking threads; outputs never see it.

mod times;

use std::sync::Arc;

use gst_base::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_base as gst_base;
use tokio::sync::mpsc;

use self::times::{answer_latency, correct_time, measure_phase, refuse_timeless};
use super::MediaError;
use super::bus::BusEvent;
use super::clock::MediaClock;
use super::decode::RAW_AUDIO;
use super::layout::{Rect, Size};
use super::phase::{Phase, Phases};
use super::pipeline::{LivePipeline, make};
use super::producer::{Feed, Patience, Producer, appsink};
use crate::terms::MediaKind;

/// What a picture may be late behind its timestamp. Sound has the jitter buffer's whole budget; a picture that is later
/// than this is shown one tick later instead of delaying the mix for everybody.
const VIDEO_LATENESS: gst::ClockTime = gst::ClockTime::from_mseconds(60);

/// How long the sound mixer waits beyond its inputs' own latency.
const AUDIO_LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(50);

/// What the sound mixer puts out at once.
pub const PIECE_OF_SOUND: std::time::Duration = std::time::Duration::from_millis(10);

/// The fixed form of the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Size in pixels.
    pub size: Size,
    /// Pictures per second.
    pub fps: i32,
}

impl Canvas {
    /// What browsers send is in the colours of BT.601 whatever its size; a canvas in other colours would cost a conversion
    /// of every pixel.
    fn caps(self) -> String {
        let (Size { width, height }, fps) = (self.size, self.fps);
        format!(
            "video/x-raw,format=I420,width={width},height={height},framerate={fps}/1,pixel-aspect-ratio=1/1,\
             colorimetry=bt601,chroma-site=mpeg2"
        )
    }

    /// The time from one picture to the next.
    fn tick(self) -> gst::ClockTime {
        gst::ClockTime::SECOND / u64::try_from(self.fps).unwrap_or(1).max(1)
    }
}

/// The running mix of one room's pictures, or of its sound.
#[derive(Debug)]
pub struct Mixer {
    kind: MediaKind,
    pipeline: LivePipeline,
    aggregator: gst_base::Aggregator,
    canvas: Canvas,
    phases: Phases,
    clock: MediaClock,
    producer: Producer,
}

/// One participant's picture or voice in the mix.
#[derive(Debug)]
pub struct MixerInput {
    kind: MediaKind,
    feed: Feed,
    bin: gst::Bin,
    pad: gst::Pad,
    _phase: Option<Arc<Phase>>,
}

impl Mixer {
    /// Builds the mixer of one kind. `jitter` is the budget of the ingests that will be attached.
    pub fn new(
        clock: &MediaClock,
        kind: MediaKind,
        canvas: Canvas,
        jitter: std::time::Duration,
    ) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::with_name(&format!("mixer-{kind}"));
        let phases = Phases::default();
        let (mixer, caps) = match kind {
            MediaKind::Video => (pictures()?, canvas.caps()),
            MediaKind::Audio => (sound(jitter)?, RAW_AUDIO.to_owned()),
        };
        let producer = chain(&pipeline, &mixer, &caps, kind)?;
        // Never linked: when the last input leaves an aggregator without pads, it would start again from zero.
        mixer.request_pad_simple("sink_%u").ok_or_else(|| MediaError::link("the mixer gives no idle pad"))?;
        if kind == MediaKind::Video
            && let Some(pad) = mixer.static_pad("src")
        {
            correct_time(&pad, canvas.tick(), phases.clone());
        }
        let aggregator = mixer
            .downcast::<gst_base::Aggregator>()
            .map_err(|_| MediaError::link(format!("the mixer of {kind} is no aggregator")))?;
        let pipeline = LivePipeline::new(pipeline, clock);
        Ok(Self { kind, pipeline, aggregator, canvas, phases, clock: clock.clone(), producer })
    }

    /// Starts to put out black or silence, from now on.
    pub async fn play(&mut self) -> Result<(), MediaError> {
        let tick = match self.kind {
            MediaKind::Video => self.canvas.tick(),
            MediaKind::Audio => gst::ClockTime::try_from(PIECE_OF_SOUND).unwrap_or(AUDIO_LATENCY),
        };
        let now = self.clock.running_time().nseconds().next_multiple_of(tick.nseconds());
        self.pipeline.pause().await?;
        // Otherwise it would make up for all the time since the zero of the clock, as fast as it can.
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_position(gst::ClockTime::from_nseconds(now));
        self.aggregator.update_segment(&segment);
        self.pipeline.play().await
    }

    /// The mixed picture (`video/x-raw`, I420) or sound (S16LE, 48 kHz, stereo).
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Takes a raw stream into the mix; a picture stays hidden until it is placed. Takes a few milliseconds.
    pub fn attach(&self, producer: &Producer) -> Result<MixerInput, MediaError> {
        let (kind, mixer) = (self.kind, &self.aggregator);
        let bin = gst::Bin::new();
        let appsrc = gst_app::AppSrc::builder().name("source").build();
        let add = |element: &gst::Element| bin.add(element).map_err(|error| MediaError::link(error.to_string()));
        add(appsrc.upcast_ref())?;
        // A thread of its own for each input: the compositor never waits for a slow branch.
        let queue = make("queue")?;
        add(&queue)?;
        queue.set_property("max-size-buffers", 3u32);
        queue.set_property("max-size-bytes", 0u32);
        queue.set_property("max-size-time", 0u64);
        appsrc.link(&queue).map_err(|error| MediaError::link(error.to_string()))?;
        let end = queue.static_pad("src").ok_or_else(|| MediaError::link("the queue has no source pad"))?;
        let ghost = gst::GhostPad::with_target(&end).map_err(|error| MediaError::link(error.to_string()))?;
        bin.add_pad(&ghost).map_err(|error| MediaError::link(error.to_string()))?;
        refuse_timeless(&ghost);
        let mut phase = None;
        if kind == MediaKind::Video {
            answer_latency(&ghost, VIDEO_LATENESS);
            // The compositor shows a picture in the tick that its start falls into; half a tick makes that the nearest.
            ghost.set_offset(500_000_000 / i64::from(self.canvas.fps));
            let measured = phase.insert(self.phases.add());
            if let Some(pad) = appsrc.static_pad("src") {
                measure_phase(&pad, self.canvas.tick(), measured);
            }
        }
        let feed = producer.feed(&appsrc, Patience::Stage)?;
        self.pipeline.pipeline().add(&bin).map_err(|error| MediaError::link(error.to_string()))?;
        let pad =
            mixer.request_pad_simple("sink_%u").ok_or_else(|| MediaError::link("the mixer gives no more pads"))?;
        if kind == MediaKind::Video {
            pad.set_property_from_str("sizing-policy", "keep-aspect-ratio");
            pad.set_property("alpha", 0f64);
        }
        ghost.link(&pad).map_err(|error| MediaError::link(format!("{kind} into the mixer: {error}")))?;
        bin.sync_state_with_parent().map_err(|error| MediaError::link(error.to_string()))?;
        Ok(MixerInput { kind, feed, bin, pad, _phase: phase })
    }

    /// Takes a stream out of the mix. Takes a few milliseconds.
    pub fn detach(&self, input: MixerInput) {
        let MixerInput { kind, feed, bin, pad, .. } = input;
        drop(feed);
        self.aggregator.release_request_pad(&pad);
        if bin.set_state(gst::State::Null).is_err() || self.pipeline.pipeline().remove(&bin).is_err() {
            tracing::warn!(%kind, "an input of the mixer could not be removed");
        }
    }

    /// Asks every element anew how late it is; to be called after something was attached.
    pub fn recalculate_latency(&self) {
        if self.pipeline.pipeline().recalculate_latency().is_err() {
            tracing::debug!("the mixer's latency could not be recalculated");
        }
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

impl MixerInput {
    /// Puts a picture at its place on the canvas, or hides it.
    pub fn place(&self, place: Option<Rect>) {
        if self.kind == MediaKind::Audio {
            return;
        }
        if let Some(rect) = place {
            self.pad.set_property("xpos", rect.x);
            self.pad.set_property("ypos", rect.y);
            self.pad.set_property("width", rect.width);
            self.pad.set_property("height", rect.height);
        }
        self.pad.set_property("alpha", if place.is_some() { 1f64 } else { 0f64 });
    }
}

fn pictures() -> Result<gst::Element, MediaError> {
    let compositor = live("compositor", VIDEO_LATENESS, gst::ClockTime::ZERO)?;
    compositor.set_property_from_str("background", "black");
    Ok(compositor)
}

fn sound(jitter: std::time::Duration) -> Result<gst::Element, MediaError> {
    let jitter = gst::ClockTime::try_from(jitter).unwrap_or(AUDIO_LATENCY);
    let audiomixer = live("audiomixer", jitter, AUDIO_LATENCY)?;
    let piece = u64::try_from(PIECE_OF_SOUND.as_nanos()).unwrap_or(u64::MAX);
    audiomixer.set_property("output-buffer-duration", piece);
    Ok(audiomixer)
}

fn live(factory: &str, upstream: gst::ClockTime, latency: gst::ClockTime) -> Result<gst::Element, MediaError> {
    gst::ElementFactory::make(factory)
        .property("force-live", true)
        .property("ignore-inactive-pads", true)
        .property("min-upstream-latency", upstream)
        .property("latency", latency)
        // `first` would put out nothing until somebody joins.
        .property_from_str("start-time-selection", "zero")
        .build()
        .map_err(|error| MediaError::Element { element: factory.to_owned(), reason: error.to_string() })
}

/// Links a mixer through fixed caps to a producer, and adds all of it to the pipeline.
fn chain(pipeline: &gst::Pipeline, mixer: &gst::Element, caps: &str, kind: MediaKind) -> Result<Producer, MediaError> {
    let filter = make("capsfilter")?;
    filter.set_property_from_str("caps", caps);
    let sink = appsink(&kind.to_string());
    let elements = [mixer, &filter, sink.upcast_ref()];
    pipeline.add_many(elements).map_err(|error| MediaError::link(error.to_string()))?;
    gst::Element::link_many(elements).map_err(|error| MediaError::link(error.to_string()))?;
    Ok(Producer::new(&sink))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_picture_without_a_time_does_not_end_the_mix() {
        // Without `refuse_timeless` the bus says `Eos` after the tenth picture.
        gst::init().unwrap();
        let clock = MediaClock::start();
        let canvas = Canvas { size: Size { width: 64, height: 36 }, fps: 30 };
        let mut mixer = Mixer::new(&clock, MediaKind::Video, canvas, Duration::from_millis(200)).unwrap();
        mixer.play().await.unwrap();
        let person = gst::Pipeline::new();
        let source = gst_app::AppSrc::builder().format(gst::Format::Time).is_live(true).build();
        source.set_caps(Some(&canvas.caps().parse().unwrap()));
        let sink = appsink("person");
        person.add_many([source.upcast_ref::<gst::Element>(), sink.upcast_ref()]).unwrap();
        source.link(&sink).unwrap();
        let mut person = LivePipeline::new(person, &clock);
        let input = mixer.attach(&Producer::new(&sink)).unwrap();
        person.play().await.unwrap();
        let (mixed, mut pictures) = mpsc::channel(100);
        let _tap = mixer.producer().tap(move |_| mixed.try_send(()).is_ok());
        for number in 0..30 {
            let mut picture = gst::Buffer::with_size(64 * 36 * 3 / 2).unwrap();
            let time = (number % 10 != 9).then(|| clock.running_time());
            picture.get_mut().unwrap().set_pts(time);
            source.push_buffer(picture).unwrap();
            let mixed = tokio::time::timeout(Duration::from_secs(20), pictures.recv()).await;
            assert!(matches!(mixed, Ok(Some(()))), "the mixer goes on: {:?}", mixer.take_events().try_recv());
        }
        mixer.detach(input);
        assert!(mixer.stop().await && person.stop().await);
    }
}
