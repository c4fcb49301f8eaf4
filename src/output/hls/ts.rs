//! HLS with MPEG-TS segments: GStreamer cuts and muxes, the files and the playlist are ours.
//!
//! `splitmuxsink` gives its muxer and its sink an end with each segment, and says before each of them when that begins.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use jiff::Timestamp;
use tokio::sync::watch;

use super::super::OutputError;
use super::super::attached::Attached;
use super::super::players::Play;
use super::super::spec::{HlsDestination, Stream, Tracks};
use super::super::streams::Forms;
use super::super::tail::Tail;
use super::directory::{Directory, INDEX, at_path};
use super::playlist::{Kind, Playlist};
use super::rendition::{Form, Piece, Rendition};
use super::writing::report;
use super::{earlier, keyframes};
use crate::media::MediaError;
use crate::media::pipeline::running_time;
use crate::media::producer::Patience;
use crate::probe::{self, Source, Wanted};

/// `splitmuxsink` ends a segment in front of the last keyframe before the target's length: the one that it asks for has to be there by
/// then, or the segment ends with whatever keyframe came before, halfway through. A request, a picture's time and the way back take less.
const LEAD: gst::ClockTime = gst::ClockTime::from_mseconds(250);

#[derive(Debug)]
pub(crate) struct TsTail {
    destination: HlsDestination,
    tracks: Tracks,
    /// An earlier attempt, or a bridge that is known to have been killed, has left a playlist that goes on.
    resumes: bool,
    /// What is written, and how many segments are complete.
    segments: OnceLock<(Arc<Mutex<Segments>>, watch::Receiver<u64>)>,
}

impl TsTail {
    pub(crate) fn new(destination: HlsDestination, tracks: Tracks, resumes: bool) -> Self {
        Self { destination, tracks, resumes, segments: OnceLock::new() }
    }
}

/// What comes out of the muxer, until it is in the playlist.
#[derive(Debug)]
struct Segments {
    rendition: Rendition,
    bytes: Vec<u8>,
    /// The running time at which the segment in the making begins.
    began: Option<Duration>,
    /// Where what has gone into the muxer ends.
    reached: Duration,
    complete: watch::Sender<u64>,
}

impl Segments {
    /// A segment begins, and the one before it ends.
    fn next(&mut self, begins: Duration) -> Result<(), (PathBuf, io::Error)> {
        self.close(begins)?;
        self.began = Some(begins);
        Ok(())
    }

    /// Nothing follows.
    fn end(&mut self) -> Result<(), (PathBuf, io::Error)> {
        self.close(self.reached)?;
        self.rendition.end()
    }

    fn close(&mut self, ends: Duration) -> Result<(), (PathBuf, io::Error)> {
        let bytes = std::mem::take(&mut self.bytes);
        let Some(began) = self.began.take().filter(|_| !bytes.is_empty()) else { return Ok(()) };
        let duration = ends.saturating_sub(began);
        self.rendition.push(Piece { header: None, bytes, duration, begins: true, ends: true }, Vec::new())?;
        self.complete.send_replace(self.rendition.complete);
        Ok(())
    }
}

fn locked(segments: &Mutex<Segments>) -> std::sync::MutexGuard<'_, Segments> {
    segments.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes how far the streams are that go into the muxer: the last segment ends there.
