//! The room's programme: the mixers, encoders and relays that its outputs need, started when the first output asks for them,
//! stopped when the last has gone, and watched together.

mod keeping_up;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use self::keeping_up::EncoderState;
use super::BridgeError;
use super::config::BridgeConfig;
use super::participant::{Needs, Taps};
use crate::media::MediaError;
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::media::encoder::StreamEncoder;
use crate::media::ingest::Decoding;
use crate::media::layout::Rect;
use crate::media::mixer::{Mixer, MixerInput};
use crate::media::producer::Producer;
use crate::media::relay::Relay;
use crate::media::scaler::Scaler;
use crate::output::spec::Height;
use crate::output::{Stream, Streams};
use crate::rtp::{PacketSink, Plug, Tap};
use crate::terms::MediaKind;

/// Whatever of mixers, encoders and relays runs now.
#[derive(Debug)]
pub(crate) struct Mix {
    pub(crate) streams: Streams,
    config: BridgeConfig,
    clock: MediaClock,
    mixers: BTreeMap<MediaKind, Arc<Mixer>>,
    encoders: BTreeMap<Stream, StreamEncoder>,
    scalers: BTreeMap<Stream, Scaler>,
    relays: BTreeMap<Stream, Relay>,
    /// Whose packets reach the streams of packets.
    plugs: BTreeMap<Stream, Plug>,
    /// When encoders that get fewer pictures were last asked for a keyframe.
    keyframe_asked: Instant,
    fault_sender: mpsc::Sender<BridgeError>,
    faults: mpsc::Receiver<BridgeError>,
    watchers: JoinSet<()>,
}

impl Mix {
    /// Nothing runs until an output needs it.
    pub(crate) fn new(config: &BridgeConfig, clock: &MediaClock) -> Self {
        let (fault_sender, faults) = mpsc::channel(1);
        Self {
            streams: Streams::default(),
            config: config.clone(),
            clock: clock.clone(),
            mixers: BTreeMap::new(),
            encoders: BTreeMap::new(),
            scalers: BTreeMap::new(),
            relays: BTreeMap::new(),
            plugs: BTreeMap::new(),
            keyframe_asked: Instant::now(),
            fault_sender,
            faults,
            watchers: JoinSet::new(),
        }
    }

    /// Starts what these streams need and does not run yet: black and silence are encoded from here on.
    pub(crate) async fn provide(&mut self, wanted: &BTreeSet<Stream>) -> Result<(), BridgeError> {
        let missing: Vec<_> = wanted.iter().copied().filter(|stream| !self.streams.has(*stream)).collect();
        let mut begun = BTreeMap::new();
        for stream in &missing {
            if stream.is_packets() {
                self.streams.insert_tap(*stream, Tap::new());
            } else if stream.is_copied() {
                self.start_relay(*stream).await?;
            } else {
                let kind = stream.kind();
                if !self.mixers.contains_key(&kind) && !begun.contains_key(&kind) {
                    let (canvas, jitter) = (self.config.canvas, self.config.jitter_latency);
                    begun.insert(kind, Mixer::new(&self.clock, kind, canvas, jitter)?);
                }
                let mixer = begun.get(&kind).or(self.mixers.get(&kind).map(AsRef::as_ref));
                let raw = mixer.map(|mixer| mixer.producer().clone());
                match raw {
                    Some(raw) if stream.is_raw() => self.streams.insert(*stream, raw),
                    Some(raw) => self.start_encoder(*stream, &raw).await?,
                    None => {}
                }
            }
        }
        for (kind, mut mixer) in begun {
            self.watchers.spawn(watch("a mixer", mixer.take_events(), self.fault_sender.clone()));
            mixer.play().await?;
            self.mixers.insert(kind, Arc::new(mixer));
        }
        if let Some(picture) =
            missing.iter().find(|stream| !stream.is_copied() && !stream.is_raw() && stream.kind() == MediaKind::Video)
            && let Some(encoded) = self.streams.get(*picture)
        {
            // Only now does the mixer know how late the encoder is; without asking again its first pictures would be late.
            encoded.first_buffer().await;
        }
        self.mixers.values().for_each(|mixer| mixer.recalculate_latency());
        Ok(())
    }

