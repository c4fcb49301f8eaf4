//! Builds the pipeline that decodes a source as a player would, and takes it down in bounded time.
//!
//! Whatever it finds goes to one channel and its bus; it never judges.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gstreamer as gst;

use super::ProbeError;
use super::decode_errors::{self, Tally};
use super::observe::{self, Seen};
use super::rtp::{self, Port};
use super::source::Input;
use crate::terms::MediaKind;

/// Enough for the streaming threads to work ahead, little enough to hold them back when measuring is slower.
const CHANNEL: usize = 64;
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
const UDP_BUFFER: i32 = 2 * 1024 * 1024;

/// A pipeline that decodes.
pub(super) struct Decoding {
    pipeline: gst::Pipeline,
    pub(super) bus: gst::Bus,
    pub(super) seen: Receiver<Seen>,
    /// For an SDP: what its ports got.
    pub(super) ports: Vec<Port>,
    parts: Arc<Parts>,
    /// The descriptor that `fdsrc` reads; closed after the pipeline.
    _socket: Option<UnixStream>,
}

/// What was plugged while the pipeline runs.
#[derive(Default)]
struct Parts {
    streams: AtomicUsize,
    decoders: Mutex<Vec<(glib::WeakRef<gst::Element>, Arc<Tally>)>>,
    demuxers: Mutex<Vec<&'static str>>,
    /// WebM is Matroska with another document type, which only the type finder tells.
    is_webm: Arc<AtomicBool>,
}

/// Makes an element, or names the package that brings it.
pub(super) fn element(name: &'static str) -> Result<gst::Element, ProbeError> {
    gst::ElementFactory::make(name).build().map_err(|_| ProbeError::MissingElement {
        element: name,
        package: match name {
            "rtpbin" | "udpsrc" => "gstreamer1.0-plugins-good",
            "srtpdec" => "gstreamer1.0-plugins-bad",
            "fdsrc" => "libgstreamer1.0-0",
            _ => "gstreamer1.0-plugins-base",
        },
    })
}

impl Decoding {
    /// Builds the pipeline and sets it going.
    pub(super) fn start(input: &Input) -> Result<Self, ProbeError> {
        gst::init().map_err(|error| ProbeError::Gstreamer(error.to_string()))?;
        let pipeline = gst::Pipeline::new();
        let bus = pipeline.bus().ok_or_else(|| ProbeError::Gstreamer("a pipeline without a bus".into()))?;
        let (sender, seen) = sync_channel(CHANNEL);
        let parts = Arc::new(Parts::default());
        let of_pipeline = Arc::clone(&parts);
        pipeline.connect_deep_element_added(move |_, _, element| of_pipeline.note(element));
        let (mut ports, mut socket) = (Vec::new(), None);
        match input {
            Input::Uri(uri) => {
                let decoder = decoder("uridecodebin", &pipeline, &parts, &sender)?;
                decoder.set_property("uri", uri);
                decoder.connect("source-setup", false, |values| {
                    set_up_source(&values.get(1)?.get::<gst::Element>().ok()?);
                    None
                });
            }
            Input::Unix(path) => {
                let stream =
                    UnixStream::connect(path).map_err(|error| ProbeError::File { path: path.clone(), error })?;
                let source = element("fdsrc")?;
                source.set_property("fd", stream.as_raw_fd());
                pipeline.add(&source)?;
                source.link(&decoder("decodebin", &pipeline, &parts, &sender)?)?;
                socket = Some(stream);
            }
            Input::Sdp(text) => {
                let (weak, parts) = (pipeline.downgrade(), Arc::clone(&parts));
                ports = rtp::receive(&pipeline, text, move |pad| {
                    if let Some(pipeline) = weak.upgrade()
                        && let Err(error) = decode_pad(pad, &pipeline, &parts, &sender)
                    {
                        complain(&pipeline, &error);
                    }
                })?;
            }
        }
        let decoding = Self { pipeline, bus, seen, ports, parts, _socket: socket };
        // Why it failed is on the bus, which the measuring thread reads anyway.
        if decoding.pipeline.set_state(gst::State::Playing).is_err() {
            tracing::debug!("the probe's pipeline did not start");
        }
        Ok(decoding)
    }

