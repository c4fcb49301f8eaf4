//! What both sides get: one encoding of one test picture, as a file for the plain pipeline and as RTP packets for the
//! bridge. A white flash of three frames starts on each second; its edges are what latency is measured with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

/// How much media there is.
pub(crate) const LENGTH: Duration = Duration::from_secs(30);
pub(crate) const FPS: u64 = 30;
const FLASH_FRAMES: u64 = 3;

/// One encoding as RTP packets and as a file.
#[derive(Debug)]
pub(crate) struct Input {
    /// Matroska with VP8 and Opus.
    pub(crate) file: PathBuf,
    pub(crate) video: Vec<Unit>,
    pub(crate) audio: Vec<Unit>,
}

/// The packets of one picture or of one piece of sound.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Since the start of the media.
    pub(crate) time: Duration,
    pub(crate) packets: Vec<Bytes>,
}

impl Input {
    pub(crate) fn make(directory: &Path) -> Self {
        eprintln!("encoding {LENGTH:?} of 720p VP8 and Opus …");
        let file = directory.join("input.mkv");
        let (frames, blocks) = (LENGTH.as_secs() * FPS, LENGTH.as_secs() * 100);
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc pattern=ball motion=wavy num-buffers={frames} !
               capsfilter name=draw caps=video/x-raw,format=I420,width=1280,height=720,framerate={FPS}/1 ! queue !
               vp8enc deadline=1 cpu-used=8 threads=1 end-usage=cbr error-resilient=default lag-in-frames=0
                 keyframe-max-dist={} target-bitrate=1500000 ! tee name=v
             v. ! queue ! mux.
             v. ! queue ! rtpvp8pay mtu=1200 picture-id-mode=2 ! appsink name=video sync=false
             audiotestsrc wave=pink-noise volume=0.2 samplesperbuffer=480 num-buffers={blocks} !
               audio/x-raw,rate=48000,channels=2 ! audioconvert ! opusenc bitrate=64000 ! tee name=a
             a. ! queue ! mux.
             a. ! queue ! rtpopuspay mtu=1200 ! appsink name=audio sync=false
             matroskamux name=mux ! filesink name=file",
            2 * FPS
        ))
        .expect("the input's pipeline")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
        let element = |name: &str| pipeline.by_name(name).expect("a named element");
        element("file").set_property("location", file.to_str().expect("a path in UTF-8"));
        draw(&element("draw").static_pad("src").expect("a pad"));
        let collect = |name: &str| {
            let (sender, receiver) = std::sync::mpsc::channel();
            let sink = element(name).downcast::<gst_app::AppSink>().expect("an appsink");
            let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                sender.send(sample).ok();
                Ok(gst::FlowSuccess::Ok)
            });
            sink.set_callbacks(callbacks.build());
            receiver
        };
        let (video, audio) = (collect("video"), collect("audio"));
        pipeline.set_state(gst::State::Playing).expect("it plays");
        let end = pipeline
            .bus()
            .and_then(|bus| {
                bus.timed_pop_filtered(
                    gst::ClockTime::from_seconds(300),
                    &[gst::MessageType::Eos, gst::MessageType::Error],
                )
            })
            .expect("the input is encoded within five minutes");
        assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
        pipeline.set_state(gst::State::Null).expect("it stops");
        drop(pipeline);
        Self { file, video: units(&video), audio: units(&audio) }
    }
}

/// Whether the picture at this time is white.
pub(crate) fn is_bright(time: Duration) -> bool {
    // Half a frame is added because times are rounded down.
    let frame = (u64::try_from(time.as_micros()).unwrap_or(0) * FPS + 500_000) / 1_000_000;
    frame % FPS < FLASH_FRAMES
}

/// Groups packets by their time.
fn units(samples: &std::sync::mpsc::Receiver<gst::Sample>) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for sample in samples.try_iter() {
        let mut add = |buffer: &gst::BufferRef| {
            let time = Duration::from(buffer.pts().expect("packets have times"));
            let bytes = Bytes::copy_from_slice(&buffer.map_readable().expect("readable memory"));
            match units.last_mut().filter(|unit| unit.time == time) {
                Some(unit) => unit.packets.push(bytes),
                None => units.push(Unit { time, packets: vec![bytes] }),
            }
        };
        match (sample.buffer_list(), sample.buffer()) {
            (Some(list), _) => list.iter().for_each(&mut add),
            (None, Some(buffer)) => add(buffer),
            (None, None) => {}
        }
    }
    assert!(units.len() > 100, "the input has {} units", units.len());
    units
}

/// A texture that moves and is as hard to encode as a camera's picture, and the flash.
fn draw(pad: &gst::Pad) {
    let row: Vec<u8> = (0..1280 + 64).map(|x: u64| u8::try_from((x * x / 3 + x * 7) % 40).unwrap_or(0)).collect();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let video = pad.current_caps().and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok());
        let time = info.buffer().and_then(|buffer| buffer.pts());
        if let (Some(video), Some(time), Some(buffer)) = (video, time, info.buffer_mut())
            && let Ok(mut frame) = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer.make_mut(), &video)
        {
            let (bright, shift) = (is_bright(time.into()), time.mseconds() / 25);
            let stride = frame.plane_stride()[0].unsigned_abs() as usize;
            let luma = frame.plane_data_mut(0).expect("luma");
            if bright {
                luma.fill(235);
                return gst::PadProbeReturn::Ok;
            }
            for (y, line) in luma.chunks_exact_mut(stride).enumerate() {
                let offset = ((shift + y as u64 / 16) % 64) as usize;
                for (sample, texture) in line.iter_mut().zip(&row[offset..]) {
                    *sample = *sample / 2 + texture + 8;
                }
            }
        }
        gst::PadProbeReturn::Ok
    });
}
