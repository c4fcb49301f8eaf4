//! The mix pushed to a WHIP endpoint (RFC 9725): H.264 or VP8, and Opus, as RTP that an [`Uplink`] carries by WebRTC.
//!
//! It is ready when the endpoint has reported that picture and sound arrive. From then on the endpoint's requests for
//! keyframes go to the encoder, and a connection that is lost fails the output, which is tried again as every output is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::tail::Tail;
use super::uplink::{Cargo, Endpoint, Progress, RtpStream, Uplink, UplinkError};
use crate::media::MediaError;
use crate::probe::Wanted;
use crate::terms::{Codec, MediaKind};

/// A keyframe of 1080p, or some seconds of sound.
const PACKETS: usize = 1024;
/// Both kinds leave this long after their mixing, so that sender reports relate them as the mix did.
const LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(120);
/// How long offer, answer, ICE and DTLS may take together.
const CONNECT: Duration = Duration::from_secs(30);
/// Reports come every second or five; who has sent none by then sends none at all.
const REPORT: Duration = Duration::from_secs(8);
/// Every other viewer of the mix pays for each keyframe.
const KEYFRAME_PAUSE: Duration = Duration::from_secs(1);
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// How the connection is.
#[derive(Clone, Debug)]
enum Connection {
    Idle,
    Runs,
    Ended(Option<UplinkError>),
}

#[derive(Debug)]
pub(crate) struct WhipTail {
    endpoint: Endpoint,
    uplink: Arc<dyn Uplink>,
    progress: watch::Sender<Progress>,
    connection: watch::Sender<Connection>,
    stop: CancellationToken,
    /// End with this tail.
    tasks: std::sync::Mutex<JoinSet<()>>,
}

impl WhipTail {
    pub(crate) fn new(endpoint: Endpoint, uplink: Arc<dyn Uplink>) -> Self {
        Self {
            endpoint,
            uplink,
            progress: watch::Sender::default(),
            connection: watch::Sender::new(Connection::Idle),
            stop: CancellationToken::new(),
            tasks: std::sync::Mutex::default(),
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Nothing panics while the lock is held.
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).spawn(task);
    }

    /// Waits until the connection has ended, and says why.
    async fn ended(&self) -> Option<UplinkError> {
        let mut connection = self.connection.subscribe();
        // We have the sender ourselves.
        let ended = connection.wait_for(|connection| matches!(connection, Connection::Ended(_))).await;
        match ended.as_deref() {
            Ok(Connection::Ended(error)) => error.clone(),
            _ => None,
        }
    }

    async fn reached(&self, progress: Progress, within: Duration) -> bool {
        let mut reached = self.progress.subscribe();
        let reached = reached.wait_for(|now| *now >= progress);
        matches!(tokio::time::timeout(within, reached).await, Ok(Ok(_)))
    }
}

#[async_trait]
impl Tail for WhipTail {
    fn template(&self) -> &'static str {
        "whip"
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        attached.pipeline().set_latency(LATENCY);
        let keyframe_wanted = Arc::new(Notify::new());
        let mut streams = Vec::new();
        for (payloader, sink) in [("video-payloader", "video-rtp"), ("audio-payloader", "audio-rtp")] {
            // Without pictures, or without sound, the end is not there.
            let Some(payloader) = attached.pipeline().by_name(payloader) else { continue };
            let codec = codec(&payloader)?;
            streams.push(RtpStream { codec, packets: packets(attached, sink)? });
            if codec.kind() == MediaKind::Video {
                self.spawn(pass_requests(Arc::clone(&keyframe_wanted), payloader));
            }
        }
        let cargo = Cargo {
            endpoint: self.endpoint.clone(),
            streams,
            keyframe_wanted,
            progress: self.progress.clone(),
            stop: self.stop.clone(),
        };
        let (uplink, connection) = (Arc::clone(&self.uplink), self.connection.clone());
        connection.send_replace(Connection::Runs);
        self.spawn(async move {
            let ended = uplink.send(cargo).await;
            connection.send_replace(Connection::Ended(ended.err()));
        });
        Ok(())
    }

    async fn verify(&self, _pipeline: &gst::Pipeline, _wanted: Wanted) -> Result<Play, OutputError> {
        if !self.reached(Progress::Connected, CONNECT).await {
            let what = format!("{} took the offer, and no media can get there", self.endpoint);
            return Err(OutputError::NotReady { what, waited: CONNECT });
        }
        if !self.reached(Progress::Arriving, REPORT).await {
            tracing::info!(endpoint = %self.endpoint, "it is connected, and does not report what arrives");
        }
        // What a player can open is known to the server alone.
        let endpoint = self.endpoint.to_string();
        Ok(Play { url: endpoint.strip_prefix("whip+").unwrap_or(&endpoint).to_owned(), ..Play::default() })
    }

    async fn failed(&self) -> OutputError {
        match self.ended().await {
            Some(error) => OutputError::Uplink(error),
            None => OutputError::Ended,
        }
    }

    fn has_end(&self) -> bool {
        false
    }

    async fn finish(&self) -> Result<(), OutputError> {
        self.stop.cancel();
        let running = matches!(*self.connection.borrow(), Connection::Runs);
        if running && tokio::time::timeout(FAREWELL, self.ended()).await.is_err() {
            tracing::debug!(endpoint = %self.endpoint, "the farewell takes too long");
        }
        Ok(())
    }
}

/// What a payloader makes packets of.
fn codec(payloader: &gst::Element) -> Result<Codec, OutputError> {
    let name = payloader.factory().map(|factory| factory.name().to_string()).unwrap_or_default();
    Ok(match name.as_str() {
        "rtph264pay" => Codec::H264,
        "rtpvp8pay" => Codec::Vp8,
        "rtpvp9pay" => Codec::Vp9,
        "rtpav1pay" => Codec::Av1,
        "rtpopuspay" => Codec::Opus,
        _ => return Err(OutputError::UnknownForm(name)),
    })
}

/// The packets that come out of an end of the pipeline.
fn packets(attached: &Attached, name: &str) -> Result<broadcast::Receiver<Bytes>, OutputError> {
    let sink = attached
        .element(name)?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| MediaError::Link(format!("the template of WHIP has no appsink `{name}`")))?;
    let (sender, receiver) = broadcast::channel(PACKETS);
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if let Some(bytes) = sample.buffer().and_then(|buffer| buffer.map_readable().ok()) {
            // Fails when the connection has ended, and then so does the output.
            sender.send(Bytes::copy_from_slice(&bytes)).ok();
        }
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
    Ok(receiver)
}

async fn pass_requests(wanted: Arc<Notify>, payloader: gst::Element) {
    let Some(pad) = payloader.static_pad("sink") else { return };
    loop {
        // Requests that come during the pause count as one, after it.
        wanted.notified().await;
        pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        tokio::time::sleep(KEYFRAME_PAUSE).await;
    }
}
