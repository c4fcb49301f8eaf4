//! One participant's RTP and RTCP in, raw pictures and sound out.
//!
//! `rtpbin` reorders, drops duplicates and notices loss; [`sync`] brings lips and voice together by the sender reports. What
//! comes out is fed to the mixer through two producers. The bridge pushes packets from the peer's readers; pushing
//! never blocks: the queue in front is bounded and drops its oldest packet.

mod av1_sizes;
mod bursts;
mod continuity;
mod decoders;
mod forward;
mod gate;
mod input;
mod lips;
pub(super) mod sync;
mod unfinished;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use tokio::sync::Notify;

use self::bursts::Bursts;
use self::decoders::{Sinks, decode_new_pads};
use self::gate::Gate;
pub use self::input::Input;
use self::input::PayloadTypes;
use self::sync::LipSync;
use super::MediaError;
use super::bus::BusEvent;
use super::clock::MediaClock;
use super::payload_types;
use super::pipeline::{LivePipeline, make};
use super::producer::{Producer, appsink};
use crate::terms::MediaKind;

/// Which kinds of media are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoding {
    /// Sound.
    pub audio: bool,
    /// Pictures.
    pub video: bool,
}

/// How a participant's media is received.
#[derive(Clone, Copy, Debug)]
pub struct IngestSettings {
    /// The loss budget: how long a lost packet may take to arrive again.
    pub jitter: Duration,
    /// Whether sound and pictures are decoded from the start; see [`Ingest::decode`].
    pub decode: Decoding,
}

/// The receiving end of one participant.
#[derive(Debug)]
pub struct Ingest {
    pipeline: LivePipeline,
    rtpbin: gst::Element,
    inputs: [Input; 2],
    raw: [Producer; 2],
    encoded: [Producer; 2],
    gates: [Gate; 2],
    bursts: [Bursts; 2],
    frames: Arc<AtomicU64>,
}

impl Ingest {
    /// Builds the receiving end. `keyframe_wanted` is notified when a depayloader or decoder needs a keyframe.
    pub fn new(
        name: &str,
        clock: &MediaClock,
        settings: IngestSettings,
        keyframe_wanted: Arc<Notify>,
    ) -> Result<Self, MediaError> {
        let pipeline = gst::Pipeline::with_name(&format!("ingest-{}", name.escape_default()));
        let rtpbin = make("rtpbin")?;
        rtpbin.set_property("latency", u32::try_from(settings.jitter.as_millis()).unwrap_or(u32::MAX));
        rtpbin.set_property("do-lost", true);
        rtpbin.set_property("drop-on-latency", true);
        rtpbin.set_property_from_str("rtp-profile", "avpf");
        rtpbin.set_property_from_str("buffer-mode", "slave");
        add(&pipeline, &rtpbin)?;

        let payload_types = PayloadTypes::default();
        let inputs = [MediaKind::Audio, MediaKind::Video];
        let sync = LipSync::default();
        let inputs = [
            Input::new(&pipeline, &rtpbin, inputs[0], clock, &payload_types, &sync)?,
            Input::new(&pipeline, &rtpbin, inputs[1], clock, &payload_types, &sync)?,
        ];
        let gates = [Gate::new(settings.decode.audio), Gate::new(settings.decode.video)];
        let [audio_gate, video_gate] = gates.clone();
        let bursts = [Bursts::default(), Bursts::default()];
        let [audio_bursts, video_bursts] = bursts.clone();
        let sinks =
            [("audio", audio_gate, audio_bursts), ("video", video_gate, video_bursts)].map(|(kind, gate, bursts)| {
                Sinks { raw: appsink(kind), encoded: appsink(&format!("{kind}-encoded")), gate, bursts }
            });
        for sink in sinks.iter().flat_map(|sinks| [&sinks.raw, &sinks.encoded]) {
            add(&pipeline, sink)?;
        }
        for (sinks, kind) in sinks.iter().zip([MediaKind::Audio, MediaKind::Video]) {
            forward::only_forward(&static_pad(&sinks.encoded, "sink")?, kind);
        }
        let raw = sinks.each_ref().map(|sinks| Producer::new(&sinks.raw));
        let encoded = sinks.each_ref().map(|sinks| Producer::holding(&sinks.encoded));
        let frames = count_buffers(&sinks[1].raw);
        payload_types::answer(&rtpbin, move |session, payload_type| {
            payload_types.lock().unwrap_or_else(PoisonError::into_inner).get(&(session, payload_type)).cloned()
        });
        decode_new_pads(&pipeline, &rtpbin, sinks, sync, keyframe_wanted);
        Ok(Self { pipeline: LivePipeline::new(pipeline, clock), rtpbin, inputs, raw, encoded, gates, bursts, frames })
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

    /// Starts or ends decoding. What is not decoded costs nothing but its packets; pictures begin again at a keyframe, which
    /// is for the caller to ask for.
    pub fn decode(&self, decoding: Decoding) {
        self.gates[0].set(decoding.audio);
        self.gates[1].set(decoding.video);
    }

    /// What comes in bursts, because nobody needs it at once, and goes on as it came in bursts too. These have more packets than
    /// the jitter buffer's budget, which would otherwise drop what it has not passed on yet.
    pub fn take_bursts(&self, bursts: Decoding) {
        self.rtpbin.set_property("drop-on-latency", !bursts.audio && !bursts.video);
        self.bursts[0].set(bursts.audio);
        self.bursts[1].set(bursts.video);
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

fn link(source: &gst::Pad, sink: &gst::Pad) -> Result<(), MediaError> {
    source
        .link(sink)
        .map(|_| ())
        .map_err(|error| MediaError::link(format!("{} does not link to {}: {error}", source.name(), sink.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipeline that waits for nothing: what is put into its source comes to its sink, but for what a probe does on the way.
    pub(super) fn passage() -> (gst::Pipeline, gst_app::AppSrc, gst_app::AppSink) {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let source = gst_app::AppSrc::builder().format(gst::Format::Time).build();
        let sink = gst_app::AppSink::builder().sync(false).build();
        pipeline.add_many([source.upcast_ref::<gst::Element>(), sink.upcast_ref()]).unwrap();
        source.link(&sink).unwrap();
        (pipeline, source, sink)
    }

    /// Puts in a buffer of this time.
    pub(super) fn push(source: &gst_app::AppSrc, ms: u64) {
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(ms));
        source.push_buffer(buffer).unwrap();
    }
}
