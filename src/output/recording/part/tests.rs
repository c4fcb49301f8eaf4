//! What a file has whose keyframes are far apart.

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use crate::media::elements;

const FRAGMENTED: &str = include_str!("../../../../pipelines/fmp4.launch");

/// The end of a stream of a file, in seconds.
fn end(file: &str, pad: &str) -> f64 {
    let text = format!("filesrc location={file} ! qtdemux name=demux demux.{pad} ! appsink name=sink sync=false");
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut end = gst::ClockTime::ZERO;
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().unwrap();
        end = end.max(buffer.pts().unwrap() + buffer.duration().unwrap());
    }
    pipeline.set_state(gst::State::Null).unwrap();
    end.nseconds() as f64 / 1e9
}

#[test]
fn sound_goes_on_to_the_end_when_keyframes_are_further_apart_than_any_fragment_is_long() {
    // With fragment-duration=2000000000 the sound ended after 2.1 s.
    elements::init().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("far.mp4").display().to_string();
    let muxer = FRAGMENTED.lines().find(|line| line.starts_with("isofmp4mux")).unwrap();
    let text = format!(
        "{muxer} filesink location={file}
         videotestsrc num-buffers=150 ! video/x-raw,width=64,height=64,framerate=30/1 !
           x264enc name=encoder key-int-max=1000 tune=zerolatency option-string=scenecut=0 ! h264parse ! queue ! mux.
         audiotestsrc num-buffers=250 samplesperbuffer=960 ! audio/x-raw,rate=48000 ! avenc_aac ! aacparse ! queue ! mux."
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    // A participant does not hear the muxer's requests for keyframes.
    let encoded = pipeline.by_name("encoder").unwrap().static_pad("src").unwrap();
    encoded.add_probe(gst::PadProbeType::EVENT_UPSTREAM, |_, _| gst::PadProbeReturn::Handled);
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let message =
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert_eq!(message.unwrap().type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
    let ends = [end(&file, "video_0"), end(&file, "audio_0")];
    assert!(ends.iter().all(|end| (4.9..5.1).contains(end)), "picture and sound end at {ends:?}");
}
