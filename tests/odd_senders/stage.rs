//! One participant's ingest with a mix of its own, and somebody who watches and listens.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use roomcast::media::bus::BusEvent;
use roomcast::media::clock::MediaClock;
use roomcast::media::ingest::{Decoding, Ingest, IngestSettings};
use roomcast::media::layout::{Rect, Size};
use roomcast::media::mixer::{Canvas, Mixer};
use roomcast::media::pipeline::LivePipeline;
use roomcast::media::producer::{Feed, Patience, Producer};
use roomcast::terms::MediaKind;
use tokio::sync::Notify;

use crate::sender::Sender;

const SIZE: Size = Size { width: 160, height: 90 };
const JITTER: Duration = Duration::from_millis(200);
/// The mean luma between a dark picture and a flash, also of a square one between black borders.
const BRIGHT: u64 = 80;
const DECODE_SOUND: &str =
    "opusdec ! audioconvert ! capsfilter caps=audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved";
/// RMS of a beep, of 32 768.
const LOUD: f64 = 3_000.0;

/// When it flashes and beeps.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) flashes: Vec<f64>,
    pub(crate) beeps: Vec<f64>,
}

/// What came out of the mix, in seconds since the first packet was sent.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) flashes: Vec<f64>,
    pub(crate) beeps: Vec<f64>,
    /// First and last moment of the mixed picture and sound, and how much of it there is.
    pub(crate) pictures: (f64, f64, f64),
    pub(crate) sound: (f64, f64, f64),
    /// The same marks in what is copied: not decoded by the ingest, as a recording has it.
    pub(crate) copied: Option<Marks>,
    /// Pictures of the participant that were decoded.
    pub(crate) decoded: u64,
    /// How often a keyframe was asked for.
    pub(crate) asked: u64,
    /// Why the participant's media ended, if it did.
    pub(crate) error: Option<String>,
}

/// The beginning, the length and the mean brightness or loudness of each piece.
type Pieces = Arc<Mutex<Vec<(f64, f64, f64)>>>;

/// Sends everything at its time, and `after` that watches on; also what is copied, if it is VP8.
pub(crate) async fn play(sender: Sender, after: Duration, copied: bool) -> Seen {
    let clock = MediaClock::start();
    let canvas = Canvas { size: SIZE, fps: 30 };
    let mut mixers =
        [MediaKind::Video, MediaKind::Audio].map(|kind| Mixer::new(&clock, kind, canvas, JITTER).expect("a mixer"));
    let mut eyes = Vec::new();
    for mixer in &mixers {
        eyes.push(watch(&clock, mixer.producer(), "identity").await);
    }
    for mixer in &mut mixers {
        mixer.play().await.expect("the mixer plays");
    }
    for mixer in &mixers {
        mixer.producer().first_buffer().await;
        mixer.recalculate_latency();
    }
    let settings = IngestSettings { jitter: JITTER, decode: Decoding { audio: true, video: true } };
    let wanted = Arc::new(Notify::new());
    let mut ingest = Ingest::new("odd", &clock, settings, Arc::clone(&wanted)).expect("an ingest");
    let mut copies = Vec::new();
    for (kind, decode) in [(MediaKind::Video, "vp8dec"), (MediaKind::Audio, DECODE_SOUND)] {
        if copied {
            copies.push(watch(&clock, ingest.encoded(kind), decode).await);
        }
    }
    ingest.play().await.expect("the ingest plays");
    let inputs = [&mixers[0], &mixers[1]]
        .into_iter()
        .zip([MediaKind::Video, MediaKind::Audio])
        .map(|(mixer, kind)| {
            let input = mixer.attach(ingest.raw(kind)).expect("a place in the mix");
            input.place(Some(Rect { x: 0, y: 0, width: SIZE.width, height: SIZE.height }));
            mixer.recalculate_latency();
            input
        })
        .collect::<Vec<_>>();
    let asked = tokio::spawn(async move {
        let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
        (count.clone(), async move {
            loop {
                wanted.notified().await;
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        })
    })
    .await
    .expect("a counter");
    let counting = tokio::spawn(asked.1);
    let entries = [MediaKind::Audio, MediaKind::Video].map(|kind| ingest.input(kind));
    let began = clock.running_time();
    tokio::task::spawn_blocking(move || send(sender, entries)).await.expect("packets are sent");
    tokio::time::sleep(after).await;
    let mut error = None;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(10), ingest.next_event()).await {
        if let BusEvent::Error(fault) = event {
            error.get_or_insert(fault.to_string());
        }
    }
    let decoded = ingest.frames();
    for (mixer, input) in mixers.iter().zip(inputs) {
        mixer.detach(input);
    }
    counting.abort();
    assert!(ingest.stop().await, "the ingest stops in time");
    for mixer in &mixers {
        assert!(mixer.stop().await, "the mixer stops in time");
    }
    let mut pieces = Vec::new();
    for (pipeline, feed, seen) in eyes.into_iter().chain(copies) {
        drop(feed);
        assert!(pipeline.stop().await);
        let began = Duration::from(began).as_secs_f64();
        pieces.push(seen.lock().unwrap().iter().map(|(at, long, what)| (at - began, *long, *what)).collect::<Vec<_>>());
    }
    let copied =
        (pieces.len() == 4).then(|| Marks { flashes: onsets(&pieces[2], 0.3), beeps: onsets(&pieces[3], 0.3) });
    Seen {
        copied,
        flashes: onsets(&pieces[0], 0.3),
        beeps: onsets(&pieces[1], 0.3),
        pictures: extent(&pieces[0]),
        sound: extent(&pieces[1]),
        decoded,
        asked: asked.0.load(std::sync::atomic::Ordering::Relaxed),
        error,
    }
}