    /// The formats around the streams, from the outside in.
    pub(super) fn container(&self) -> Option<String> {
        if !self.ports.is_empty() {
            return Some("RTP".into());
        }
        let names = self.parts.demuxers.lock().ok()?.join(" / ");
        let is_webm = self.parts.is_webm.load(Ordering::Relaxed);
        (!names.is_empty()).then(|| if is_webm { names.replace("Matroska", "WebM") } else { names })
    }

    /// Ends the pipeline. Returns within a few seconds even when an element hangs: then it is abandoned with its threads.
    pub(super) fn stop(self) {
        let Self { pipeline, seen, _socket: socket, .. } = self;
        // Streaming threads that wait for room in the channel must wake up before they can be joined.
        drop(seen);
        let (done, wait) = sync_channel::<()>(1);
        let stopping = std::thread::Builder::new().name("probe-stop".into()).spawn(move || {
            // What `attach` locked ends with the rest.
            for element in pipeline.children() {
                element.set_locked_state(false);
            }
            if pipeline.set_state(gst::State::Null).is_err() {
                tracing::debug!("the probe's pipeline did not stop cleanly");
            }
            drop(socket);
            done.send(()).ok();
        });
        if stopping.is_err() || wait.recv_timeout(STOP_TIMEOUT).is_err() {
            tracing::warn!("a probe's pipeline did not stop within {STOP_TIMEOUT:?}: it is abandoned");
        }
    }
}

impl Parts {
    fn note(&self, element: &gst::Element) {
        if decode_errors::is_decoder(element) {
            let tally = decode_errors::watch(element);
            if let Ok(mut decoders) = self.decoders.lock() {
                decoders.push((element.downgrade(), tally));
            }
        } else if let (Some(name), Ok(mut demuxers)) = (container_name(element), self.demuxers.lock()) {
            // HLS plugs a demuxer per variant and discontinuity.
            if !demuxers.contains(&name) {
                demuxers.push(name);
            }
        } else if element.factory().is_some_and(|factory| factory.name() == "typefind") {
            let is_webm = Arc::clone(&self.is_webm);
            element.connect("have-type", false, move |values| {
                let caps = values.get(2)?.get::<gst::Caps>().ok()?;
                is_webm.fetch_or(caps.structure(0)?.name() == "video/webm", Ordering::Relaxed);
                None
            });
        }
    }

    /// The tally of the decoder whose pictures or sound leave by this pad.
    fn tally(&self, pad: &gst::Pad) -> Option<Arc<Tally>> {
        let mut element = parent(pad)?;
        let decoders = self.decoders.lock().ok()?;
        // A decoder may be followed by a converter or two, never by many.
        for _ in 0..8 {
            let found = decoders.iter().find(|(decoder, _)| decoder.upgrade().as_ref() == Some(&element));
            if let Some((_, tally)) = found {
                return Some(Arc::clone(tally));
            }
            element = parent(&element.sink_pads().first()?.peer()?)?;
        }
        None
    }
}

/// The element behind a pad, however many bins are around it.
fn parent(pad: &gst::Pad) -> Option<gst::Element> {
    let mut pad = pad.clone();
    while let Some(ghost) = pad.downcast_ref::<gst::GhostPad>() {
        pad = ghost.target()?;
    }
    pad.parent_element()
}

fn container_name(element: &gst::Element) -> Option<&'static str> {
    let factory = element.factory()?;
    Some(match factory.name().as_str() {
        "hlsdemux" | "hlsdemux2" => "HLS",
        "tsdemux" => "MPEG-TS",
        "qtdemux" => "MP4",
        "matroskademux" => "Matroska",
        "rtspsrc" => "RTSP",
        "flvdemux" => "FLV",
        "oggdemux" => "Ogg",
        "dashdemux" => "DASH",
        _ => return None,
    })
}

