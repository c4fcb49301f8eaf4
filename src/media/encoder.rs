//! Raw media to access units: encode once, for all outputs.
//!
//! One pipeline per elementary stream, built from `pipelines/encode-*.launch`. The bridge owns them.

use std::str::FromStr;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use tokio::sync::mpsc;

use super::bus::BusEvent;
use super::clock::MediaClock;
use super::effort::Effort;
use super::pipeline::LivePipeline;
use super::producer::{Feed, Patience, Producer};
use super::relief::Relief;
use super::{MediaError, template};

/// An encoder for H.264.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoEncoder {
    /// The name on the command line; `pipelines/encode-{name}.launch` is its pipeline.
    pub name: &'static str,
    element: &'static str,
    bitrate: (&'static str, Unit),
    keyframe_distance: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Bits,
    Kilobits,
}

/// Every H.264 encoder that is known, hardware first: the order in which `auto` tries them.
pub const VIDEO_ENCODERS: &[VideoEncoder] = &[
    VideoEncoder {
        name: "nvh264",
        element: "nvh264enc",
        bitrate: ("bitrate", Unit::Kilobits),
        keyframe_distance: "gop-size",
    },
    VideoEncoder {
        name: "vah264",
        element: "vah264enc",
        bitrate: ("bitrate", Unit::Kilobits),
        keyframe_distance: "key-int-max",
    },
    VideoEncoder {
        name: "x264",
        element: "x264enc",
        bitrate: ("bitrate", Unit::Kilobits),
        keyframe_distance: "key-int-max",
    },
    VideoEncoder {
        name: "openh264",
        element: "openh264enc",
        bitrate: ("bitrate", Unit::Bits),
        keyframe_distance: "gop-size",
    },
];

/// What `--encoder` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncoderChoice {
    /// The first of [`VIDEO_ENCODERS`] that this machine can really open.
    #[default]
    Auto,
    /// This one.
    Named(VideoEncoder),
}

impl FromStr for EncoderChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        VIDEO_ENCODERS.iter().copied().find(|encoder| encoder.name == text).map(Self::Named).ok_or_else(|| {
            let known: Vec<_> = VIDEO_ENCODERS.iter().map(|encoder| encoder.name).collect();
            format!("unknown encoder `{text}`: use auto, {}", known.join(", "))
        })
    }
}

impl EncoderChoice {
    /// Finds the encoder to use.
    pub fn resolve(self) -> Result<VideoEncoder, MediaError> {
        match self {
            Self::Auto => VIDEO_ENCODERS.iter().copied().find(VideoEncoder::works).ok_or_else(|| {
                MediaError::Encoder("no H.264 encoder is installed: apt install gstreamer1.0-plugins-ugly".into())
            }),
            Self::Named(encoder) if encoder.works() => Ok(encoder),
            Self::Named(encoder) => Err(MediaError::Encoder(format!(
                "the encoder `{}` needs the GStreamer element `{}`, which is not installed or has no device: use --encoder auto",
                encoder.name, encoder.element
            ))),
        }
    }
}

impl VideoEncoder {
    /// Whether the element exists and can open its device.
    fn works(&self) -> bool {
        let Ok(element) = gst::ElementFactory::make(self.element).build() else { return false };
        let opened = element.set_state(gst::State::Ready).is_ok();
        // Back to NULL, or dropping the element would be an error of its own.
        element.set_state(gst::State::Null).is_ok() && opened
    }
}

/// How pictures and sound are encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderSettings {
    /// Bits per second of video.
    pub video_bitrate: u32,
    /// Bits per second of sound.
    pub audio_bitrate: u32,
    /// Frames from one keyframe to the next.
    pub keyframe_distance: u32,
    /// Speed against quality, in x264's words; other encoders have their own fixed compromise.
    pub preset: String,
}

/// The template of sound in AAC on this machine.
pub(crate) fn aac_template() -> &'static str {
    if gst::ElementFactory::find("avenc_aac").is_some() { "encode-aac" } else { "encode-voaac" }
}

/// A running encoder of one elementary stream.
#[derive(Debug)]
pub struct StreamEncoder {
    pipeline: LivePipeline,
    feed: Feed,
    producer: Producer,
    /// Sound costs next to nothing.
    relief: Option<Relief>,
    /// Where a faster preset would help.
    effort: Option<Effort>,
}

impl StreamEncoder {
    /// H.264 in `stream-format=avc`, one access unit per buffer.
    pub fn h264(
        clock: &MediaClock,
        raw: &Producer,
        encoder: VideoEncoder,
        settings: &EncoderSettings,
    ) -> Result<Self, MediaError> {
        let template = format!("encode-{}", encoder.name);
        Self::with_preset(clock, raw, Patience::Encoder, &template, Some(&settings.preset), |element| {
            let (property, unit) = encoder.bitrate;
            let bitrate = match unit {
                Unit::Bits => settings.video_bitrate,
                Unit::Kilobits => settings.video_bitrate.div_ceil(1000),
            };
            set(element, property, bitrate)?;
            set(element, encoder.keyframe_distance, settings.keyframe_distance)?;
            if encoder.element == "x264enc" {
                set(element, "speed-preset", &settings.preset)?;
            }
            Ok(())
        })
    }

    /// VP8, one frame per buffer.
    pub fn vp8(clock: &MediaClock, raw: &Producer, settings: &EncoderSettings) -> Result<Self, MediaError> {
        Self::new(clock, raw, Patience::Encoder, "encode-vp8", |element| {
            set(element, "target-bitrate", settings.video_bitrate)?;
            set(element, "keyframe-max-dist", settings.keyframe_distance)
        })
    }

