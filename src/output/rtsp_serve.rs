//! RTSP for players that connect to us, with or without a password.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::rtsp_player::{End, Programme};
use super::rtsp_server::RtspServer;
use super::spec::{RtspServeDestination, local};
use super::tail::Tail;
use crate::media::MediaError;
use crate::media::producer::Producer;
use crate::media::template;
use crate::probe::{self, ProbeError, Source, Wanted};

/// How long the self-probe may take.
const PROBE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct RtspServeTail {
    destination: RtspServeDestination,
    // Begins with the pipeline and ends with the tail.
    server: Mutex<Option<RtspServer>>,
}

impl RtspServeTail {
    pub(crate) fn new(destination: RtspServeDestination) -> Self {
        Self { destination, server: Mutex::new(None) }
    }

    /// The URL for a player on this machine.
    fn url(&self, scheme: &str, credentials: &str) -> String {
        format!("{scheme}://{credentials}{}/{}", local(self.destination.address), self.destination.name)
    }

    fn take(&self) -> Option<RtspServer> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Tail for RtspServeTail {
    fn template(&self) -> &'static str {
        "rtsp-serve"
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let present = attached.ends();
        let mut launch = template::text("rtsp-player", present).map_err(MediaError::from)?;
        if present.video.is_none() {
            // The server's library counts payloaders from 0 and stops at the first number that is not there.
            launch = launch.replace("pay1", "pay0");
        }
        let end = |name, sink: &str| {
            let sink = attached.pipeline().by_name(sink).and_downcast::<gst_app::AppSink>()?;
            let reached = Arc::new(AtomicU64::new(0));
            tell_running_time(&sink.static_pad("sink")?, Arc::clone(&reached));
            Some(End { name, producer: Producer::new(&sink), reached })
        };
        let ends = [end("video", "video-out"), end("audio", "audio-out")].into_iter().flatten().collect();
        let latency = gst::ClockTime::try_from(self.destination.latency).unwrap_or(gst::ClockTime::ZERO);
        let programme = Programme { launch, ends, clock: attached.clock().clone(), latency };
        let server = RtspServer::start(&self.destination, programme)?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }

    fn has_end(&self) -> bool {
        // Players notice that the connection closes.
        false
    }

    async fn verify(&self, _: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let credentials = self.destination.credentials.as_ref();
        let secret = credentials.map(|known| format!("{}:{}@", encode(&known.user), encode(&known.password)));
        let shown = credentials.map(|known| format!("{}:PASSWORD@", encode(&known.user))).unwrap_or_default();
        // In the connection itself: a firewall that stops datagrams to ourselves would say nothing about a player's.
        let source = Source::Uri(self.url("rtspt", secret.as_deref().unwrap_or_default()));
        probe::first_frames(source, wanted, PROBE).await.map_err(|error| match (error, secret) {
            (ProbeError::NotPlayable { timeout, seen }, Some(secret)) => {
                ProbeError::NotPlayable { timeout, seen: seen.replace(&secret, &shown) }
            }
            (error, _) => error,
        })?;
        Ok(Play::rtsp(&self.url("rtsp", &shown)))
    }

    async fn finish(&self) -> Result<(), OutputError> {
        if let Some(server) = self.take() {
            server.stop().await;
        }
        Ok(())
    }
}

/// Puts running time into the timestamps, and leaves nothing for the segment to add: the answer to PLAY says where each stream
/// begins (RTP-Info, RFC 2326, section 12.33), and the server's library forgets there what an encoder has shifted.
fn tell_running_time(pad: &gst::Pad, reached: Arc<AtomicU64>) {
    let shift = Mutex::new(gst::FormattedSegment::<gst::ClockTime>::new());
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER, move |_, info| {
        let mut shift = shift.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut info.data {
            Some(gst::PadProbeData::Event(event)) => {
                if let gst::EventView::Segment(told) = event.view()
                    && let Some(segment) = told.segment().downcast_ref::<gst::ClockTime>()
                {
                    *shift = segment.clone();
                    *event = gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new());
                }
            }
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let (pts, dts): (Option<gst::ClockTime>, _) =
                    (shift.to_running_time(buffer.pts()), shift.to_running_time(buffer.dts()));
                if let Some(time) = pts {
                    reached.store(time.nseconds(), Ordering::Relaxed);
                }
                let buffer = buffer.make_mut();
                buffer.set_pts(pts);
                buffer.set_dts(dts);
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}
