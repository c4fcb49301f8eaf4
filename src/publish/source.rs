//! The one pipeline of a test participant: it encodes and payloads once, and its packets go to whoever listens.
//!
//! Packets are handed out through a bounded broadcast: a member that does not keep up loses the oldest and counts them,
//! and slows nobody down.

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tracing::warn;

use super::{PublishError, PublishOptions, beep, flash, launch, looping};
use crate::media::MediaError;
use crate::media::bus::BusEvent;
use crate::media::clock::MediaClock;
use crate::media::pipeline::LivePipeline;
use crate::peer::{KeyframeRequester, Pace, RtpPacket};
use crate::terms::{Codec, MediaKind};

/// A keyframe of 1080p, or some seconds of audio.
const PACKETS: usize = 1024;

/// Where the members get their packets.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    pub(super) codec: Codec,
    pub(super) packets: broadcast::Sender<RtpPacket>,
}

/// The running pipeline.
#[derive(Debug)]
pub(super) struct Source {
    pipeline: LivePipeline,
    feeds: Vec<Feed>,
    keyframes: KeyframeRequester,
    requests: Option<JoinHandle<()>>,
}

impl Source {
    /// Builds the pipeline and sets it going; nothing is sent before members listen.
    pub(super) async fn start(options: &PublishOptions) -> Result<Self, PublishError> {
        crate::media::elements::init().map_err(|error| MediaError::Init(error.to_string()))?;
        let has_clock = gst::ElementFactory::find("timeoverlay").is_some();
        if !has_clock && options.file.is_none() {
            warn!("no clock in the picture: the pango plugin is missing, in Debian's gstreamer1.0-x");
        }
        let pipeline = gst::parse::launch(&launch::text(options, has_clock))
            .map_err(|error| MediaError::link(format!("cannot build the publishing pipeline: {error}")))?
            .downcast::<gst::Pipeline>()
            .map_err(|_| MediaError::link("there is nothing to publish: neither audio nor video"))?;
        pipeline.set_latency(launch::LATENCY);
        let mut live = LivePipeline::new(pipeline, &MediaClock::start());
        // Time starts when the pipeline plays, not now: a file needs a moment before its first frame.
        live.pipeline().set_start_time(gst::ClockTime::ZERO);
        let mut feeds = Vec::new();
        if let Some(codec) = options.video {
            feeds.push(feed(&live, "video", codec)?);
        }
        if options.audio {
            feeds.push(feed(&live, "audio", Codec::Opus)?);
        }
        match &options.file {
            Some(path) => open_file(&mut live, path).await?,
            None => mark(&live, options)?,
        }
        let keyframes = KeyframeRequester::default();
        let requests = match options.video {
            Some(_) => Some(tokio::spawn(force_keyframes(keyframes.clone(), live.element("video")?))),
            None => None,
        };
        live.play().await?;
        Ok(Self { pipeline: live, feeds, keyframes, requests })
    }

    /// The moment of the pattern's zero: flashes and beeps are whole seconds after it.
    pub(super) fn zero(&self) -> Option<jiff::Timestamp> {
        let pipeline = self.pipeline.pipeline();
        let running = pipeline.clock()?.time().saturating_sub(pipeline.base_time()?);
        let running = jiff::SignedDuration::try_from(std::time::Duration::from(running)).ok()?;
        jiff::Timestamp::now().checked_sub(running).ok()
    }

    /// What there is to listen to.
    pub(super) fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// Asks the encoder for keyframes.
    pub(super) fn keyframes(&self) -> KeyframeRequester {
        self.keyframes.clone()
    }

    /// Waits until the pipeline has failed, and says how.
    pub(super) async fn failed(&mut self) -> PublishError {
        loop {
            match self.pipeline.next_event().await {
                Some(BusEvent::Warning(fault)) => warn!("{fault}"),
                Some(BusEvent::Error(fault)) => return PublishError::Ended(fault.to_string()),
                Some(BusEvent::Eos) => return PublishError::Ended("the file has ended and cannot be repeated".into()),
                None => return PublishError::Ended("its pipeline is gone".into()),
            }
        }
    }

    pub(super) async fn stop(self) {
        if let Some(requests) = self.requests {
            requests.abort();
        }
        self.pipeline.stop().await;
    }
}

fn feed(live: &LivePipeline, name: &str, codec: Codec) -> Result<Feed, MediaError> {
    let sink = live
        .element(name)?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| MediaError::link(format!("`{name}` is no appsink")))?;
    let (packets, _) = broadcast::channel(PACKETS);
    let sender = packets.clone();
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let bytes = sample.buffer().and_then(|buffer| buffer.map_readable().ok());
                let packet = bytes.map(|bytes| RtpPacket::parse(bytes::Bytes::copy_from_slice(&bytes)));
                if let Some(Ok(packet)) = packet {
                    // Nobody listens: then nobody misses it.
                    sender.send(packet).ok();
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    Ok(Feed { codec, packets })
}

/// Passes requests of all members on to the one encoder. Every member pays for each keyframe, hence their pace.
async fn force_keyframes(requests: KeyframeRequester, sink: gst::Element) {
    let mut pace = Pace::default();
    loop {
        requests.next(&mut pace).await;
        sink.send_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
    }
}

/// Sets the probes that draw the texture, the flash and the beep.
fn mark(live: &LivePipeline, options: &PublishOptions) -> Result<(), MediaError> {
    let pad = |name| live.element(name)?.static_pad("src").ok_or_else(|| MediaError::link("a filter without pad"));
    if options.video.is_some() {
        flash::add_texture(&pad("texture")?);
        flash::add_flash(&pad("flash")?, options.fps);
    }
    if options.audio {
        beep::add_beep(&pad("beep")?);
    }
    Ok(())
}

async fn open_file(live: &mut LivePipeline, path: &std::path::Path) -> Result<(), PublishError> {
    let failed = |cause| PublishError::File { path: path.to_owned(), cause };
    let absolute = path.canonicalize().map_err(failed)?;
    let uri = gst::glib::filename_to_uri(&absolute, None).map_err(|error| failed(std::io::Error::other(error)))?;
    live.element("file")?.set_property("uri", uri.as_str());
    looping::repeat(live.pipeline());
    let pipeline = live.pipeline().clone();
    // Prerolls, which blocks: the first segment is made before the first frame leaves.
    let ready = tokio::task::spawn_blocking(move || {
        let preroll = gst::ClockTime::from_seconds(10);
        pipeline.set_state(gst::State::Paused).is_ok() && pipeline.state(preroll).0.is_ok() && looping::begin(&pipeline)
    });
    if matches!(ready.await, Ok(true)) {
        return Ok(());
    }
    let reason = match tokio::time::timeout(std::time::Duration::from_secs(1), live.next_event()).await {
        Ok(Some(BusEvent::Error(fault) | BusEvent::Warning(fault))) => fault.to_string(),
        _ => "it has not the streams that are asked for; try --no-audio or --no-video".to_owned(),
    };
    Err(failed(std::io::Error::other(reason)))
}

impl Feed {
    /// Sound or picture.
    pub(super) fn kind(&self) -> MediaKind {
        self.codec.kind()
    }
}
