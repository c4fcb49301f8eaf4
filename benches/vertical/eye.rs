//! Looks at H.264: which pictures are bright, and which latency follows from when they were sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

/// Halfway between the dark texture and the flash.
const THRESHOLD: u64 = 128;

/// A latency above this is a picture that never came.
const LOST: Duration = Duration::from_millis(800);

/// A picture that was sent or seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture {
    pub(crate) at: Instant,
    pub(crate) bright: bool,
}

/// What the decoder gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoded {
    pub(crate) pts: gst::ClockTime,
    pub(crate) bright: bool,
    pub(crate) at: Instant,
}

/// A decoder that only wants to know how bright pictures are.
pub(crate) struct Eye {
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) source: gst_app::AppSrc,
    decoded: Arc<Mutex<Vec<Decoded>>>,
}

impl Eye {
    /// Decodes what `front` (a depayloader or a parser) makes of the pushed buffers.
    pub(crate) fn new(caps: &str, front: &str) -> Self {
        let text = format!(
            "appsrc name=source is-live=true format=time caps=\"{caps}\" ! {front} ! avdec_h264 max-threads=1 !
             appsink name=decoded sync=false async=false"
        );
        let pipeline = gst::parse::launch(&text).expect("the eye's pipeline").downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("source").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let sink = pipeline.by_name("decoded").unwrap().downcast::<gst_app::AppSink>().unwrap();
        let decoded = Arc::new(Mutex::new(Vec::new()));
        let decoded_in = Arc::clone(&decoded);
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let at = Instant::now();
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(buffer) = sample.buffer()
                && let (Some(pts), Ok(map)) = (buffer.pts(), buffer.map_readable())
            {
                // I420 begins with its luma: two thirds of the bytes.
                let luma = &map[..map.len() * 2 / 3];
                let samples = luma.len().div_ceil(97) as u64;
                let sum: u64 = luma.iter().step_by(97).map(|&sample| u64::from(sample)).sum();
                let bright = sum / samples.max(1) > THRESHOLD;
                decoded_in.lock().unwrap_or_else(PoisonError::into_inner).push(Decoded { pts, bright, at });
            }
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
        Self { pipeline, source, decoded }
    }

    pub(crate) fn play(&self) {
        self.pipeline.set_state(gst::State::Playing).expect("the eye opens");
    }

    pub(crate) fn push(&self, pts: gst::ClockTime, bytes: &[u8]) {
        let mut buffer = gst::Buffer::from_slice(bytes.to_vec());
        buffer.get_mut().unwrap().set_pts(pts);
        self.source.push_buffer(buffer).ok();
    }

    /// Everything that was decoded so far.
    pub(crate) fn decoded(&self) -> Vec<Decoded> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Eye {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).ok();
    }
}

/// For each change between dark and bright that was sent, how many milliseconds later it was seen. A change that was
/// never seen counts as infinitely late.
pub(crate) fn latencies(sent: &[Picture], seen: &[Picture]) -> Vec<f64> {
    let changes = |pictures: &[Picture]| -> Vec<Picture> {
        pictures.windows(2).filter(|pair| pair[0].bright != pair[1].bright).map(|pair| pair[1]).collect()
    };
    let seen = changes(seen);
    changes(sent)
        .iter()
        .map(|sent| {
            let same = |seen: &&Picture| seen.bright == sent.bright && seen.at >= sent.at && seen.at < sent.at + LOST;
            seen.iter().find(same).map_or(f64::INFINITY, |seen| (seen.at - sent.at).as_secs_f64() * 1000.0)
        })
        .collect()
}
