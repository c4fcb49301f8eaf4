//! The text of the publishing pipeline: pure, so that each choice can be seen and tested.

use gstreamer as gst;

use super::PublishOptions;
use crate::media::layout::Size;
use crate::terms::Codec;

/// Both kinds leave this long after their capture: what encoding may take. Sender reports are made of the moment at
/// which packets leave, so the same delay for both is what keeps them in step.
pub(super) const LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(150);

/// Between the stages of live pictures: a machine that is too slow loses pictures, it does not fall behind the clock.
const LOSSY: &str = "queue leaky=downstream max-size-buffers=2 max-size-bytes=0 max-size-time=0";

/// Where packets wait for their moment. Without it a picture would wait inside the encoder's thread, and the queues in
/// front of that would lose two of three.
const DELAY: &str = "queue max-size-buffers=0 max-size-bytes=0 max-size-time=1000000000";

/// Seconds between keyframes that nobody asked for.
const KEYFRAME_SECONDS: u32 = 2;
/// Small enough for every path and every RTX or extension header.
const MTU: u32 = 1200;

/// The whole pipeline. Its appsinks are `video` and `audio`; the elements `texture`, `flash` and `beep` carry the probes.
pub(super) fn text(options: &PublishOptions, clock: bool) -> String {
    let mut branches = Vec::new();
    if options.file.is_some() {
        branches.push("uridecodebin name=file".to_owned());
    }
    if let Some(codec) = options.video {
        branches.push(video(options, codec, clock));
    }
    if options.audio {
        branches.push(audio(options));
    }
    branches.join(" ")
}

fn video(options: &PublishOptions, codec: Codec, clock: bool) -> String {
    let (Size { width, height }, fps) = (options.size, options.fps);
    let raw = format!("video/x-raw,format=I420,width={width},height={height},framerate={fps}/1,pixel-aspect-ratio=1/1");
    let source = if options.file.is_some() {
        format!("file. ! queue ! videoconvertscale add-borders=true ! videorate ! capsfilter caps=\"{raw}\"")
    } else {
        let overlay = if clock {
            "clockoverlay time-format=\"%H:%M:%S\" valignment=top halignment=left shaded-background=true font-desc=\"Sans Bold 20\" ! \
             timeoverlay time-mode=running-time valignment=center halignment=center shaded-background=true font-desc=\"Monospace Bold 32\" !"
        } else {
            ""
        };
        format!(
            "videotestsrc is-live=true pattern=ball motion=wavy animation-mode=running-time ! {LOSSY} ! capsfilter name=texture caps=\"{raw}\" ! \
             {overlay} capsfilter name=flash caps=\"{raw}\""
        )
    };
    let (encoder, payloader) = (encoder(options, codec), payloader(codec));
    // A file's pictures wait: they are not captured, and none of them is to be lost.
    let queue =
        if options.file.is_some() { "queue max-size-buffers=4 max-size-bytes=0 max-size-time=0" } else { LOSSY };
    format!("{source} ! {queue} ! {encoder} ! {payloader} mtu={MTU} ! {DELAY} ! appsink name=video sync=true qos=false")
}

/// Bits per second that suit a size: 1.5 Mb/s at 720p30.
fn default_bitrate(options: &PublishOptions) -> u32 {
    let pixels = i64::from(options.size.width) * i64::from(options.size.height) * i64::from(options.fps);
    u32::try_from(pixels / 18).unwrap_or(u32::MAX).clamp(150_000, 8_000_000)
}

fn encoder(options: &PublishOptions, codec: Codec) -> String {
    let bitrate = options.video_bitrate.unwrap_or_else(|| default_bitrate(options));
    let keyframes = options.fps * KEYFRAME_SECONDS;
    match codec {
        Codec::H264 => format!(
            "x264enc tune=zerolatency speed-preset=superfast threads=1 bframes=0 key-int-max={keyframes} bitrate={} \
             vbv-buf-capacity=1000 ! video/x-h264,profile=constrained-baseline ! h264parse",
            bitrate / 1000
        ),
        codec => {
            // With two threads libvpx's VP8 encoder spins while one waits for the other: eight times the CPU at 320x180,
            // more than half as much again at 720p, and worse the busier the machine is.
            let element = if codec == Codec::Vp9 { "vp9enc" } else { "vp8enc" };
            format!(
                "{element} deadline=1 cpu-used=8 threads=1 end-usage=cbr lag-in-frames=0 error-resilient=default \
                 keyframe-max-dist={keyframes} target-bitrate={bitrate} undershoot=95 buffer-size=1000 \
                 buffer-initial-size=500 buffer-optimal-size=600"
            )
        }
    }
}

fn payloader(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "rtph264pay config-interval=-1 aggregate-mode=zero-latency",
        Codec::Vp9 => "rtpvp9pay picture-id-mode=2",
        _ => "rtpvp8pay picture-id-mode=2",
    }
}

fn audio(options: &PublishOptions) -> String {
    let raw = "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved";
    let source = if options.file.is_some() {
        format!("file. ! queue ! audioconvert ! audioresample ! capsfilter caps=\"{raw}\"")
    } else {
        format!("audiotestsrc is-live=true wave=silence samplesperbuffer=480 ! capsfilter name=beep caps=\"{raw}\"")
    };
    format!(
        "{source} ! queue ! opusenc bitrate=64000 inband-fec=true packet-loss-percentage=5 ! \
         rtpopuspay mtu={MTU} ! {DELAY} ! appsink name=audio sync=true qos=false"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::NetworkConfig;

    pub(crate) fn options() -> PublishOptions {
        PublishOptions {
            size: Size { width: 1280, height: 720 },
            fps: 30,
            video: Some(Codec::Vp8),
            video_bitrate: None,
            audio: true,
            file: None,
            duration: None,
            ice_servers: vec![],
            network: NetworkConfig::default(),
        }
    }

    #[test]
    fn every_choice_is_a_pipeline_that_gstreamer_can_build() {
        crate::media::elements::init().unwrap();
        for video in [None, Some(Codec::Vp8), Some(Codec::H264), Some(Codec::Vp9)] {
            for (audio, file) in [(true, None), (false, None), (true, Some("x.mkv".into()))] {
                let options = PublishOptions { video, audio, file, ..options() };
                let text = text(&options, true);
                if !text.is_empty() {
                    gst::parse::launch(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                }
            }
        }
    }

    #[test]
    fn the_bitrate_follows_the_size() {
        assert_eq!(default_bitrate(&options()), 1_536_000);
        assert_eq!(default_bitrate(&PublishOptions { size: Size { width: 160, height: 120 }, ..options() }), 150_000);
    }
}