fn watch_end(sink: &gst::Element, segments: &Arc<Mutex<Segments>>) {
    for pad in sink.sink_pads() {
        let segments = Arc::clone(segments);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let end = info
                .buffer()
                .and_then(|buffer| Some(running_time(pad, buffer)? + buffer.duration().unwrap_or_default()));
            if let Some(end) = end {
                let mut segments = locked(&segments);
                segments.reached = segments.reached.max(end.into());
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// Learns when each segment begins.
fn watch_begin(sink: &gst::Element, segments: &Arc<Mutex<Segments>>) {
    let segments = Arc::clone(segments);
    sink.connect("format-location-full", false, move |values| {
        let sink = values.first()?.get::<gst::Element>().ok()?;
        let first = values.get(2)?.get::<gst::Sample>().ok()?;
        let time = first.segment()?.downcast_ref::<gst::ClockTime>()?.to_running_time(first.buffer()?.pts())?;
        let mut segments = locked(&segments);
        let age = sink.current_running_time().unwrap_or(time).saturating_sub(time);
        segments.rendition.begin(Timestamp::now().saturating_sub(Duration::from(age)).unwrap_or_default());
        if let Err(fault) = segments.next(time.into()) {
            report(&sink, &fault);
        }
        // The name of a file, of which there is none.
        Some(None::<String>.to_value())
    });
}

/// What the muxer's output goes to.
fn collector(segments: &Arc<Mutex<Segments>>) -> gst_app::AppSink {
    let segments = Arc::clone(segments);
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if let Some(bytes) = sample.buffer().and_then(|buffer| buffer.map_readable().ok()) {
            locked(&segments).bytes.extend_from_slice(&bytes);
        }
        Ok(gst::FlowSuccess::Ok)
    };
    let sink = gst_app::AppSink::builder().name("segments").sync(false).async_(false).build();
    sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
    sink
}

#[async_trait]
impl Tail for TsTail {
    fn template(&self) -> &'static str {
        "hls"
    }

    fn patience(&self) -> Patience {
        Patience::Disk
    }

    fn accept(&self, forms: &Forms) -> Result<(), OutputError> {
        let remedy = "let it send H.264 with --codecs h264, or use format=fmp4 for VP9 and AV1";
        forms.only(&["video/x-h264", "audio/mpeg"], "HLS of MPEG-TS", remedy)
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let HlsDestination { segment, list, .. } = self.destination;
        let directory = Directory(self.destination.directory.clone());
        let is_copied = self.tracks.video == Some(Stream::CopiedVideo);
        let playlist = Playlist::new(Kind::Live, segment, None);
        let mut rendition = Rendition::new((directory.clone(), Form::TransportStream), None, list as usize, playlist);
        earlier::take_up(&directory, std::iter::once(&mut rendition), self.resumes).map_err(at_path)?;
        let complete = watch::Sender::new(0);
        let counted = complete.subscribe();
        let segments = Segments { rendition, bytes: Vec::new(), began: None, reached: Duration::ZERO, complete };
        let segments = Arc::new(Mutex::new(segments));
        self.segments.set((Arc::clone(&segments), counted)).ok();

        let sink = attached.element("sink")?;
        // Its pads came with its muxer: that cannot be set here.
        let muxer = sink.find_property("muxer").and_then(|_| sink.property::<Option<gst::Element>>("muxer")?.factory());
        if muxer.is_none_or(|factory| factory.name() != "mpegtsmux") {
            let fault = "pipelines/hls.launch: `sink` must be a splitmuxsink with muxer=mpegtsmux";
            return Err(MediaError::link(fault).into());
        }
        watch_end(&sink, &segments);
        watch_begin(&sink, &segments);
        sink.set_property("sink", collector(&segments));
        sink.set_property("max-size-time", gst::ClockTime::from_seconds(segment.into()).nseconds());
        if is_copied {
            keyframes::ask_in_time(attached, LEAD)?;
        }
        Ok(())
    }

    async fn verify(&self, _: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let playlist = self.destination.directory.join(INDEX);
        let patience = Duration::from_secs(10 + 3 * u64::from(self.destination.segment));
        if let Some((_, complete)) = self.segments.get() {
            earlier::first_of_ours(complete, patience).await?;
        }
        probe::first_frames(Source::File(playlist.clone()), wanted, patience).await?;
        Ok(Play::file(&playlist))
    }

    async fn finish(&self) -> Result<(), OutputError> {
        match self.segments.get() {
            Some((segments, _)) => locked(segments).end().map_err(at_path),
            None => Ok(()),
        }
    }
}
