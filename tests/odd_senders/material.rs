//! Encoded once, sent by many: pictures that flash and sound that beeps on each second, as RTP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use roomcast::terms::Codec;

/// One RTP packet and when it is sent, counted from the first.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) at: Duration,
    pub(crate) bytes: Vec<u8>,
}

/// RTP of one stream: sequence numbers, timestamps and the source count from 0.
#[derive(Clone, Debug)]
pub(crate) struct Media {
    pub(crate) codec: Codec,
    pub(crate) packets: Vec<Packet>,
}

/// Pictures of this form, for example `width=160,height=90,framerate=30/1`, through an encoder and a payloader.
pub(crate) fn pictures(codec: Codec, seconds: u32, form: &str, encode: &str) -> Media {
    let fps = number(form, "framerate=");
    let count = seconds * fps;
    run(
        codec,
        &format!(
            "videotestsrc num-buffers={count} pattern=black ! capsfilter name=mark caps=video/x-raw,format=I420,{form} ! {encode} \
             pt=96 mtu=1200 timestamp-offset=0 seqnum-offset=0 ssrc=0 ! appsink name=out sync=false"
        ),
        |time, bytes| {
            // The luma plane; a little of it moves, or an encoder has nothing to do.
            let luma = bytes.len() * 2 / 3;
            let is_flash = (time + 5_000_000) % 1_000_000_000 < 100_000_000;
            bytes[..luma].fill(if is_flash { 235 } else { 20 });
            bytes[time as usize / 10_000_000 % luma] = 120;
        },
    )
}

/// Sound of this form, for example `rate=48000,channels=2`, through an encoder.
pub(crate) fn sound(seconds: u32, form: &str, encode: &str) -> Media {
    let rate = number(form, "rate=");
    let (count, samples) = (seconds * 50, rate / 50);
    run(
        Codec::Opus,
        &format!(
            "audiotestsrc num-buffers={count} samplesperbuffer={samples} wave=silence ! \
             capsfilter name=mark caps=audio/x-raw,format=S16LE,{form},layout=interleaved ! {encode} ! rtpopuspay \
             pt=111 mtu=1200 timestamp-offset=0 seqnum-offset=0 ssrc=0 ! appsink name=out sync=false"
        ),
        |time, bytes| {
            if time % 1_000_000_000 < 100_000_000 {
                for (number, sample) in bytes.chunks_exact_mut(2).enumerate() {
                    let loud = if number / 16 % 2 == 0 { 12_000_i16 } else { -12_000 };
                    sample.copy_from_slice(&loud.to_le_bytes());
                }
            }
        },
    )
}

impl Media {
    /// The same stream goes on with other media after this many seconds.
    pub(crate) fn then(mut self, seconds: u32, next: Self) -> Self {
        let numbers = self.packets.len() as u16;
        for mut packet in next.packets {
            let number = u16::from_be_bytes([packet.bytes[2], packet.bytes[3]]).wrapping_add(numbers);
            let time = u32::from_be_bytes(packet.bytes[4..8].try_into().unwrap()) + seconds * self.codec.clock_rate();
            packet.bytes[2..4].copy_from_slice(&number.to_be_bytes());
            packet.bytes[4..8].copy_from_slice(&time.to_be_bytes());
            packet.at += Duration::from_secs(seconds.into());
            self.packets.push(packet);
        }
        self
    }
}

/// What stands behind a key in caps.
fn number(form: &str, key: &str) -> u32 {
    let digits: String = form.split(key).nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

fn run(codec: Codec, text: &str, mark: impl Fn(u64, &mut [u8]) + Send + Sync + 'static) -> Media {
    let pipeline = gst::parse::launch(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    if let Some(encoder) = pipeline.by_name("two-layers") {
        let array = |values: [i32; 2]| gst::glib::ValueArray::new(values);
        encoder.set_property("temporal-scalability-layer-id", array([0, 1]));
        encoder.set_property("temporal-scalability-rate-decimator", array([2, 1]));
        encoder.set_property("temporal-scalability-target-bitrate", array([120_000, 200_000]));
    }
    let pad = pipeline.by_name("mark").unwrap().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer_mut().unwrap().make_mut();
        let time = buffer.pts().unwrap().nseconds();
        mark(time, &mut buffer.map_writable().unwrap());
        gst::PadProbeReturn::Ok
    });
    let packets = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&packets);
    let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let take = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap().clone();
        let mut each = |buffer: &gst::BufferRef| {
            let at = segment.to_running_time(buffer.pts()).unwrap().into();
            let bytes = buffer.map_readable().unwrap().to_vec();
            collected.lock().unwrap().push(Packet { at, bytes });
        };
        if let Some(list) = sample.buffer_list() {
            list.iter().for_each(&mut each)
        } else {
            each(sample.buffer().unwrap())
        }
        Ok(gst::FlowSuccess::Ok)
    };
    out.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(take).build());
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert!(matches!(end.as_ref().map(|end| end.view()), Some(gst::MessageView::Eos(_))), "{end:?}: {text}");
    pipeline.set_state(gst::State::Null).unwrap();
    let packets = std::mem::take(&mut *packets.lock().unwrap());
    assert!(!packets.is_empty(), "{text}");
    Media { codec, packets }
}
