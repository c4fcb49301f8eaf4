//! The room's programme: the mixer and the encoders that its outputs need, started together and watched together.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::BridgeError;
use super::config::{BridgeConfig, Checked};
use crate::media::MediaError;
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::media::encoder::StreamEncoder;
use crate::media::layout::Rect;
use crate::media::mixer::{Mixer, MixerInput, PIECE_OF_SOUND};
use crate::media::producer::Producer;
use crate::media::relay::Relay;
use crate::output::{Codecs, Streams};
use crate::terms::MediaKind;

/// A running mixer with its encoders.
#[derive(Debug)]
pub(crate) struct Mix {
    pub(crate) streams: Streams,
    mixer: Arc<Mixer>,
    encoders: Vec<(MediaKind, StreamEncoder)>,
    /// Of sound and of pictures; empty when no output copies.
    relays: Vec<(MediaKind, Relay)>,
    faults: mpsc::Receiver<BridgeError>,
    _watchers: JoinSet<()>,
}

impl Mix {
    /// Builds and starts everything: black and silence are encoded from here on.
    pub(crate) async fn start(
        config: &BridgeConfig,
        checked: &Checked,
        clock: &MediaClock,
    ) -> Result<Self, BridgeError> {
        let settings = config.encoder_settings();
        let mut mixer = Mixer::new(clock, config.canvas, config.jitter_latency)?;
        let (picture, sound) = (mixer.producer(MediaKind::Video).clone(), mixer.producer(MediaKind::Audio).clone());
        let (mut encoders, mut streams) = (Vec::new(), Streams::default());
        let mut add = |kind, encoder: StreamEncoder| {
            let producer = encoder.producer().clone();
            encoders.push((kind, encoder));
            Some(producer)
        };
        if let Some(encoder) = checked.encoder {
            tracing::info!(encoder = encoder.name, "encodes H.264");
            streams.h264 = add(MediaKind::Video, StreamEncoder::h264(clock, &picture, encoder, &settings)?);
        }
        let wants = |codecs: &[Codecs]| config.outputs.iter().any(|spec| codecs.contains(&spec.codecs()));
        if wants(&[Codecs::H264Aac]) {
            streams.aac = add(MediaKind::Audio, StreamEncoder::aac(clock, &sound, &settings)?);
        }
        if wants(&[Codecs::Vp8Opus]) {
            streams.vp8 = add(MediaKind::Video, StreamEncoder::vp8(clock, &picture, &settings)?);
        }
        if wants(&[Codecs::Vp8Opus, Codecs::H264Opus]) {
            streams.opus = add(MediaKind::Audio, StreamEncoder::opus(clock, &sound, &settings)?);
        }

        let mut relays = Vec::new();
        if config.outputs.iter().any(|spec| spec.codecs() == Codecs::Copied) {
            let (video, audio) = (Relay::new(clock, "relay-video")?, Relay::new(clock, "relay-audio")?);
            streams.copied_video = Some(video.producer().clone());
            streams.copied_audio = Some(audio.producer().clone());
            relays = vec![(MediaKind::Audio, audio), (MediaKind::Video, video)];
        }

        let (fault_sender, faults) = mpsc::channel(1);
        let mut watchers = JoinSet::new();
        watchers.spawn(watch("the mixer", mixer.take_events(), fault_sender.clone()));
        for (_, encoder) in &mut encoders {
            watchers.spawn(watch("an encoder", encoder.take_events(), fault_sender.clone()));
            encoder.play().await?;
        }
        for (_, relay) in &mut relays {
            watchers.spawn(watch("a relay", relay.take_events(), fault_sender.clone()));
            relay.play().await?;
        }
        mixer.play().await?;
        let mix = Self { streams, mixer: Arc::new(mixer), encoders, relays, faults, _watchers: watchers };
        if let Some(encoded) = mix.streams.h264.as_ref().or(mix.streams.vp8.as_ref()) {
            // Only now does the mixer know how late the encoder is; without asking again its first pictures would be late.
            encoded.first_buffer().await;
        }
        mix.mixer.recalculate_latency();
        Ok(mix)
    }

    /// Takes a participant's stream into the mix.
    pub(crate) async fn attach(&self, kind: MediaKind, producer: Producer) -> Result<MixerInput, BridgeError> {
        let mixer = Arc::clone(&self.mixer);
        let attached = tokio::task::spawn_blocking(move || {
            let input = mixer.attach(kind, &producer);
            mixer.recalculate_latency();
            input
        });
        let failed = |error: tokio::task::JoinError| MediaError::Link(format!("the mixer's thread failed: {error}"));
        Ok(attached.await.map_err(failed)??)
    }

    /// Takes a participant's streams out of the mix.
    pub(crate) async fn detach(&self, inputs: Vec<MixerInput>) {
        let mixer = Arc::clone(&self.mixer);
        let detached = tokio::task::spawn_blocking(move || inputs.into_iter().for_each(|input| mixer.detach(input)));
        if let Err(error) = detached.await {
            tracing::error!(%error, "a participant could not be taken out of the mix");
        }
    }

    /// Chooses whose streams are passed on as they come; nobody's when there is no such participant.
    pub(crate) fn copy(&mut self, source: &HashMap<MediaKind, Producer>) {
        for (kind, relay) in &mut self.relays {
            if let Err(error) = relay.switch(source.get(kind)) {
                tracing::error!(%kind, %error, "a participant's stream could not be passed on");
            }
        }
    }

    /// The next failure of the mixer or an encoder: the bridge cannot go on without them.
    pub(crate) async fn fault(&mut self) -> BridgeError {
        match self.faults.recv().await {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }

    /// Seconds of sound that came too fast for an encoder.
    pub(crate) fn sound_lost(&self) -> f64 {
        let sound = self.encoders.iter().filter(|(kind, _)| *kind == MediaKind::Audio);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let pieces = sound.map(|(_, encoder)| encoder.dropped()).sum::<u64>() as f64;
        pieces * PIECE_OF_SOUND.as_secs_f64()
    }

    /// Pictures that the first video encoder took, and those that came too fast for any of them.
    pub(crate) fn frames(&self) -> (u64, u64) {
        let mut video = self.encoders.iter().filter(|(kind, _)| *kind == MediaKind::Video).map(|(_, encoder)| encoder);
        let Some(first) = video.next() else { return (0, 0) };
        (first.pushed(), first.dropped() + video.map(StreamEncoder::dropped).sum::<u64>())
    }

    /// Ends everything in bounded time.
    pub(crate) async fn stop(self) {
        for (_, encoder) in &self.encoders {
            encoder.stop().await;
        }
        for (_, relay) in &self.relays {
            relay.stop().await;
        }
        self.mixer.stop().await;
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
