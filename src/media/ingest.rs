//! One participant's RTP and RTCP in, raw pictures and sound out.
//!
//! `rtpbin` reorders, drops duplicates, notices loss and brings lips and voice together by the sender reports. What
//! comes out is fed to the mixer through two producers. The bridge pushes packets from the peer's readers; pushing
//! never blocks: the queue in front is bounded and drops its oldest packet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::Notify;

use super::bus::BusEvent;
use super::clock::MediaClock;
use super::pipeline::{LivePipeline, make};
use super::producer::{Producer, appsink};
use super::{MediaError, decode};
use crate::terms::{Codec, MediaKind};

/// Packets that may wait in front of `rtpbin`: a quarter of a second of 4 Mb/s.
const MAX_WAITING_PACKETS: u64 = 512;

/// How fast lip sync may correct itself, in ns per report: 140 ms become a second of small steps instead of one jump.
const MAX_SYNC_STEP: u64 = 2_000_000;

/// The largest picture that is decoded: 4096x4096, more than any camera or screen share of a call has.
const MAX_PIXELS: i64 = 4096 * 4096;

/// Where one kind of media comes out.
#[derive(Debug)]
struct Sinks {
    raw: gst_app::AppSink,
    encoded: gst_app::AppSink,
}

/// Which payload type of which session is which codec, as `rtpbin` asks for it.
type PayloadTypes = Arc<Mutex<HashMap<(u32, u8), gst::Caps>>>;

/// The receiving end of one participant.
#[derive(Debug)]
pub struct Ingest {
    pipeline: LivePipeline,
    inputs: [Input; 2],
    raw: [Producer; 2],
    encoded: [Producer; 2],
    frames: Arc<AtomicU64>,
}

/// Where packets of one kind go in. Clones feed the same pipeline.
#[derive(Clone, Debug)]
pub struct Input {
    session: u32,
    rtp: gst_app::AppSrc,
    rtcp: gst_app::AppSrc,
    payload_types: PayloadTypes,
    current: Option<(Codec, u8)>,
}

impl Ingest {
    /// Builds the receiving end. `jitter` is the loss budget: how long a lost packet may take to arrive again.
    /// `keyframe_wanted` is notified when a depayloader or decoder needs a keyframe.
    pub fn new(
        name: &str,
        clock: &MediaClock,
        jitter: std::time::Duration,
        keyframe_wanted: Arc<Notify>,
    ) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::with_name(&format!("ingest-{}", name.escape_default()));
        let rtpbin = make("rtpbin")?;
        rtpbin.set_property("latency", u32::try_from(jitter.as_millis()).unwrap_or(u32::MAX));
        rtpbin.set_property("do-lost", true);
        rtpbin.set_property("drop-on-latency", true);
        rtpbin.set_property("max-ts-offset-adjustment", MAX_SYNC_STEP);
        rtpbin.set_property_from_str("rtp-profile", "avpf");
        rtpbin.set_property_from_str("buffer-mode", "slave");
        rtpbin.set_property_from_str("rtcp-sync", "always");
        add(&pipeline, &rtpbin)?;

        let payload_types = PayloadTypes::default();
        let inputs = [MediaKind::Audio, MediaKind::Video];
        let inputs = [
            Input::new(&pipeline, &rtpbin, inputs[0], &payload_types)?,
            Input::new(&pipeline, &rtpbin, inputs[1], &payload_types)?,
        ];
        let sinks = [
            Sinks { raw: appsink("audio"), encoded: appsink("audio-encoded") },
            Sinks { raw: appsink("video"), encoded: appsink("video-encoded") },
        ];
        for Sinks { raw, encoded } in &sinks {
            add(&pipeline, raw)?;
            add(&pipeline, encoded)?;
        }
        let raw = sinks.each_ref().map(|sinks| Producer::new(&sinks.raw));
        let encoded = sinks.each_ref().map(|sinks| Producer::new(&sinks.encoded));
        let frames = count_buffers(&sinks[1].raw);
        answer_payload_types(&rtpbin, payload_types);
        decode_new_pads(&pipeline, &rtpbin, sinks, keyframe_wanted);
        Ok(Self { pipeline: LivePipeline::new(pipeline, clock)?, inputs, raw, encoded, frames })
    }

    /// Starts to take packets.
    pub async fn play(&mut self) -> Result<(), MediaError> {
        self.pipeline.play().await
    }

    /// Where the packets of one kind go in.
    pub fn input(&self, kind: MediaKind) -> Input {
        self.inputs[session(kind) as usize].clone()
    }

    /// The raw media of one kind.
    pub fn raw(&self, kind: MediaKind) -> &Producer {
        &self.raw[session(kind) as usize]
    }

    /// The media of one kind as it came, without RTP: frames or packets of the participant's own codec.
    pub fn encoded(&self, kind: MediaKind) -> &Producer {
        &self.encoded[session(kind) as usize]
    }

    /// Pictures decoded so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Waits for the next event of the pipeline.
    pub async fn next_event(&mut self) -> Option<BusEvent> {
        self.pipeline.next_event().await
    }

    /// Ends it in bounded time.
    pub async fn stop(self) -> bool {
        self.pipeline.stop().await
    }
}

