//! From a packet to the encoded picture, in this process: ingest, mixer and encoder as the bridge connects them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use roomcast::media::clock::MediaClock;
use roomcast::media::encoder::{EncoderChoice, EncoderSettings, StreamEncoder};
use roomcast::media::ingest::{Decoding, Ingest, IngestSettings, Input as IngestInput};
use roomcast::media::layout::{Rect, Size};
use roomcast::media::mixer::{Canvas, Mixer};
use roomcast::media::pipeline::LivePipeline;
use roomcast::media::producer::Patience;
use roomcast::terms::{Codec, MediaKind};
use tokio::sync::Notify;

use super::eye::{Eye, Picture, latencies};
use super::input::{Input, is_bright};
use super::latency::{STRETCH, WINDOW};
use super::sender::{renumber, rtp_time};
use super::table::{Table, percentile};

const JITTER: Duration = Duration::from_millis(200);
const SIZE: Size = Size { width: 1280, height: 720 };

pub(crate) async fn measure(input: &Arc<Input>, table: &mut Table) {
    let clock = MediaClock::start();
    let mut mixer = Mixer::new(&clock, MediaKind::Video, Canvas { size: SIZE, fps: 30 }, JITTER).expect("a mixer");
    let settings = EncoderSettings {
        video_bitrate: 2_000_000,
        audio_bitrate: 128_000,
        keyframe_distance: 60,
        preset: "superfast".to_owned(),
    };
    let encoder = EncoderChoice::Auto.resolve().expect("an H.264 encoder");
    let picture = mixer.producer().clone();
    let mut encoder = StreamEncoder::h264(&clock, &picture, encoder, &settings).expect("an encoder");

    let eye = Eye::new("video/x-h264", "h264parse");
    let _feed = encoder.producer().feed(&eye.source, Patience::Output).expect("the eye takes access units");
    let arrivals = Arc::new(Mutex::new(HashMap::new()));
    let arrivals_in = Arc::clone(&arrivals);
    eye.source.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()) {
            arrivals_in.lock().unwrap_or_else(PoisonError::into_inner).entry(pts).or_insert_with(Instant::now);
        }
        gst::PadProbeReturn::Ok
    });
    let mut looking = LivePipeline::new(eye.pipeline.clone(), &clock);
    looking.play().await.expect("the eye opens");

    // The order in which the bridge starts them, see src/bridge/mix.rs.
    encoder.play().await.expect("the encoder plays");
    mixer.play().await.expect("the mixer plays");
    encoder.producer().first_buffer().await;
    mixer.recalculate_latency();
    let decode = Decoding { audio: false, video: true };
    let mut ingest = Ingest::new("bench", &clock, IngestSettings { jitter: JITTER, decode }, Arc::new(Notify::new()))
        .expect("an ingest");
    ingest.play().await.expect("the ingest plays");
    let entry = ingest.input(MediaKind::Video);
    let place = mixer.attach(ingest.raw(MediaKind::Video)).expect("a place in the mix");
    place.place(Some(Rect { x: 0, y: 0, width: SIZE.width, height: SIZE.height }));
    mixer.recalculate_latency();

    let input = Arc::clone(input);
    let sent = tokio::task::spawn_blocking(move || send(&input, entry)).await.expect("packets are sent");
    tokio::time::sleep(Duration::from_millis(500)).await;
    mixer.detach(place);
    ingest.stop().await;
    encoder.stop().await;
    mixer.stop().await;
    looking.stop().await;

    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen: Vec<_> = eye
        .decoded()
        .iter()
        .filter_map(|picture| Some(Picture { at: *arrivals.get(&picture.pts)?, bright: picture.bright }))
        .collect();
    seen.sort_by_key(|picture| picture.at);
    let samples = latencies(&sent, &seen);
    eprintln!("{} samples", samples.len());
    table.add("RTP packet in to encoded frame, p50", percentile(&samples, 0.5), "ms", Some(25.0));
    table.add("RTP packet in to encoded frame, p95", percentile(&samples, 0.95), "ms", None);
}

/// Pushes the pictures' packets at their times, from a thread that does nothing else.
fn send(input: &Input, mut entry: IngestInput) -> Vec<Picture> {
    let start = Instant::now();
    let mut sequence_number: u16 = 0;
    let mut sent = Vec::new();
    for unit in input.video.iter().take_while(|unit| unit.time < WINDOW) {
        let time = unit.time.mul_f64(STRETCH);
        std::thread::sleep((start + time).saturating_duration_since(Instant::now()));
        sent.push(Picture { at: Instant::now(), bright: is_bright(unit.time) });
        for packet in &unit.packets {
            let bytes = renumber(packet, sequence_number, rtp_time(time, Codec::Vp8));
            entry.push_rtp(Codec::Vp8, 96, bytes.len(), |buffer| buffer.copy_from_slice(&bytes));
            sequence_number = sequence_number.wrapping_add(1);
        }
    }
    sent
}
