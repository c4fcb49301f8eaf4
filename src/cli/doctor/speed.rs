//! How many rooms this machine carries: decodes VP8 720p30, mixes it, encodes it again as a bridge does, and counts the CPU time.
//!
//! Runs as fast as it can instead of in real time: the cost per second of media is the same, and nobody waits for it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use serde::Serialize;

use super::Check;

const SECONDS: u32 = 2;
const FPS: u32 = 30;
/// A machine that needs longer carries no room anyway.
const DEADLINE: Duration = Duration::from_secs(30);
/// `/proc` counts CPU time in hundredths of a second on every Linux (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;
/// A machine whose cores are all busy drops frames whenever anything else runs.
const USABLE: f64 = 0.8;

/// What the measurement found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Speed {
    /// CPU seconds per second of one participant's 720p30, from RTP payload to encoded picture and sound.
    cost: f64,
    cores: usize,
    /// How many such rooms fit into four fifths of the cores.
    rooms: u32,
}

impl Speed {
    fn new(cost: f64, cores: usize) -> Self {
        let rooms = if cost > 0.0 { (cores as f64 * USABLE / cost) as u32 } else { 0 };
        Self { cost, cores, rooms }
    }

    pub(super) fn check(&self) -> Check {
        let name = "speed of encoding";
        let Self { cost, cores, rooms } = self;
        let seen = format!("{rooms} rooms of 720p30 ({cost:.3} CPU s per second of media, {cores} cores)");
        match rooms {
            0 => Check::limited(name, seen, "use --size 640x360 or a faster machine"),
            _ => Check::good(name, seen),
        }
    }
}

/// Measures one participant's 720p30 with sound.
pub(super) fn measure() -> anyhow::Result<Speed> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let media = encode_input().context("the test picture could not be encoded as VP8")?;
    let encoder = ["x264enc tune=zerolatency threads=1 speed-preset=superfast", "openh264enc complexity=low"]
        .into_iter()
        .find(|encoder| gst::ElementFactory::find(encoder.split(' ').next().unwrap_or_default()).is_some())
        .ok_or_else(|| anyhow!("neither x264enc nor openh264enc is there: apt install gstreamer1.0-plugins-ugly"))?;
    let pipeline = Running::launch(&format!(
        "appsrc name=video format=time ! vp8dec ! queue max-size-buffers=3 ! compositor ! video/x-raw,format=I420 !
         {encoder} ! h264parse ! fakesink
         appsrc name=audio format=time ! opusdec ! audioconvert ! avenc_aac ! fakesink"
    ))?;
    let before = cpu_seconds()?;
    for (name, samples) in media {
        let source: gst_app::AppSrc = pipeline.element(name)?;
        source.set_max_bytes(0);
        for sample in &samples {
            source.push_sample(sample)?;
        }
        source.end_of_stream()?;
    }
    pipeline.to_its_end()?;
    Ok(Speed::new((cpu_seconds()? - before) / f64::from(SECONDS), cores))
}

/// A picture that moves everywhere, which costs more than most cameras do, and a tone: what a peer would send, ready to be decoded.
fn encode_input() -> anyhow::Result<[(&'static str, Vec<gst::Sample>); 2]> {
    let pipeline = Running::launch(&format!(
        "videotestsrc num-buffers={} pattern=zone-plate kx2=2 ky2=2 kt=1 ! video/x-raw,format=I420,width=1280,height=720,framerate={FPS}/1 !
         vp8enc deadline=1 cpu-used=8 target-bitrate=2000000 ! appsink name=video sync=false
         audiotestsrc num-buffers={} samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2 ! opusenc !
         appsink name=audio sync=false",
        SECONDS * FPS,
        SECONDS * 50,
    ))?;
    pipeline.0.set_state(gst::State::Playing)?;
    let mut media = [("video", Vec::new()), ("audio", Vec::new())];
    let began = Instant::now();
    for (name, samples) in &mut media {
        let sink: gst_app::AppSink = pipeline.element(name)?;
        while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(5)) {
            samples.push(sample);
            anyhow::ensure!(began.elapsed() < DEADLINE, "it takes longer than {DEADLINE:?}");
        }
        anyhow::ensure!(!samples.is_empty(), "no {name} came out");
    }
    Ok(media)
}

/// A pipeline that ends with its owner, however that ends.
struct Running(gst::Pipeline);

impl Running {
    fn launch(text: &str) -> anyhow::Result<Self> {
        let element = gst::parse::launch(text)?;
        element.downcast().map(Self).map_err(|_| anyhow!("the text describes no pipeline"))
    }

    /// An element of the text, by the name that it has there.
    fn element<T: IsA<gst::Object>>(&self, name: &str) -> anyhow::Result<T> {
        let element = self.0.by_name(name).ok_or_else(|| anyhow!("the pipeline has no {name}"))?;
        element.dynamic_cast().map_err(|_| anyhow!("{name} is another element"))
    }

    fn to_its_end(&self) -> anyhow::Result<()> {
        self.0.set_state(gst::State::Playing)?;
        let bus = self.0.bus().ok_or_else(|| anyhow!("a pipeline without a bus"))?;
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(gst::ClockTime::try_from(DEADLINE)?, &wanted);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => Ok(()),
            Some(gst::MessageView::Error(error)) => Err(anyhow!("{}", error.error())),
            _ => Err(anyhow!("it takes longer than {DEADLINE:?}")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.set_state(gst::State::Null).is_err() {
            tracing::debug!("a pipeline of the speed measurement did not stop cleanly");
        }
    }
}

/// CPU time that this process has used, in user and system mode (proc(5), fields 14 and 15).
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("/proc is not mounted")?;
    ticks(&stat).map(|ticks| ticks as f64 / TICKS_PER_SECOND).ok_or_else(|| anyhow!("/proc/self/stat is odd"))
}

fn ticks(stat: &str) -> Option<u64> {
    // The second field is the name in brackets and may itself hold brackets and blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("42 (a"), None);
    }

    #[test]
    fn rooms_are_what_fits_into_four_fifths_of_the_cores() {
        assert_eq!(Speed::new(0.2, 2).rooms, 8);
        assert_eq!(Speed::new(1.7, 2).rooms, 0);
        assert_eq!(Speed::new(0.0, 2).rooms, 0);
    }

    #[test]
    fn a_room_costs_more_than_nothing() {
        roomcast::media::elements::init().unwrap();
        let speed = measure().unwrap();
        assert!(speed.cost > 0.01 && speed.cost < 10.0, "{speed:?}");
    }
}