impl Input {
    fn new(
        pipeline: &gst::Pipeline,
        rtpbin: &gst::Element,
        kind: MediaKind,
        payload_types: &PayloadTypes,
    ) -> Result<Self, MediaError> {
        let session = session(kind);
        let source = |protocol: &str| -> Result<gst_app::AppSrc, MediaError> {
            let appsrc = gst_app::AppSrc::builder()
                .name(format!("{kind}-{protocol}"))
                .caps(&gst::Caps::new_empty_simple(format!("application/x-{protocol}")))
                .is_live(true)
                .format(gst::Format::Time)
                // The arrival time is the jitter buffer's clock.
                .do_timestamp(true)
                .max_bytes(0)
                .max_buffers(MAX_WAITING_PACKETS)
                .leaky_type(gst_app::AppLeakyType::Downstream)
                .automatic_eos(false)
                .build();
            add(pipeline, &appsrc)?;
            let pad = rtpbin
                .request_pad_simple(&format!("recv_{protocol}_sink_{session}"))
                .ok_or_else(|| MediaError::link(format!("rtpbin gives no {protocol} pad")))?;
            link(&static_pad(&appsrc, "src")?, &pad)?;
            Ok(appsrc)
        };
        Ok(Self {
            session,
            rtp: source("rtp")?,
            rtcp: source("rtcp")?,
            payload_types: Arc::clone(payload_types),
            current: None,
        })
    }

    /// Takes one RTP packet of `size` bytes which `fill` writes. Copied once; never blocks.
    pub fn push_rtp(&mut self, codec: Codec, payload_type: u8, size: usize, fill: impl FnOnce(&mut [u8])) {
        if self.current != Some((codec, payload_type)) {
            self.current = Some((codec, payload_type));
            let caps = decode::rtp_caps(codec, payload_type);
            self.payload_types
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert((self.session, payload_type), caps.clone());
            self.rtp.set_caps(Some(&caps));
        }
        push(&self.rtp, size, fill);
    }

    /// Takes one RTCP compound packet that starts with a sender report (RFC 3550, section 6.4.1).
    pub fn push_rtcp(&self, compound: &[u8]) {
        push(&self.rtcp, compound.len(), |bytes| bytes.copy_from_slice(compound));
    }
}

fn push(appsrc: &gst_app::AppSrc, size: usize, fill: impl FnOnce(&mut [u8])) {
    let Ok(mut buffer) = gst::Buffer::with_size(size) else { return };
    if let Some(Ok(mut map)) = buffer.get_mut().map(gst::BufferRef::map_writable) {
        fill(&mut map);
    }
    if appsrc.push_buffer(buffer).is_err() {
        tracing::trace!(appsrc = %appsrc.name(), "a packet came after the end");
    }
}

fn answer_payload_types(rtpbin: &gst::Element, payload_types: PayloadTypes) {
    rtpbin.connect("request-pt-map", false, move |arguments| {
        let session: u32 = arguments.get(1)?.get().ok()?;
        let payload_type: u32 = arguments.get(2)?.get().ok()?;
        let key = (session, u8::try_from(payload_type).ok()?);
        let caps = payload_types.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        caps.map(|caps| caps.to_value())
    });
}

/// Puts a decoder behind each pad on which `rtpbin` offers a stream. The newest stream of a kind wins.
fn decode_new_pads(pipeline: &gst::Pipeline, rtpbin: &gst::Element, sinks: [Sinks; 2], keyframe_wanted: Arc<Notify>) {
    let weak = pipeline.downgrade();
    rtpbin.connect_pad_added(move |_, pad| {
        let name = pad.name();
        let Some(pipeline) = weak.upgrade() else { return };
        let Some(stream) = name.strip_prefix("recv_rtp_src_") else { return };
        let sinks = &sinks[usize::from(stream.starts_with('1'))];
        if let Err(error) = decode_pad(&pipeline, pad, sinks, &keyframe_wanted) {
            gst::element_error!(sinks.raw, gst::CoreError::Negotiation, ["{} cannot be decoded: {error}", name]);
        }
    });
}