    /// AAC-LC, raw access units with the configuration in the caps.
    pub fn aac(clock: &MediaClock, raw: &Producer, settings: &EncoderSettings) -> Result<Self, MediaError> {
        let template = aac_template();
        let priming = if template == "encode-aac" { 1024 } else { 1600 };
        Self::new(clock, raw, Patience::Sound, template, |element| {
            // An AAC decoder gives back the priming samples first, and neither encoder's timestamps take them into
            // account: all sound would be 21 or 33 ms late. Measured with a click through encoder and decoder.
            if let Some(pad) = element.static_pad("src") {
                pad.set_offset(-priming * 1_000_000_000 / 48_000);
            }
            set(element, "bitrate", settings.audio_bitrate)
        })
    }

    /// Opus.
    pub fn opus(clock: &MediaClock, raw: &Producer, settings: &EncoderSettings) -> Result<Self, MediaError> {
        Self::new(clock, raw, Patience::Sound, "encode-opus", |element| set(element, "bitrate", settings.audio_bitrate))
    }

    /// G.711 µ-law.
    pub fn pcmu(clock: &MediaClock, raw: &Producer) -> Result<Self, MediaError> {
        Self::new(clock, raw, Patience::Sound, "encode-pcmu", |_| Ok(()))
    }

    fn new(
        clock: &MediaClock,
        raw: &Producer,
        patience: Patience,
        template: &str,
        configure: impl FnOnce(&gst::Element) -> Result<(), MediaError>,
    ) -> Result<Self, MediaError> {
        Self::with_preset(clock, raw, patience, template, None, configure)
    }

    fn with_preset(
        clock: &MediaClock,
        raw: &Producer,
        patience: Patience,
        template: &str,
        preset: Option<&str>,
        configure: impl FnOnce(&gst::Element) -> Result<(), MediaError>,
    ) -> Result<Self, MediaError> {
        let pipeline = LivePipeline::new(template::build(template, template)?, clock);
        let encoder = pipeline.element("encoder")?;
        configure(&encoder)?;
        let effort = preset.and_then(|preset| Effort::of(&encoder, preset));
        let cast =
            |_| MediaError::link(format!("pipelines/{template}.launch: input and output are not appsrc and appsink"));
        let input = pipeline.element("input")?.downcast::<gst_app::AppSrc>().map_err(cast)?;
        let output = pipeline.element("output")?.downcast::<gst_app::AppSink>().map_err(cast)?;
        output.set_property("async", false);
        let feed = raw.feed(&input, patience)?;
        let pictures = matches!(patience, Patience::Encoder);
        let relief = pictures.then(|| Relief::new(clock, input.upcast_ref(), output.upcast_ref(), effort.is_some()));
        Ok(Self { producer: Producer::new(&output), pipeline, feed, relief, effort })
    }

    /// Starts to encode.
    pub async fn play(&mut self) -> Result<(), MediaError> {
        self.pipeline.play().await
    }

    /// The encoded stream.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Raw pictures or pieces of sound that came too fast for the encoder, and those that were left out to relieve it.
    pub fn dropped(&self) -> u64 {
        self.feed.dropped() + self.relief.as_ref().map_or(0, Relief::left_out)
    }

    /// Looks at how it kept up in the last second, and relieves it more or less from now on. True when that has changed.
    pub(crate) async fn relieve(&mut self) -> bool {
        let Some(relief) = &mut self.relief else { return false };
        let before = relief.step();
        if !relief.look(&self.feed) {
            return false;
        }
        let fastest = relief.step().fastest;
        if let Some(effort) = self.effort.clone()
            && fastest != before.fastest
        {
            let changed = tokio::task::spawn_blocking(move || effort.change(fastest)).await;
            match changed.unwrap_or_else(|error| Err(MediaError::link(error.to_string()))) {
                Ok(()) => tracing::info!(fastest, "another preset"),
                Err(error) => tracing::error!(%error, fastest, "the preset could not be changed"),
            }
        }
        true
    }

    /// How it keeps up, when it makes pictures.
    pub(crate) fn relief(&self) -> Option<&Relief> {
        self.relief.as_ref()
    }

    /// Raw buffers taken so far.
    pub fn pushed(&self) -> u64 {
        self.feed.pushed()
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

/// Sets a property whatever integer or enumeration type the element gives it.
pub(crate) fn set(element: &gst::Element, property: &str, value: impl ToString) -> Result<(), MediaError> {
    let value = value.to_string();
    let wrong = |reason: &str| MediaError::Element {
        element: element.factory().map(|factory| factory.name().to_string()).unwrap_or_default(),
        reason: format!("{reason} `{property}={value}`"),
    };
    let spec = element.find_property(property).ok_or_else(|| wrong("there is no property for"))?;
    let parsed = gst::glib::Value::deserialize_with_pspec(&value, &spec).map_err(|_| wrong("it refuses"))?;
    element.set_property_from_value(property, &parsed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_encoder_lists_the_known_ones() {
        let error = "h265".parse::<EncoderChoice>().unwrap_err();
        assert!(error.contains("x264") && error.contains("auto"), "{error}");
    }

    #[test]
    fn a_property_that_an_element_refuses_is_named() {
        gst::init().unwrap();
        let element = gst::ElementFactory::make("x264enc").build().unwrap();
        let error = set(&element, "speed-preset", "warp").unwrap_err().to_string();
        assert!(error.contains("x264enc") && error.contains("speed-preset=warp"), "{error}");
        set(&element, "speed-preset", "superfast").unwrap();
        set(&element, "bitrate", 1500).unwrap();
    }
}
