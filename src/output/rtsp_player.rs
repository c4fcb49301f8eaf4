//! One player of an RTSP server: a pipeline that is fed with the same streams as everybody else's, and begins with a keyframe.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::glib::translate::IntoGlib;
use gst::prelude::*;
use gst_rtsp_server::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as gst_rtsp_server;
use gstreamer_video as gst_video;

use crate::media::MediaError;
use crate::media::clock::MediaClock;
use crate::media::producer::{Feed, Patience, Producer};

/// A stream in which nothing came for so long stands still.
const STILL: Duration = Duration::from_secs(2);

/// What every player gets.
#[derive(Clone, Debug)]
pub(crate) struct Programme {
    /// The pipeline of one player, in the words of `gst-launch`.
    pub(crate) launch: String,
    /// What feeds it.
    pub(crate) ends: Vec<End>,
    /// The clock on which they come.
    pub(crate) clock: MediaClock,
    /// How long after its moment on this clock everything leaves.
    pub(crate) latency: gst::ClockTime,
}

/// One stream of it.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// The `appsrc` that is fed.
    pub(crate) name: &'static str,
    /// What feeds it.
    pub(crate) producer: Producer,
    /// The running time, in ns, up to which something has come.
    pub(crate) reached: Arc<AtomicU64>,
}

impl Programme {
    /// Whether something comes in every stream. Whoever asked for a stream in which nothing comes would wait for it, and
    /// everybody else for them.
    pub(super) fn flows(&self) -> bool {
        let now = self.clock.running_time().nseconds();
        let age = |end: &End| Duration::from_nanos(now.saturating_sub(end.reached.load(Ordering::Relaxed)));
        self.ends.iter().all(|end| age(end) < STILL)
    }
}

/// Feeds one player's pipeline until it ends.
pub(super) fn feed(
    media: &gst_rtsp_server::RTSPMedia,
    programme: &Programme,
    players: &Arc<AtomicUsize>,
) -> Result<(), MediaError> {
    let missing = |what: &str| MediaError::Link(format!("the pipeline of an RTSP player has no {what}"));
    let bin = media.element().downcast::<gst::Bin>().map_err(|_| missing("bin"))?;
    let pipeline = bin.parent().and_downcast::<gst::Pipeline>().ok_or_else(|| missing("pipeline"))?;
    programme.clock.apply(&pipeline);
    if !programme.latency.is_zero() {
        pipeline.set_latency(programme.latency);
    }
    pipeline.connect_element_added(|_, element| {
        if element.factory().is_some_and(|factory| factory.name() == "rtpbin") {
            // Sender reports relate two clocks. Read one after the other on a busy machine, they would not fit together.
            element.set_property_from_str("ntp-time-source", "clock-time");
        }
    });
    let mut feeds = Vec::new();
    let mut pads = BTreeMap::new();
    for End { name, producer, .. } in &programme.ends {
        let appsrc = bin.by_name(name).and_downcast::<gst_app::AppSrc>().ok_or_else(|| missing(name))?;
        feeds.push(producer.feed(&appsrc, Patience::Output)?);
        pads.extend(appsrc.static_pad("src").map(|pad| (*name, pad)));
    }
    if let Some(video) = pads.get("video") {
        go_on_with_keyframe(video);
        if let Some(audio) = pads.get("audio") {
            start_together(media, video, audio);
        }
    }
    let player = Mutex::new(Some(Player::new(feeds, players)));
    media.connect_unprepared(move |_| drop(player.lock().unwrap_or_else(PoisonError::into_inner).take()));
    Ok(())
}

/// After a gap, which a player makes that does not read for a while, pictures that need what is missing would be torn: they are
/// left out until a keyframe comes, and one is asked for.
fn go_on_with_keyframe(pad: &gst::Pad) {
    let waiting = AtomicBool::new(false);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(flags) = info.buffer().map(|buffer| buffer.flags()) else { return gst::PadProbeReturn::Ok };
        if !flags.contains(gst::BufferFlags::DELTA_UNIT) {
            waiting.store(false, Ordering::Relaxed);
        } else if flags.contains(gst::BufferFlags::DISCONT) {
            waiting.store(true, Ordering::Relaxed);
            let request = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            if !pad.send_event(request) {
                tracing::debug!("no keyframe could be asked for after a gap");
            }
        }
        if waiting.load(Ordering::Relaxed) { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
    });
}

/// Lets sound begin with the first picture, each time that the pipeline starts: it does for DESCRIBE and for PLAY. Until the
/// first sender reports, receivers take the first packets of both for simultaneous.
fn start_together(media: &gst_rtsp_server::RTSPMedia, video: &gst::Pad, audio: &gst::Pad) {
    // Running time in ns; MAX while there is no picture.
    let first = Arc::new(AtomicU64::new(u64::MAX));
    let start = Arc::clone(&first);
    media.connect_target_state(move |_, state| {
        if state == gst::State::Paused.into_glib() {
            start.store(u64::MAX, Ordering::Relaxed);
        }
    });
    let picture = Arc::clone(&first);
    video.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(time) = info.buffer().and_then(|buffer| buffer.pts()) {
            // Every later picture finds the first one there.
            picture.compare_exchange(u64::MAX, time.nseconds(), Ordering::Relaxed, Ordering::Relaxed).ok();
        }
        gst::PadProbeReturn::Ok
    });
    audio.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let early = |time: gst::ClockTime| time.nseconds() < first.load(Ordering::Relaxed);
        match info.buffer().and_then(|buffer| buffer.pts()) {
            Some(time) if early(time) => gst::PadProbeReturn::Handled,
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

/// Somebody who is fed, and counted.
struct Player {
    _feeds: Vec<Feed>,
    players: Arc<AtomicUsize>,
}

impl Player {
    fn new(feeds: Vec<Feed>, players: &Arc<AtomicUsize>) -> Self {
        let count = players.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(count, "an RTSP player has come");
        Self { _feeds: feeds, players: Arc::clone(players) }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let count = self.players.fetch_sub(1, Ordering::Relaxed) - 1;
        tracing::debug!(count, "an RTSP player has gone");
    }
}
