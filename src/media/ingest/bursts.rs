//! What nobody needs at once goes on in bursts.
//!
//! Behind the ingest each access unit wakes a thread per output to parse it and another to write it: with what a recording gathers,
//! a bridge that copies to three outputs has 430 wake-ups a second instead of 700. Packets come in bursts already, but the jitter buffer passes them on one by one, each a moment after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use super::sync::RELEASE;

/// How much of the media goes on together at least. Less than comes together (`GATHER` in `bridge/reader.rs`), so that each of
/// those bursts makes one here.
const SPAN: gst::ClockTime = gst::ClockTime::from_mseconds(150);

/// Whether one kind of media may wait. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Bursts(Arc<AtomicBool>);

impl Bursts {
    pub(super) fn set(&self, may_wait: bool) {
        self.0.store(may_wait, Ordering::Relaxed);
    }

    /// Holds back what passes `pad` while it may wait and less than [`SPAN`] of it is there. An event that it must not overtake
    /// lets it go on, and so does [`super::sync::release`].
    pub(super) fn gather(&self, pad: &gst::Pad) {
        let held = Arc::new(Mutex::new(Vec::<gst::Buffer>::new()));
        let (bursts, events) = (self.clone(), Arc::clone(&held));
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let times = held.first().map_or(buffer.pts(), |first| first.pts()).zip(buffer.pts());
            let lasts = times.and_then(|(first, last)| last.checked_sub(first));
            if bursts.0.load(Ordering::Relaxed) && lasts.is_some_and(|lasts| lasts < SPAN) {
                held.push(buffer.to_owned());
                // Not `Drop`: with it GStreamer 1.22 releases the buffer that the binding has released already.
                return gst::PadProbeReturn::Handled;
            }
            pass_on(pad, &mut held);
            gst::PadProbeReturn::Ok
        });
        pad.add_probe(gst::PadProbeType::EVENT_BOTH, move |pad, info| {
            let Some(event) = info.event() else { return gst::PadProbeReturn::Ok };
            let asked = event.structure().is_some_and(|structure| structure.has_name(RELEASE));
            if asked || (event.is_downstream() && event.is_serialized()) {
                pass_on(pad, &mut events.lock().unwrap_or_else(PoisonError::into_inner));
            }
            gst::PadProbeReturn::Ok
        });
    }
}

fn pass_on(pad: &gst::Pad, held: &mut Vec<gst::Buffer>) {
    let Some(peer) = pad.peer() else { return };
    for buffer in held.drain(..) {
        // What the one behind it says is what the streaming thread hears.
        peer.chain(buffer).ok();
    }
}

#[cfg(test)]
mod tests {
    use gstreamer_app as gst_app;

    use super::super::tests::push;
    use super::*;

    /// A pipeline whose sink gets what passes.
    fn gathered(bursts: &Bursts) -> (gst::Pipeline, gst_app::AppSrc, gst_app::AppSink) {
        let (pipeline, source, sink) = super::super::tests::passage();
        bursts.gather(&source.static_pad("src").unwrap());
        pipeline.set_state(gst::State::Playing).unwrap();
        (pipeline, source, sink)
    }

    fn pull(sink: &gst_app::AppSink) -> Option<u64> {
        let sample = sink.try_pull_sample(gst::ClockTime::from_mseconds(200))?;
        sample.buffer()?.pts().map(gst::ClockTime::mseconds)
    }

    #[test]
    fn what_may_wait_goes_on_together_in_order_and_the_rest_at_the_end() {
        let bursts = Bursts::default();
        bursts.set(true);
        let (pipeline, source, sink) = gathered(&bursts);
        [0, 33, 66, 100, 133].iter().for_each(|ms| push(&source, *ms));
        assert_eq!(pull(&sink), None);
        push(&source, 166);
        let first: Vec<_> = (0..6).map_while(|_| pull(&sink)).collect();
        assert_eq!(first, [0, 33, 66, 100, 133, 166]);
        push(&source, 200);
        assert_eq!(pull(&sink), None);
        source.end_of_stream().unwrap();
        assert_eq!(pull(&sink), Some(200), "the end does not overtake it");
        pipeline.set_state(gst::State::Null).unwrap();
    }

    #[test]
    fn what_is_needed_at_once_does_not_wait_nor_what_runs_backwards_nor_what_is_asked_for() {
        let bursts = Bursts::default();
        let (pipeline, source, sink) = gathered(&bursts);
        push(&source, 1000);
        assert_eq!(pull(&sink), Some(1000));
        bursts.set(true);
        push(&source, 1033);
        assert_eq!(pull(&sink), None);
        push(&source, 500);
        assert_eq!([pull(&sink), pull(&sink)], [Some(1033), Some(500)]);
        push(&source, 533);
        assert_eq!(pull(&sink), None);
        super::super::sync::release(sink.upcast_ref());
        assert_eq!(pull(&sink), Some(533));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
