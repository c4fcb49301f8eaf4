//! The fastest preset for a running x264, and its own one again: between two pictures, in one stream.
//!
//! `x264enc` takes a preset only before it starts, so it is started anew. What comes meanwhile waits in front of it, and the
//! first picture that it makes is a keyframe. Nobody behind it notices: with the reference pictures and the offset of the colours
//! that belong to the preset before, the parameter sets are the same bytes, and a recording goes on in its file.

use std::sync::mpsc;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::MediaError;
use super::encoder::set;

/// What is used when nothing else helps.
pub(crate) const FASTEST: &str = "ultrafast";

/// How long the next picture may take to come to the encoder.
const NEXT_PICTURE: Duration = Duration::from_secs(2);

/// The presets that take longer, with what their parameter sets tell: the number of reference pictures, and the offset by which
/// psychovisual optimisation moves the colours (`chroma_qp_index_offset`).
const PRESETS: [(&str, u32, i32); 9] = [
    ("superfast", 1, 0),
    ("veryfast", 1, 0),
    ("faster", 2, 0),
    ("fast", 2, -2),
    ("medium", 3, -2),
    ("slow", 5, -2),
    ("slower", 8, -2),
    ("veryslow", 16, -2),
    ("placebo", 16, -2),
];

/// How much trouble an encoder takes.
#[derive(Clone, Debug)]
pub(super) struct Effort {
    encoder: gst::Element,
    preset: String,
    /// The template's own options.
    options: String,
    /// Those that make the fastest preset look like the other to a decoder.
    like: String,
}

impl Effort {
    /// `None` where nothing can be gained: it is no x264, or has the fastest preset already.
    pub(super) fn of(encoder: &gst::Element, preset: &str) -> Option<Self> {
        let is_x264 = encoder.factory().is_some_and(|factory| factory.name() == "x264enc");
        let (_, references, colours) = PRESETS.iter().find(|(name, ..)| is_x264 && *name == preset)?;
        let options: String = encoder.property("option-string");
        let between = if options.is_empty() { "" } else { ":" };
        let like = format!("{options}{between}ref={references}:chroma-qp-offset={colours}");
        Some(Self { encoder: encoder.clone(), preset: preset.to_owned(), options, like })
    }

    /// Starts the encoder anew. Blocks until the next picture comes, and for some milliseconds more.
    pub(super) fn change(&self, fastest: bool) -> Result<(), MediaError> {
        let link = |what: &str| MediaError::link(format!("{}: {what}", self.encoder.name()));
        let sink = self.encoder.static_pad("sink").ok_or_else(|| link("has no sink pad"))?;
        let source = sink.peer().ok_or_else(|| link("is not linked"))?;
        let (blocked, is_blocked) = mpsc::sync_channel(1);
        let probe = source.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, move |_, _| {
            // Once is enough.
            blocked.try_send(()).ok();
            gst::PadProbeReturn::Ok
        });
        let changed = match is_blocked.recv_timeout(NEXT_PICTURE) {
            Ok(()) => self.restart(&source, &sink, fastest),
            Err(_) => Err(link("gets no pictures")),
        };
        if let Some(probe) = probe {
            source.remove_probe(probe);
        }
        changed
    }

    fn restart(&self, source: &gst::Pad, sink: &gst::Pad, fastest: bool) -> Result<(), MediaError> {
        let failed = |error: &dyn std::fmt::Display| MediaError::link(format!("{}: {error}", self.encoder.name()));
        // A new link is told again what the stream is like: the encoder forgets it when it stops.
        source.unlink(sink).map_err(|error| failed(&error))?;
        let stopped = self.encoder.set_state(gst::State::Ready).map_err(|error| failed(&error));
        let (preset, options) = if fastest { (FASTEST, &self.like) } else { (self.preset.as_str(), &self.options) };
        let set =
            set(&self.encoder, "speed-preset", preset).and_then(|()| set(&self.encoder, "option-string", options));
        let plays = self.encoder.sync_state_with_parent().map_err(|error| failed(&error));
        source.link(sink).map_err(|error| failed(&error))?;
        stopped.and(set).and(plays)
    }
}

#[cfg(test)]
mod tests {
    use gstreamer_app as gst_app;

    use super::*;
    use crate::media::template;

    /// The `avcC` of a stream that is made like this.
    fn parameter_sets(preset: &str, options: Option<&str>) -> Vec<u8> {
        let pipeline = template::build("encode-x264", "encoder").unwrap();
        let encoder = pipeline.by_name("encoder").unwrap();
        set(&encoder, "speed-preset", preset).unwrap();
        if let Some(options) = options {
            encoder.set_property("option-string", options);
        }
        let input = pipeline.by_name("input").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let caps = "video/x-raw,format=I420,width=320,height=180,framerate=30/1".parse::<gst::Caps>().unwrap();
        input.set_caps(Some(&caps));
        input.set_format(gst::Format::Time);
        let output = pipeline.by_name("output").unwrap().downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut picture = gst::Buffer::from_slice(vec![128_u8; 320 * 180 * 3 / 2]);
        picture.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
        input.push_buffer(picture).unwrap();
        input.end_of_stream().unwrap();
        let sample = output.pull_sample().unwrap();
        pipeline.set_state(gst::State::Null).unwrap();
        let sets = sample.caps().unwrap().structure(0).unwrap().get::<gst::Buffer>("codec_data").unwrap();
        sets.map_readable().unwrap().to_vec()
    }

    #[test]
    fn the_fastest_preset_writes_the_parameter_sets_of_every_other() {
        // Without the options all but the first two differ.
        crate::media::elements::init().unwrap();
        for (preset, ..) in PRESETS {
            let pipeline = template::build("encode-x264", "encoder").unwrap();
            let effort = Effort::of(&pipeline.by_name("encoder").unwrap(), preset).unwrap();
            assert_eq!(parameter_sets(FASTEST, Some(&effort.like)), parameter_sets(preset, None), "{preset}");
        }
    }

    #[test]
    fn there_is_nothing_faster_than_the_fastest_and_nothing_to_change_in_others() {
        crate::media::elements::init().unwrap();
        let element = |name: &str| gst::ElementFactory::make(name).build().unwrap();
        assert!(Effort::of(&element("x264enc"), FASTEST).is_none());
        assert!(Effort::of(&element("vp8enc"), "superfast").is_none());
    }
}