    /// Stops what only other streams than these need. The inputs of a mixer that stops are to be dropped by the caller.
    pub(crate) async fn keep(&mut self, wanted: &BTreeSet<Stream>) {
        let idle = |stream: &Stream| !wanted.contains(stream);
        for stream in self.encoders.keys().copied().filter(idle).collect::<Vec<_>>() {
            self.streams.remove(stream);
            if let Some(encoder) = self.encoders.remove(&stream) {
                encoder.stop().await;
            }
            if let Some(scaler) = self.scalers.remove(&stream) {
                scaler.stop().await;
            }
        }
        for stream in self.relays.keys().copied().filter(idle).collect::<Vec<_>>() {
            self.streams.remove(stream);
            if let Some(relay) = self.relays.remove(&stream) {
                relay.stop().await;
            }
        }
        for stream in self.streams.packets().filter(idle).collect::<Vec<_>>() {
            self.streams.remove(stream);
            self.plugs.remove(&stream);
        }
        for stream in [Stream::Pictures, Stream::Pcm].iter().filter(|stream| idle(stream)) {
            self.streams.remove(*stream);
        }
        let raw = wanted.iter().filter(|stream| stream.is_raw());
        let needed: BTreeSet<_> = self.encoders.keys().chain(raw).map(|stream| stream.kind()).collect();
        for kind in self.mixers.keys().copied().filter(|kind| !needed.contains(kind)).collect::<Vec<_>>() {
            if let Some(mixer) = self.mixers.remove(&kind) {
                mixer.stop().await;
            }
        }
    }

    async fn start_relay(&mut self, stream: Stream) -> Result<(), BridgeError> {
        let mut relay = Relay::new(&self.clock, &format!("relay-{}", stream.kind()))?;
        self.watchers.spawn(watch("a relay", relay.take_events(), self.fault_sender.clone()));
        relay.play().await?;
        self.streams.insert(stream, relay.producer().clone());
        self.relays.insert(stream, relay);
        Ok(())
    }

    async fn start_encoder(&mut self, stream: Stream, raw: &Producer) -> Result<(), BridgeError> {
        let mut settings = self.config.encoder_settings();
        let raw = match stream {
            Stream::Rendition(height) => {
                settings.video_bitrate = height.bitrate(settings.video_bitrate, self.config.canvas.size.height);
                &self.scale(stream, height, raw).await?
            }
            _ => raw,
        };
        let clock = &self.clock;
        let mut encoder = match stream {
            Stream::H264 | Stream::Rendition(_) => {
                let encoder = self.config.encoder.resolve()?;
                tracing::info!(encoder = encoder.name, bitrate = settings.video_bitrate, "encodes H.264");
                StreamEncoder::h264(clock, raw, encoder, &settings)?
            }
            Stream::Vp8 => StreamEncoder::vp8(clock, raw, &settings)?,
            Stream::Aac => StreamEncoder::aac(clock, raw, &settings)?,
            Stream::Opus => StreamEncoder::opus(clock, raw, &settings)?,
            Stream::Pcmu => StreamEncoder::pcmu(clock, raw)?,
            Stream::CopiedVideo
            | Stream::CopiedAudio
            | Stream::VideoPackets
            | Stream::AudioPackets
            | Stream::Pictures
            | Stream::Pcm => return Ok(()),
        };
        self.watchers.spawn(watch("an encoder", encoder.take_events(), self.fault_sender.clone()));
        encoder.play().await?;
        self.streams.insert(stream, encoder.producer().clone());
        self.encoders.insert(stream, encoder);
        Ok(())
    }

    /// The mixed picture in the size of a rendition.
    async fn scale(&mut self, stream: Stream, height: Height, raw: &Producer) -> Result<Producer, BridgeError> {
        let size = self.config.canvas.size;
        if i32::from(height.0) == size.height {
            return Ok(raw.clone());
        }
        let mut scaler = Scaler::new(&self.clock, raw, size.with_height(height.0.into()))?;
        self.watchers.spawn(watch("a scaler", scaler.take_events(), self.fault_sender.clone()));
        scaler.play().await?;
        let scaled = scaler.producer().clone();
        self.scalers.insert(stream, scaler);
        Ok(scaled)
    }

