//! The pipeline of a film: every file decoded, moved to its time, and mixed as fast as the machine can.
//!
//! All files are open from the beginning: a mixer that is not live waits for each of its inputs, and an input whose time has not come
//! yet is not seen. A black picture and a silence under everything give the film its length, whoever comes and goes.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use super::mix::MixOptions;
use super::plan::{Plan, Scene};
use crate::media::MediaError;
use crate::media::clock::MediaClock;
use crate::media::decode::RAW_AUDIO;
use crate::media::encoder::set;
use crate::media::layout::{Rect, Size};
use crate::media::pipeline::{LivePipeline, make, running_time};
use crate::media::template::{self, Ends};

/// An AAC decoder gives back what the encoder put in front, which its timestamps do not tell: pictures wait for it.
const AAC_PRIMING: i64 = 1024 * 1_000_000_000 / 48_000;

/// Builds the film of a plan, written to `to`. Files are in bins called `scene-INDEX`.
pub(super) fn build(plan: &Plan, options: &MixOptions, to: &Path) -> Result<LivePipeline, MediaError> {
    let (video, audio) = (plan.scenes.iter().any(|scene| scene.video), plan.scenes.iter().any(|scene| scene.audio));
    let template = options.form.template();
    let pipeline = template::build_with(template, "film", Ends::without_parsers(video, audio))?;
    let live = LivePipeline::new(pipeline, &MediaClock::start());
    live.element("sink")?.set_property("location", to.to_string_lossy().as_ref());
    let mut mixers = Mixers { picture: None, sound: None };
    if video {
        mixers.picture = Some(picture(&live, plan, options)?);
    }
    if audio {
        let encoder = live.element("audio-encoder")?;
        set(&encoder, "bitrate", options.audio_bitrate)?;
        mixers.sound = Some(live.element("sound")?);
    }
    let tick = 1_000_000_000 / u64::try_from(options.fps).unwrap_or(30).max(1);
    base(&live, &mixers, plan, options, tick)?;
    let mut pads = Vec::new();
    for (index, scene) in plan.scenes.iter().enumerate() {
        pads.push(add(&live, &mixers, index, scene, tick)?);
    }
    if let Some(compositor) = &mixers.picture {
        arrange(compositor, plan.clone(), options.clone(), pads);
    }
    Ok(live)
}

struct Mixers {
    picture: Option<gst::Element>,
    sound: Option<gst::Element>,
}

fn picture(live: &LivePipeline, plan: &Plan, options: &MixOptions) -> Result<gst::Element, MediaError> {
    let (Size { width, height }, fps) = (options.size, options.fps);
    let caps = format!(
        "video/x-raw,format=I420,width={width},height={height},framerate={fps}/1,pixel-aspect-ratio=1/1,\
         colorimetry=bt601,chroma-site=mpeg2"
    );
    live.element("canvas")?.set_property_from_str("caps", &caps);
    let encoder = live.element("video-encoder")?;
    if encoder.has_property("target-bitrate") {
        set(&encoder, "target-bitrate", options.video_bitrate)?;
    } else {
        set(&encoder, "bitrate", options.video_bitrate.div_ceil(1000))?;
        if plan.scenes.iter().any(|scene| scene.audio)
            && let Some(pad) = encoder.static_pad("src")
        {
            pad.set_offset(AAC_PRIMING);
        }
    }
    live.element("picture")
}

/// Black and silence from the beginning to the end.
fn base(live: &LivePipeline, mixers: &Mixers, plan: &Plan, options: &MixOptions, tick: u64) -> Result<(), MediaError> {
    let whole = |piece: u64| i32::try_from(plan.length.div_ceil(piece)).unwrap_or(i32::MAX);
    if let Some(compositor) = &mixers.picture {
        let source = make("videotestsrc")?;
        source.set_property_from_str("pattern", "black");
        source.set_property("num-buffers", whole(tick));
        let caps = format!("video/x-raw,format=I420,width=16,height=16,framerate={}/1", options.fps);
        let pad = chain(live.pipeline(), vec![source, filter(&caps)?], compositor)?;
        pad.set_property("alpha", 0f64);
    }
    if let Some(audiomixer) = &mixers.sound {
        let source = make("audiotestsrc")?;
        source.set_property_from_str("wave", "silence");
        source.set_property("samplesperbuffer", 480i32);
        source.set_property("num-buffers", whole(10_000_000));
        chain(live.pipeline(), vec![source, filter(RAW_AUDIO)?], audiomixer)?;
    }
    Ok(())
}

fn filter(caps: &str) -> Result<gst::Element, MediaError> {
    let filter = make("capsfilter")?;
    filter.set_property_from_str("caps", caps);
    Ok(filter)
}

/// Links elements to a new pad of a mixer, and returns that.
fn chain(pipeline: &gst::Pipeline, elements: Vec<gst::Element>, mixer: &gst::Element) -> Result<gst::Pad, MediaError> {
    let failed = |error: gst::glib::BoolError| MediaError::link(error.to_string());
    pipeline.add_many(&elements).map_err(failed)?;
    gst::Element::link_many(&elements).map_err(failed)?;
    let last = elements.last().and_then(|last| last.static_pad("src"));
    let pad = mixer.request_pad_simple("sink_%u");
    let (Some(last), Some(pad)) = (last, pad) else { return Err(MediaError::link("a mixer gives no more pads")) };
    last.link(&pad).map_err(|error| MediaError::link(format!("into the film: {error}")))?;
    Ok(pad)
}

