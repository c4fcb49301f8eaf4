//! The streams that a bridge makes, and those of them that one output takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use gstreamer as gst;

use super::OutputError;
use super::spec::{OutputSpec, Stream};
use crate::media::producer::Producer;
use crate::media::template::{Ends, Parser};
use crate::rtp::Tap;

/// The elementary streams that there are. A stream that no output wants is not made.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    producers: BTreeMap<Stream, Producer>,
    taps: BTreeMap<Stream, Arc<Tap>>,
}

impl Streams {
    /// Adds a stream, or replaces it.
    pub fn insert(&mut self, stream: Stream, producer: Producer) {
        self.producers.insert(stream, producer);
    }

    /// Adds a stream of packets, or replaces it.
    pub fn insert_tap(&mut self, stream: Stream, tap: Arc<Tap>) {
        self.taps.insert(stream, tap);
    }

    /// Takes a stream away.
    pub fn remove(&mut self, stream: Stream) {
        self.producers.remove(&stream);
        self.taps.remove(&stream);
    }

    /// One of them.
    pub fn get(&self, stream: Stream) -> Option<&Producer> {
        self.producers.get(&stream)
    }

    /// One of those that are packets.
    pub fn tap(&self, stream: Stream) -> Option<&Arc<Tap>> {
        self.taps.get(&stream)
    }

    /// Those that are packets.
    pub fn packets(&self) -> impl Iterator<Item = Stream> {
        self.taps.keys().copied()
    }

    /// Whether there is such a stream.
    pub fn has(&self, stream: Stream) -> bool {
        self.producers.contains_key(&stream) || self.taps.contains_key(&stream)
    }

    /// Those that an output takes.
    pub(crate) fn sources(&self, spec: &OutputSpec) -> Result<Sources, OutputError> {
        let find = |stream| self.get(stream).cloned().ok_or(OutputError::NoStream(stream));
        // Packets do not pass the output's pipeline.
        let unpacked = |stream: Option<Stream>| stream.filter(|stream| !stream.is_packets());
        Ok(Sources {
            video: unpacked(spec.tracks.video).map(find).transpose()?,
            audio: unpacked(spec.tracks.audio).map(find).transpose()?,
            lower: spec.lower().iter().copied().map(find).collect::<Result<_, _>>()?,
        })
    }
}

/// What one output's pipeline is fed with.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) video: Option<Producer>,
    pub(crate) audio: Option<Producer>,
    /// The same picture in smaller sizes, of the same form.
    pub(crate) lower: Vec<Producer>,
}

/// The form of each source.
#[derive(Clone, Debug)]
pub(crate) struct Forms {
    pub(crate) video: Option<gst::Caps>,
    pub(crate) audio: Option<gst::Caps>,
    /// How many smaller pictures there are.
    pub(crate) lower: usize,
}

impl Sources {
    /// Waits until something has flowed in each: only then is it known what a participant sends.
    pub(crate) async fn forms(&self) -> Forms {
        let form = async |producer: &Option<Producer>| match producer {
            Some(producer) => Some(producer.caps().await),
            None => None,
        };
        Forms { video: form(&self.video).await, audio: form(&self.audio).await, lower: self.lower.len() }
    }

    /// Waits for a picture, or for sound where there are no pictures.
    pub(crate) async fn first_buffer(&self) {
        if let Some(producer) = self.video.as_ref().or(self.audio.as_ref()) {
            producer.first_buffer().await;
        }
    }
}

impl Forms {
    /// Refuses everything but H.264 and AAC.
    pub(crate) fn h264_and_aac(&self, container: &'static str) -> Result<(), OutputError> {
        self.only(&["video/x-h264", "audio/mpeg"], container, "let it send H.264 with --codecs h264")
    }

    /// Refuses codecs that are not in the list, which holds the names of caps.
    pub(crate) fn only(
        &self,
        known: &[&str],
        container: &'static str,
        remedy: &'static str,
    ) -> Result<(), OutputError> {
        for (caps, setting) in [(&self.video, "video"), (&self.audio, "audio")] {
            let Some(form) = caps.as_ref().and_then(|caps| caps.structure(0)) else { continue };
            if !known.contains(&form.name().as_str()) {
                let codec = form.name().split_once("/x-").map_or(form.name().as_str(), |(_, codec)| codec);
                return Err(OutputError::WrongCodec { codec: codec.to_uppercase(), container, remedy, setting });
            }
        }
        Ok(())
    }

    /// What each stream passes first in the output's pipeline.
    pub(crate) fn ends(&self) -> Result<Ends, OutputError> {
        let parser = |caps: &Option<gst::Caps>| {
            let unknown = |caps: &gst::Caps| OutputError::UnknownForm(caps.to_string());
            caps.as_ref().map(|caps| Parser::for_caps(caps).ok_or_else(|| unknown(caps))).transpose()
        };
        Ok(Ends { video: parser(&self.video)?, audio: parser(&self.audio)?, lower: self.lower })
    }
}