    /// What participants' media is needed for: the mix decodes, relays take it unpacked, and streams of packets need neither.
    pub(crate) fn needs(&self) -> Needs {
        let mixes = |kind| self.mixers.contains_key(&kind);
        let unpacks = |kind| mixes(kind) || self.relays.keys().any(|stream| stream.kind() == kind);
        let both = |needed: &dyn Fn(MediaKind) -> bool| Decoding {
            audio: needed(MediaKind::Audio),
            video: needed(MediaKind::Video),
        };
        Needs { decode: both(&mixes), unpack: both(&unpacks), may_wait: Decoding::default() }
    }

    /// Takes a participant's stream into the mix; `None` when nothing of its kind is mixed.
    pub(crate) async fn attach(&self, kind: MediaKind, producer: Producer) -> Result<Option<MixerInput>, BridgeError> {
        let Some(mixer) = self.mixers.get(&kind).map(Arc::clone) else { return Ok(None) };
        let attached = tokio::task::spawn_blocking(move || {
            let input = mixer.attach(&producer);
            mixer.recalculate_latency();
            input
        });
        let failed = |error: tokio::task::JoinError| MediaError::Link(format!("the mixer's thread failed: {error}"));
        Ok(Some(attached.await.map_err(failed)??))
    }

    /// Takes a participant's streams out of the mix.
    pub(crate) async fn detach(&self, inputs: impl IntoIterator<Item = (MediaKind, MixerInput)>) {
        let inputs: Vec<_> =
            inputs.into_iter().filter_map(|(kind, input)| Some((Arc::clone(self.mixers.get(&kind)?), input))).collect();
        let detached =
            tokio::task::spawn_blocking(move || inputs.into_iter().for_each(|(mixer, input)| mixer.detach(input)));
        if let Err(error) = detached.await {
            tracing::error!(%error, "a participant could not be taken out of the mix");
        }
    }

    /// Chooses whose streams are passed on as they come; nobody's when there is no such participant.
    pub(crate) fn copy(&mut self, source: &HashMap<MediaKind, Producer>, taps: Option<&Taps>) {
        for stream in self.streams.packets().collect::<Vec<_>>() {
            self.plugs.remove(&stream);
            if let (Some(into), Some(taps)) = (self.streams.tap(stream), taps) {
                self.plugs.insert(stream, taps.of(stream.kind()).plug(Arc::clone(into) as Arc<dyn PacketSink>));
            }
        }
        for (stream, relay) in &mut self.relays {
            if let Err(error) = relay.switch(source.get(&stream.kind())) {
                tracing::error!(kind = %stream.kind(), %error, "a participant's stream could not be passed on");
            }
        }
    }

    /// The next failure of a mixer or an encoder: the bridge cannot go on without them.
    pub(crate) async fn fault(&mut self) -> BridgeError {
        match self.faults.recv().await {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }

    /// Ends everything in bounded time.
    pub(crate) async fn stop(mut self) {
        self.keep(&BTreeSet::new()).await;
    }
}

/// Where participants stand on the canvas now.
pub(crate) fn place(inputs: &[(&MixerInput, bool)], places: &[Rect]) {
    for (index, (input, visible)) in inputs.iter().enumerate() {
        input.place(places.get(index).copied().filter(|_| *visible));
    }
}

async fn watch(stage: &'static str, mut events: mpsc::Receiver<BusEvent>, faults: mpsc::Sender<BridgeError>) {
    while let Some(event) = events.recv().await {
        match event {
            BusEvent::Warning(fault) => tracing::warn!(stage, %fault),
            BusEvent::Error(fault) => {
                let fault = BridgeError::Stage { stage: stage.into(), reason: fault.to_string() };
                // One failure is enough to end the bridge.
                faults.try_send(fault).ok();
            }
            BusEvent::Eos => {
                let fault = BridgeError::Stage { stage: stage.into(), reason: "it ended by itself".into() };
                faults.try_send(fault).ok();
            }
        }
    }
}