/// Adds a file; returns the pad of its picture.
fn add(
    live: &LivePipeline,
    mixers: &Mixers,
    index: usize,
    scene: &Scene,
    tick: u64,
) -> Result<Option<gst::Pad>, MediaError> {
    let failed = |error: gst::glib::BoolError| MediaError::link(error.to_string());
    let bin = gst::Bin::with_name(&format!("scene-{index}"));
    let (source, decoder) = (make("filesrc")?, make("decodebin")?);
    source.set_property("location", scene.path.to_string_lossy().as_ref());
    bin.add_many([&source, &decoder]).map_err(failed)?;
    source.link(&decoder).map_err(failed)?;
    live.pipeline().add(&bin).map_err(failed)?;
    let offset = i64::try_from(scene.offset).unwrap_or(i64::MAX);
    let mut heads = Vec::new();
    let mut place = None;
    if let Some(compositor) = mixers.picture.as_ref().filter(|_| scene.video) {
        let queue = make("queue")?;
        queue.set_property("max-size-buffers", 3u32);
        queue.set_property("max-size-bytes", 0u32);
        queue.set_property("max-size-time", 0u64);
        heads.push(("video/", sink(&queue)?));
        let end = queue.static_pad("src");
        let pad = chain(live.pipeline(), vec![queue], compositor)?;
        pad.set_property_from_str("sizing-policy", "keep-aspect-ratio");
        pad.set_property("alpha", 0f64);
        // The compositor shows a picture in the tick that its start falls into; half a tick makes that the nearest.
        if let Some(end) = end {
            end.set_offset(offset + i64::try_from(tick / 2).unwrap_or(0));
        }
        place = Some(pad);
    }
    if let Some(audiomixer) = mixers.sound.as_ref().filter(|_| scene.audio) {
        let elements = vec![make("audioconvert")?, make("audioresample")?, filter(RAW_AUDIO)?, make("queue")?];
        heads.push(("audio/", sink(&elements[0])?));
        let end = elements[3].static_pad("src");
        chain(live.pipeline(), elements, audiomixer)?;
        if let Some(end) = end {
            end.set_offset(offset);
            cut(&end, scene.end);
        }
    }
    connect(&decoder, &bin, heads);
    Ok(place)
}

fn sink(element: &gst::Element) -> Result<gst::Pad, MediaError> {
    element.static_pad("sink").ok_or_else(|| MediaError::link(format!("{} has no sink pad", element.name())))
}

/// Links what the decoder finds; an input for which it finds nothing is ended, or the mixers would wait for it.
fn connect(decoder: &gst::Element, bin: &gst::Bin, heads: Vec<(&'static str, gst::Pad)>) {
    let (weak, free) = (bin.downgrade(), heads.clone());
    decoder.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let kind = caps.structure(0).map(|first| first.name().to_string()).unwrap_or_default();
        let head = free.iter().find(|(prefix, head)| kind.starts_with(prefix) && !head.is_linked());
        let linked = weak.upgrade().and_then(|bin| {
            let ghost = gst::GhostPad::with_target(pad).ok()?;
            ghost.set_active(true).ok()?;
            bin.add_pad(&ghost).ok()?;
            head.and_then(|(_, head)| ghost.link(head).ok())
        });
        if linked.is_none() {
            tracing::debug!(kind, "a stream of the file is not used");
        }
    });
    decoder.connect_no_more_pads(move |_| {
        for (_, head) in heads.iter().filter(|(_, head)| !head.is_linked()) {
            head.send_event(gst::event::Eos::new());
        }
    });
}

/// Leaves out the sound that begins at this time of the film or later.
fn cut(pad: &gst::Pad, end: u64) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let offset = u64::try_from(pad.offset()).unwrap_or(0);
        let time = info.buffer().and_then(|buffer| running_time(pad, buffer));
        // The pad's own offset is added behind this probe.
        if time.is_some_and(|time| time.nseconds() + offset >= end) {
            return gst::PadProbeReturn::Handled;
        }
        gst::PadProbeReturn::Ok
    });
}

/// Gives everybody who is there a place, for each picture anew.
fn arrange(compositor: &gst::Element, plan: Plan, options: MixOptions, pads: Vec<Option<gst::Pad>>) {
    let pads: Vec<_> = pads.into_iter().map(|pad| pad.map(|pad| pad.downgrade())).collect();
    let shown = Mutex::new(Vec::new());
    compositor.connect("samples-selected", false, move |arguments| {
        let time = arguments.get(2)?.get::<u64>().ok()?;
        let seen = plan.seen_at(time);
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != seen {
            let places = plan.places(&seen, options.layout, options.size);
            for (pad, place) in pads.iter().zip(places) {
                if let Some(pad) = pad.as_ref().and_then(gst::glib::WeakRef::upgrade) {
                    put(&pad, place);
                }
            }
            *shown = seen;
        }
        None
    });
}

fn put(pad: &gst::Pad, place: Option<Rect>) {
    if let Some(Rect { x, y, width, height }) = place {
        for (property, value) in [("xpos", x), ("ypos", y), ("width", width), ("height", height)] {
            pad.set_property(property, value);
        }
    }
    pad.set_property("alpha", if place.is_some() { 1f64 } else { 0f64 });
}
