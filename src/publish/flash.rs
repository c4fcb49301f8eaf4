//! The picture's measuring marks: a texture that moves, and a white flash on each second.
//!
//! The rest of the picture is dark, so that the jump of the mean luma is seen even inside a small cell of a grid.

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

/// How many frames a flash lasts.
const FLASH_FRAMES: u64 = 3;
/// Luma of white and of grey chroma in limited range.
const WHITE: u8 = 235;
const NEUTRAL: u8 = 128;
/// The texture adds at most this to a luma sample.
const TEXTURE: u64 = 40;

/// Whether the frame at this running time is white: the first three frames of each second.
pub(super) fn is_flash(running_time: gst::ClockTime, fps: u32) -> bool {
    let second = gst::ClockTime::SECOND.nseconds();
    // The frame's number counted in its second; half a frame is added because frame times are rounded down.
    let into_second = running_time.nseconds().wrapping_add(second / u64::from(fps.max(1)) / 2) % second;
    into_second * u64::from(fps) / second < FLASH_FRAMES
}

/// Draws the texture into each frame that leaves `pad`.
pub(super) fn add_texture(pad: &gst::Pad) {
    edit_frames(pad, |frame, time| {
        let shift = time.mseconds() / 25;
        let (width, stride) = (frame.width() as usize, frame.plane_stride().first().map_or(0, |s| s.unsigned_abs()));
        let row: Vec<u8> =
            (0..width as u64 + 64).map(|x| u8::try_from((x * x / 3 + x * 7) % TEXTURE).unwrap_or(0)).collect();
        let Ok(luma) = frame.plane_data_mut(0) else { return };
        for (y, line) in luma.chunks_exact_mut(stride as usize).enumerate() {
            let offset = ((shift + y as u64 / 16) % 64) as usize;
            for (sample, texture) in line.iter_mut().zip(row.iter().skip(offset)) {
                *sample = *sample / 2 + texture + 8;
            }
        }
    });
}

/// Makes each frame that leaves `pad` white when it is its time.
pub(super) fn add_flash(pad: &gst::Pad, fps: u32) {
    edit_frames(pad, move |frame, time| {
        if !is_flash(time, fps) {
            return;
        }
        for (plane, value) in [(0, WHITE), (1, NEUTRAL), (2, NEUTRAL)] {
            if let Ok(samples) = frame.plane_data_mut(plane) {
                samples.fill(value);
            }
        }
    });
}

type WritableFrame<'a> = gst_video::VideoFrameRef<&'a mut gst::BufferRef>;

fn edit_frames(pad: &gst::Pad, edit: impl Fn(&mut WritableFrame<'_>, gst::ClockTime) + Send + Sync + 'static) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let video = pad.current_caps().and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok());
        let time = info.buffer().and_then(|buffer| buffer.pts());
        if let (Some(video), Some(time), Some(buffer)) = (video, time, info.buffer_mut())
            && let Ok(mut frame) = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer.make_mut(), &video)
        {
            // The pattern's source counts from 0, so its timestamps are running times.
            edit(&mut frame, time);
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_frames_of_each_second_flash() {
        for fps in [15, 24, 25, 30, 50, 60] {
            for frame in 0..u64::from(fps) * 5 {
                // As videotestsrc computes it: rounded down.
                let time = gst::ClockTime::from_nseconds(frame * 1_000_000_000 / u64::from(fps));
                assert_eq!(is_flash(time, fps), frame % u64::from(fps) < 3, "frame {frame} at {fps} fps");
            }
        }
    }
}