/// From a thread that does nothing else.
fn send(sender: Sender, mut entries: [roomcast::media::ingest::Input; 2]) {
    let start = Instant::now();
    for sent in sender.0 {
        std::thread::sleep((start + Duration::from_secs_f64(sent.at)).saturating_duration_since(Instant::now()));
        let entry = &mut entries[usize::from(sent.codec.kind() == MediaKind::Video)];
        if sent.report {
            entry.push_rtcp(&sent.bytes);
        } else {
            let payload_type = sent.bytes[1] & 0x7f;
            entry.push_rtp(sent.codec, payload_type, sent.bytes.len(), |buffer| buffer.copy_from_slice(&sent.bytes));
        }
    }
}

async fn watch(clock: &MediaClock, producer: &Producer, decode: &str) -> (LivePipeline, Feed, Pieces) {
    let source = gst_app::AppSrc::builder().build();
    let sink = gst_app::AppSink::builder().sync(false).async_(false).build();
    let pipeline = gst::Pipeline::new();
    let decode = gst::parse::bin_from_description(decode, true).unwrap();
    let chain = [source.upcast_ref::<gst::Element>(), decode.upcast_ref(), sink.upcast_ref()];
    pipeline.add_many(chain).unwrap();
    gst::Element::link_many(chain).unwrap();
    let pieces = Pieces::default();
    let seen = Arc::clone(&pieces);
    let take = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap().clone();
        let buffer = sample.buffer().unwrap();
        let at = Duration::from(segment.to_running_time(buffer.pts()).unwrap()).as_secs_f64();
        let bytes = buffer.map_readable().unwrap();
        let is_picture = sample.caps().unwrap().structure(0).unwrap().name().starts_with("video");
        let mut pieces = seen.lock().unwrap();
        if is_picture {
            let luma = &bytes[..bytes.len() * 2 / 3];
            let mean = luma.iter().map(|luma| u64::from(*luma)).sum::<u64>() / luma.len() as u64;
            pieces.push((at, 1.0 / 30.0, f64::from(u8::from(mean > BRIGHT))));
        } else {
            // Pieces of 1 ms, 48 samples of two channels.
            for (number, piece) in bytes.chunks(192).enumerate() {
                let squares =
                    piece.chunks_exact(2).map(|sample| f64::from(i16::from_le_bytes([sample[0], sample[1]])).powi(2));
                let loud = (squares.sum::<f64>() / (piece.len() as f64 / 2.0)).sqrt();
                pieces.push((
                    at + number as f64 / 1000.0,
                    piece.len() as f64 / 192_000.0,
                    f64::from(u8::from(loud > LOUD)),
                ));
            }
        }
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(take).build());
    let feed = producer.feed(&source, Patience::Output).expect("it can be watched");
    let mut pipeline = LivePipeline::new(pipeline, clock);
    pipeline.play().await.expect("it plays");
    (pipeline, feed, pieces)
}

/// Where something begins after this long without it.
fn onsets(pieces: &[(f64, f64, f64)], quiet: f64) -> Vec<f64> {
    let mut last = f64::NEG_INFINITY;
    let mut found = Vec::new();
    for (at, _, is) in pieces.iter().filter(|(_, _, is)| *is > 0.0) {
        if at - last > quiet {
            found.push(*at);
        }
        last = at + is * 0.0;
    }
    found
}

fn extent(pieces: &[(f64, f64, f64)]) -> (f64, f64, f64) {
    let first = pieces.first().map_or(0.0, |piece| piece.0);
    let last = pieces.last().map_or(0.0, |piece| piece.0 + piece.1);
    (first, last, pieces.iter().map(|piece| piece.1).sum())
}