fn set_up_source(source: &gst::Element) {
    match source.factory().map(|factory| factory.name()).as_deref() {
        Some("udpsrc") => source.set_property("buffer-size", UDP_BUFFER),
        Some("rtspsrc") => source.set_property("latency", 200_u32),
        _ => {}
    }
}

/// Adds a bin that decodes whatever it is given; each decoded stream gets a sink.
fn decoder(
    name: &'static str,
    pipeline: &gst::Pipeline,
    parts: &Arc<Parts>,
    seen: &SyncSender<Seen>,
) -> Result<gst::Element, ProbeError> {
    let decoder = element(name)?;
    // Hardware decoders conceal damage without a word.
    decoder.set_property("force-sw-decoders", true);
    pipeline.add(&decoder)?;
    let (weak, parts, seen) = (pipeline.downgrade(), Arc::clone(parts), seen.clone());
    decoder.connect_pad_added(move |_, pad| {
        if let Some(pipeline) = weak.upgrade()
            && let Err(error) = end_stream(pad, &pipeline, &parts, &seen)
        {
            complain(&pipeline, &error);
        }
    });
    Ok(decoder)
}

fn decode_pad(
    pad: &gst::Pad,
    pipeline: &gst::Pipeline,
    parts: &Arc<Parts>,
    seen: &SyncSender<Seen>,
) -> Result<(), ProbeError> {
    let decoder = decoder("decodebin", pipeline, parts, seen)?;
    decoder.sync_state_with_parent()?;
    let sink = decoder.static_pad("sink").ok_or_else(|| ProbeError::Gstreamer("decodebin has no sink".into()))?;
    pad.link(&sink).map_err(|error| ProbeError::Gstreamer(error.to_string()))?;
    Ok(())
}

/// Puts a sink behind a decoded stream.
fn end_stream(
    pad: &gst::Pad,
    pipeline: &gst::Pipeline,
    parts: &Parts,
    seen: &SyncSender<Seen>,
) -> Result<(), ProbeError> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let (kind, converter) = match caps.structure(0).map(|first| first.name().as_str()) {
        Some("video/x-raw") => (MediaKind::Video, "videoconvert"),
        Some("audio/x-raw") => (MediaKind::Audio, "audioconvert"),
        // Subtitles and data: taken, so that they do not stop the rest.
        _ => {
            let sink =
                gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build()?;
            return attach(pad, pipeline, &[sink]);
        }
    };
    let id = parts.streams.fetch_add(1, Ordering::Relaxed);
    // Its receiver is gone when the probe has seen enough.
    seen.send(Seen::Stream { id, kind, tally: parts.tally(pad) }).ok();
    attach(pad, pipeline, &[element(converter)?, observe::sink(id, kind, seen.clone()).upcast()])
}

fn attach(pad: &gst::Pad, pipeline: &gst::Pipeline, elements: &[gst::Element]) -> Result<(), ProbeError> {
    pipeline.add_many(elements)?;
    gst::Element::link_many(elements)?;
    // From the end, so that nothing arrives at an element that is not ready. They run already while other streams are still
    // searched for: a stream that waits for a keyframe must not hold back the others.
    for element in elements.iter().rev() {
        element.set_locked_state(true);
        element.set_state(gst::State::Playing).map_err(|error| ProbeError::Gstreamer(error.to_string()))?;
    }
    if let Some(sink) = elements.first().and_then(|first| first.static_pad("sink")) {
        pad.link(&sink).map_err(|error| ProbeError::Gstreamer(error.to_string()))?;
    }
    Ok(())
}

fn complain(pipeline: &gst::Pipeline, error: &ProbeError) {
    gst::element_error!(pipeline, gst::CoreError::Failed, ("{}", error));
}
