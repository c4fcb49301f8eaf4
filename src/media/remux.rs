//! From one file to another of the same form: streams are copied, nothing is decoded or encoded again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::bus::{BusEvent, ElementFault};
use super::clock::MediaClock;
use super::pipeline::LivePipeline;
use super::template::{self, Ends};
use super::{MediaError, pipeline};

/// How long a copy may go without getting any further.
const STUCK: Duration = Duration::from_secs(30);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Why a file could not be copied into another.
#[derive(Debug, thiserror::Error)]
pub enum RemuxError {
    /// The pipeline could not be built or started.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// An element failed, most often because the disk is full.
    #[error("{0}")]
    Element(ElementFault),
    /// The pipeline ended without its end.
    #[error("the copy ended by itself")]
    Ended,
    /// It went no further.
    #[error("no byte was read or written for {STUCK:?}")]
    Stuck,
}

/// Copies `from` to `to` by `pipelines/{template}.launch`, index first, with the streams that `ends` names. A file that
/// stops in the middle is copied up to there. `progress` is told the bytes that were read.
///
/// # Errors
/// [`RemuxError`]; what was written until then is left to the caller.
pub async fn remux(
    template: &str,
    ends: Ends,
    from: &Path,
    to: &Path,
    progress: impl Fn(u64),
) -> Result<(), RemuxError> {
    let mut live = LivePipeline::new(template::build_with(template, template, ends)?, &MediaClock::start());
    let source = live.element("source")?;
    source.set_property("location", from.to_string_lossy().as_ref());
    live.element("sink")?.set_property("location", to.to_string_lossy().as_ref());
    if let Ok(mux) = live.element("mux")
        && mux.find_property("faststart-file").is_some()
    {
        // The media waits there for its index: on the same disk, not in a directory for small things, which may be in memory.
        mux.set_property("faststart-file", waiting(to).to_string_lossy().as_ref());
    }
    if let Ok(mux) = live.element("mux") {
        mux.sink_pads().iter().for_each(keep_rate);
    }
    let result = copy(&mut live, &source, to, progress).await;
    live.stop().await;
    result
}

/// Keeps from a muxer that pictures come faster or slower: a fragmented MP4 is read with another rate in each fragment, and for
/// each of them `mp4mux` would write a further description of the stream. Decoders begin anew there, and have no keyframe.
fn keep_rate(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |pad, info| {
        let Some(event) = info.event() else { return gst::PadProbeReturn::Ok };
        let gst::EventView::Caps(caps) = event.view() else { return gst::PadProbeReturn::Ok };
        let same = pad.current_caps().is_some_and(|before| without_rate(&before) == without_rate(caps.caps()));
        // Not `Drop`: with it GStreamer 1.22 releases the event that the binding has released already.
        if same { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
    });
}

fn without_rate(caps: &gst::CapsRef) -> gst::Caps {
    let mut caps = caps.to_owned();
    caps.make_mut().iter_mut().for_each(|form| form.remove_field("framerate"));
    caps
}

/// `.call.mp4.media` for `call.mp4`.
fn waiting(file: &Path) -> PathBuf {
    file.with_file_name(format!(".{}.media", file.file_name().unwrap_or_default().to_string_lossy()))
}

async fn copy(
    live: &mut pipeline::LivePipeline,
    source: &gst::Element,
    to: &Path,
    progress: impl Fn(u64),
) -> Result<(), RemuxError> {
    live.play().await?;
    let mut look = tokio::time::interval(LOOK);
    let (mut read, mut last, mut moved) = (0, (0, 0), tokio::time::Instant::now());
    loop {
        tokio::select! {
            event = live.next_event() => match event {
                Some(BusEvent::Eos) => return Ok(()),
                None => return Err(RemuxError::Ended),
                Some(BusEvent::Error(fault)) => return Err(RemuxError::Element(fault)),
                Some(BusEvent::Warning(fault)) => tracing::debug!(%fault, "while a file was copied"),
            },
            now = look.tick() => {
                read = source.query_position::<gst::format::Bytes>().map_or(read, |bytes| *bytes);
                progress(read);
                // A muxer that puts the index first writes for a long time after it has read everything.
                let position = (read, std::fs::metadata(to).map_or(0, |file| file.len()));
                if position != last {
                    (last, moved) = (position, now);
                } else if now.duration_since(moved) > STUCK {
                    return Err(RemuxError::Stuck);
                }
            }
        }
    }
}