fn decode_pad(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    sinks: &Sinks,
    keyframe_wanted: &Arc<Notify>,
) -> Result<(), MediaError> {
    let codec = pad
        .current_caps()
        .and_then(|caps| caps.structure(0)?.get::<String>("encoding-name").ok())
        .and_then(|name| Codec::from_encoding_name(&name))
        .ok_or_else(|| MediaError::link("the stream's codec is not known"))?;
    let bin = decode::bin(codec)?;
    if codec.kind() == MediaKind::Video
        && let Some(depay) = bin.by_name("depay")
    {
        forward_keyframe_requests(&static_pad(&depay, "sink")?, Arc::clone(keyframe_wanted));
        if let Some(decoder) = bin.by_name("decoder") {
            refuse_giants(&static_pad(&decoder, "sink")?, &sinks.raw);
            refuse_giants(&static_pad(&decoder, "src")?, &sinks.raw);
        }
    }
    add(pipeline, &bin)?;
    let encoded = bin
        .by_name("encoded")
        .and_then(|tee| tee.request_pad_simple("src_%u"))
        .ok_or_else(|| MediaError::link("the decoder has no tee"))?;
    let encoded = gst::GhostPad::with_target(&encoded).map_err(|error| MediaError::link(error.to_string()))?;
    bin.add_pad(&encoded).map_err(|error| MediaError::link(error.to_string()))?;
    let (raw_pad, encoded_pad) = (static_pad(&sinks.raw, "sink")?, static_pad(&sinks.encoded, "sink")?);
    unlink(&encoded_pad);
    if let Some(old) = unlink(&raw_pad) {
        // Its state must not change from this streaming thread.
        if let Some(old) = old.parent_element() {
            pipeline.call_async(move |pipeline| {
                if old.set_state(gst::State::Null).is_err() || pipeline.remove(&old).is_err() {
                    tracing::debug!(bin = %old.name(), "could not be removed");
                }
            });
        }
    }
    link(&static_pad(&bin, "src")?, &raw_pad)?;
    link(encoded.upcast_ref(), &encoded_pad)?;
    bin.sync_state_with_parent().map_err(|error| MediaError::link(format!("{codec} decoder: {error}")))?;
    link(pad, &static_pad(&bin, "sink")?)
}

fn forward_keyframe_requests(pad: &gst::Pad, wanted: Arc<Notify>) {
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if info.event().is_some_and(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok()) {
            wanted.notify_one();
        }
        gst::PadProbeReturn::Ok
    });
}

/// Ends the ingest with an error when its pictures become larger than anybody's screen, before they are decoded where
/// the stream says their size in time: a few bytes can ask for half a gigabyte.
fn refuse_giants(pad: &gst::Pad, sink: &gst_app::AppSink) {
    let weak = sink.downgrade();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let Some(event) = info.event() else { return gst::PadProbeReturn::Ok };
        let gst::EventView::Caps(caps) = event.view() else { return gst::PadProbeReturn::Ok };
        let side = |name| caps.caps().structure(0)?.get::<i32>(name).ok();
        let (Some(width), Some(height)) = (side("width"), side("height")) else { return gst::PadProbeReturn::Ok };
        if i64::from(width) * i64::from(height) <= MAX_PIXELS {
            return gst::PadProbeReturn::Ok;
        }
        if let Some(sink) = weak.upgrade() {
            gst::element_error!(
                sink,
                gst::StreamError::Format,
                ["pictures of {width}x{height} are larger than the {MAX_PIXELS} pixels that are taken"]
            );
        }
        gst::PadProbeReturn::Drop
    });
}

fn count_buffers(sink: &gst_app::AppSink) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    if let Some(pad) = sink.static_pad("sink") {
        let counted = Arc::clone(&count);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
    count
}

/// `rtpbin`'s session of each kind.
fn session(kind: MediaKind) -> u32 {
    match kind {
        MediaKind::Audio => 0,
        MediaKind::Video => 1,
    }
}

fn add(pipeline: &gst::Pipeline, element: &impl IsA<gst::Element>) -> Result<(), MediaError> {
    pipeline.add(element).map_err(|error| MediaError::link(error.to_string()))
}

fn static_pad(element: &impl IsA<gst::Element>, name: &str) -> Result<gst::Pad, MediaError> {
    let element = element.upcast_ref::<gst::Element>();
    element.static_pad(name).ok_or_else(|| MediaError::link(format!("{} has no pad `{name}`", element.name())))
}

/// Takes a pad from whatever feeds it, and returns that.
fn unlink(sink: &gst::Pad) -> Option<gst::Pad> {
    let old = sink.peer()?;
    if old.unlink(sink).is_err() {
        tracing::debug!(pad = %old.name(), "was already unlinked");
    }
    Some(old)
}

fn link(source: &gst::Pad, sink: &gst::Pad) -> Result<(), MediaError> {
    source
        .link(sink)
        .map(|_| ())
        .map_err(|error| MediaError::link(format!("{} does not link to {}: {error}", source.name(), sink.name())))
}
