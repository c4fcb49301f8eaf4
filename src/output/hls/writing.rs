//! From a muxer to the files: what its sink gets is told apart into headers, fragments and chunks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_pbutils as gst_pbutils;
use jiff::Timestamp;

use super::cutting::Cuts;
use super::master::Picture;
use super::presentation::Presentation;
use super::rendition::Piece;

/// Writes everything that comes out of `mux` as rendition `index`.
pub(super) fn write(
    sink: &gst_app::AppSink,
    mux: &gst::Element,
    index: usize,
    cuts: Cuts,
    presentation: Arc<Mutex<Presentation>>,
) {
    // A fragment's header and media come together.
    sink.set_property("buffer-list", true);
    let ended = Arc::clone(&presentation);
    let mux = mux.downgrade();
    let mut begun = false;
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let mux = mux.upgrade().ok_or(gst::FlowError::Eos)?;
        let Some(mut piece) = piece(&sample) else { return Ok(gst::FlowSuccess::Ok) };
        let mut presentation = presentation.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(track) = presentation.track(index) {
            if !begun && let Some(start) = cuts.start() {
                begun = true;
                let age = sink.current_running_time().map_or(Duration::ZERO, Duration::from).saturating_sub(start);
                track.rendition.begin(Timestamp::now().saturating_sub(age).unwrap_or_default());
            }
            if track.known.is_none() {
                track.known = known(&mux);
            }
        }
        match cuts.next() {
            Some((duration, ends)) => (piece.duration, piece.ends) = (duration, ends),
            None => piece.ends = true,
        }
        presentation.push(index, piece).map_err(|fault| {
            report(sink, &fault);
            gst::FlowError::Error
        })?;
        Ok(gst::FlowSuccess::Ok)
    };
    let eos = move |sink: &gst_app::AppSink| {
        let mut presentation = ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(fault) = presentation.end(index) {
            report(sink, &fault);
        }
    };
    sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).eos(eos).build());
}

/// What could not be written ends the output, in words that name the file.
pub(super) fn report(element: &impl IsA<gst::Element>, (path, error): &(PathBuf, std::io::Error)) {
    gst::element_error!(element, gst::ResourceError::Write, ("{}: {error}", path.display()));
}

/// Reads what the muxer pushes at once: perhaps a header of the whole stream, then that of a fragment or a chunk, then media.
fn piece(sample: &gst::Sample) -> Option<Piece> {
    let mut piece = Piece { header: None, bytes: Vec::new(), duration: Duration::ZERO, begins: false, ends: false };
    let mut add = |buffer: &gst::BufferRef| {
        let Ok(map) = buffer.map_readable() else { return };
        let flags = buffer.flags();
        if flags.contains(gst::BufferFlags::HEADER | gst::BufferFlags::DISCONT) {
            piece.header = Some(map.to_vec());
            return;
        }
        if flags.contains(gst::BufferFlags::HEADER) {
            piece.begins = !flags.contains(gst::BufferFlags::DELTA_UNIT);
            piece.duration = buffer.duration().map_or(Duration::ZERO, Duration::from);
        }
        piece.bytes.extend_from_slice(&map);
    };
    match (sample.buffer_list(), sample.buffer()) {
        (Some(list), _) => list.iter().for_each(&mut add),
        (None, Some(buffer)) => add(buffer),
        (None, None) => {}
    }
    (!piece.bytes.is_empty()).then_some(piece)
}

/// The codecs (RFC 6381) and the picture of what a muxer gets.
fn known(mux: &gst::Element) -> Option<(String, Option<Picture>)> {
    let (mut codecs, mut picture) = (Vec::new(), None);
    for pad in mux.sink_pads() {
        let caps = pad.current_caps()?;
        codecs.push(gst_pbutils::codec_utils_caps_get_mime_codec(&caps).ok()?.to_string());
        let form = caps.structure(0)?;
        if let (Ok(width), Ok(height)) = (form.get::<i32>("width"), form.get::<i32>("height")) {
            let rate = form.get::<gst::Fraction>("framerate").ok();
            picture = Some((
                width,
                height,
                rate.map_or(30.0, |rate| f64::from(rate.numer()) / f64::from(rate.denom().max(1))),
            ));
        }
    }
    Some((codecs.join(","), picture))
}
