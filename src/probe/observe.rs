//! Reduces decoded pictures and sound to the numbers that a probe judges: when, how long, how bright, how loud.
//!
//! Runs on GStreamer's streaming threads; what it sees goes through a bounded channel to the thread that measures.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_audio as gst_audio;
use gstreamer_video as gst_video;

use super::decode_errors::Tally;
use super::gaps::Span;
use crate::terms::MediaKind;

/// Every fourth pixel of every fourth row is enough for a mean.
const STEP: usize = 4;

/// Something that a streaming thread saw.
#[derive(Debug)]
pub(super) enum Seen {
    /// A stream was found, before its first frame.
    Stream { id: usize, kind: MediaKind, tally: Option<Arc<Tally>> },
    /// A frame of a stream was decoded.
    Frame { id: usize, frame: Frame },
}

/// One decoded buffer.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) span: Span,
    pub(super) decoded_at: Instant,
    /// The decoder itself marked it as damaged.
    pub(super) is_corrupt: bool,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Picture {
        width: u32,
        height: u32,
        /// Mean, 0 to 255.
        luma: f32,
    },
    Sound {
        channels: u32,
        rate: u32,
        /// Start (ns) and RMS (0 to 1) of each window of a millisecond.
        levels: Vec<(i64, f32)>,
    },
}

/// The caps in which [`sink`] wants pictures or sound.
fn caps(kind: MediaKind) -> gst::Caps {
    match kind {
        // Eight-bit formats whose first plane is luma.
        MediaKind::Video => gst_video::VideoCapsBuilder::new()
            .format_list([
                gst_video::VideoFormat::I420,
                gst_video::VideoFormat::Nv12,
                gst_video::VideoFormat::Yv12,
                gst_video::VideoFormat::Y42b,
                gst_video::VideoFormat::Y444,
                gst_video::VideoFormat::Gray8,
            ])
            .build(),
        MediaKind::Audio => {
            gst_audio::AudioCapsBuilder::new_interleaved().format(gst_audio::AudioFormat::F32le).build()
        }
    }
}

/// The end of one stream's decoding: tells `seen` about every frame.
pub(super) fn sink(id: usize, kind: MediaKind, seen: SyncSender<Seen>) -> gst_app::AppSink {
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let decoded_at = Instant::now();
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let Some(frame) = frame(kind, &sample, decoded_at) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        // The receiver is gone when the probe has seen enough.
        seen.send(Seen::Frame { id, frame }).map(|()| gst::FlowSuccess::Ok).map_err(|_| gst::FlowError::Eos)
    });
    // Neither paced nor prerolled: every frame is measured as soon as it is decoded.
    gst_app::AppSink::builder()
        .caps(&caps(kind))
        .sync(false)
        .async_(false)
        .max_buffers(8)
        .callbacks(callbacks.build())
        .build()
}

/// `None` for a buffer without a timestamp or with caps that do not describe it.
fn frame(kind: MediaKind, sample: &gst::Sample, decoded_at: Instant) -> Option<Frame> {
    let buffer = sample.buffer()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let start = signed(segment.to_running_time_full(buffer.pts()?)?);
    let caps = sample.caps()?;
    let (length, content) = match kind {
        MediaKind::Video => (None, picture(caps, buffer)?),
        MediaKind::Audio => sound(caps, buffer, start)?,
    };
    let is_corrupt = buffer.flags().contains(gst::BufferFlags::CORRUPTED);
    Some(Frame { span: Span { start, length }, decoded_at, is_corrupt, content })
}

fn signed(time: gst::Signed<gst::ClockTime>) -> i64 {
    let nanoseconds = |time: gst::ClockTime| i64::try_from(time.nseconds()).unwrap_or(i64::MAX);
    match time {
        gst::Signed::Positive(time) => nanoseconds(time),
        gst::Signed::Negative(time) => -nanoseconds(time),
    }
}

fn picture(caps: &gst::CapsRef, buffer: &gst::BufferRef) -> Option<Content> {
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    let picture = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).ok()?;
    let stride = usize::try_from(*picture.plane_stride().first()?).ok()?.max(1);
    let width = picture.width() as usize;
    let (mut sum, mut count) = (0_u64, 0_u64);
    for row in picture.plane_data(0).ok()?.chunks(stride).take(picture.height() as usize).step_by(STEP) {
        for luma in row.get(..width).unwrap_or(row).iter().step_by(STEP) {
            sum += u64::from(*luma);
            count += 1;
        }
    }
    let luma = sum as f32 / count.max(1) as f32;
    Some(Content::Picture { width: picture.width(), height: picture.height(), luma })
}

fn sound(caps: &gst::CapsRef, buffer: &gst::BufferRef, start: i64) -> Option<(Option<i64>, Content)> {
    let info = gst_audio::AudioInfo::from_caps(caps).ok()?;
    let (channels, rate) = (info.channels().max(1), info.rate().max(1));
    let map = buffer.map_readable().ok()?;
    let nanoseconds = |frames: usize| (frames as u64 * 1_000_000_000 / u64::from(rate)) as i64;
    let frame_bytes = 4 * channels as usize;
    let window_frames = (rate as usize / 1000).max(1);
    let levels = map.chunks(window_frames * frame_bytes).enumerate().map(|(index, window)| {
        let squares: f32 = window
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .map(|value| value * value)
            .sum();
        let level = (squares / (window.len() / 4).max(1) as f32).sqrt();
        (start + nanoseconds(index * window_frames), level)
    });
    let levels = levels.collect();
    Some((Some(nanoseconds(map.len() / frame_bytes)), Content::Sound { channels, rate, levels }))
}
