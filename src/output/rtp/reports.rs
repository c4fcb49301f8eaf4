//! In which order the mix's sender reports go out: the sound's, and shortly after it the pictures'.
//!
//! ffmpeg takes the stream that it hears of first for the zero of time and moves the other one to it, by up to a picture's length
//! for whoever joins in the middle. Pictures can be moved; sound that goes back is an error in every player that is made of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;

/// How often reports go out at least; RFC 3550, section 6.2, allows less than five seconds where the media is fast.
const INTERVAL: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// How long after the sound's report the pictures' goes out: a player has read the former by then, and few join in between.
const AFTER_SOUND: std::ops::Range<Duration> = Duration::from_millis(10)..Duration::from_millis(400);

/// The packet type of a sender report (RFC 3550, section 6.4.1).
const SENDER_REPORT: u8 = 200;

/// What waits for what.
#[derive(Debug, Default)]
struct State {
    /// When the sound was last reported of.
    sound: Option<Instant>,
    /// The pictures' newest report. What it relates does not change while it waits.
    pictures: Option<gst::Buffer>,
}

/// Orders the reports of a pipeline that sends both streams; whoever sends one only has nothing to order.
pub(super) fn order(pipeline: &gst::Pipeline) {
    let pad = |name: &str| pipeline.by_name(name)?.static_pad("sink");
    let (Some(reports), Some(packets), Some(sound)) = (pad("video-rtcp"), pad("audio-rtp"), pad("audio-rtcp")) else {
        return;
    };
    if let Some(rtpbin) = pipeline.by_name("rtp") {
        for session in [0_u32, 1] {
            let session = rtpbin.emit_by_name::<Option<gst::Element>>("get-session", &[&session]);
            if let Some(session) = session {
                session.set_property("rtcp-min-interval", INTERVAL.nseconds());
            }
        }
    }
    let state = Arc::new(Mutex::new(State::default()));
    let told = Arc::clone(&state);
    sound.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        told.lock().unwrap_or_else(PoisonError::into_inner).sound = Some(Instant::now());
        gst::PadProbeReturn::Ok
    });
    let Some(source) = reports.peer() else { return };
    let held = Arc::clone(&state);
    source.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(report) = info.buffer().filter(|buffer| is_report(buffer)) else { return gst::PadProbeReturn::Ok };
        held.lock().unwrap_or_else(PoisonError::into_inner).pictures = Some(report.to_owned());
        gst::PadProbeReturn::Handled
    });
    // The sound's packets are the clock: they are many, and their thread may send.
    packets.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
        let due = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let after = state.sound.map(|sound| sound.elapsed());
            after.filter(|after| AFTER_SOUND.contains(after)).and_then(|_| state.pictures.take())
        };
        if let Some(report) = due
            && let Err(error) = reports.chain(report)
        {
            tracing::debug!(%error, "a sender report was not sent");
        }
        gst::PadProbeReturn::Ok
    });
}

/// Whether a compound packet begins with a sender report. What is encrypted shows that much (RFC 3711, section 3.4).
fn is_report(compound: &gst::BufferRef) -> bool {
    let mut head = [0; 2];
    compound.copy_to_slice(0, &mut head).is_ok() && head[1] == SENDER_REPORT
}
