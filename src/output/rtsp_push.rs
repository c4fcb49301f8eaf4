//! RTSP to a media server that takes it (`ANNOUNCE` and `RECORD`, RFC 2326).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_rtsp_server::gst_rtsp::RTSPLowerTrans;
use tokio::sync::watch;

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::spec::{RtspPushDestination, RtspTransport};
use super::tail::Tail;
use crate::probe::Wanted;

/// How long the server may take to let us in.
const ACCEPTED: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) struct RtspPushTail {
    destination: RtspPushDestination,
    /// Streams of which packets have left.
    leaving: Arc<watch::Sender<usize>>,
}

impl RtspPushTail {
    pub(crate) fn new(destination: RtspPushDestination) -> Self {
        Self { destination, leaving: Arc::new(watch::Sender::new(0)) }
    }
}

#[async_trait]
impl Tail for RtspPushTail {
    fn template(&self) -> &'static str {
        "rtsp-push"
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let sink = attached.element("sink")?;
        let RtspPushDestination { location, credentials, transport } = &self.destination;
        sink.set_property("location", location);
        sink.set_property(
            "protocols",
            match transport {
                RtspTransport::Tcp => RTSPLowerTrans::TCP,
                RtspTransport::Udp => RTSPLowerTrans::UDP,
            },
        );
        if let Some(credentials) = credentials {
            sink.set_property("user-id", &credentials.user);
            sink.set_property("user-pw", &credentials.password);
        }
        // Left to itself it would choose LATM for AAC, which fewer servers take (RFC 3640 against RFC 6416).
        for (pad, parser) in [("sink_0", attached.ends().video), ("sink_1", attached.ends().audio)] {
            if let (Some(pad), Some(parser)) = (sink.static_pad(pad), parser) {
                pad.set_property("payloader", parser.payloader()?);
            }
        }
        let leaving = Arc::clone(&self.leaving);
        sink.connect("new-manager", false, move |values| {
            let leaving = Arc::clone(&leaving);
            // Packets pass the manager only after the server has accepted them.
            values.get(1)?.get::<gst::Element>().ok()?.connect_pad_added(move |_, pad| {
                if pad.name().starts_with("send_rtp_src") {
                    count_once(pad, &leaving);
                }
            });
            None
        });
        Ok(())
    }

    fn explain(&self, error: OutputError) -> OutputError {
        let OutputError::Pipeline(fault) = error else { return error };
        let place = self.destination.location.clone();
        let reason = match fault.resource {
            Some(gst::ResourceError::NotAuthorized) => {
                "the server refuses this user or password: write rtsp://USER:PASSWORD@HOST/PATH".into()
            }
            Some(gst::ResourceError::NotFound) => "the server has no such path".into(),
            Some(gst::ResourceError::OpenReadWrite) => {
                format!("no RTSP server answers there, or it does not let us publish ({fault})")
            }
            _ => fault.to_string(),
        };
        OutputError::Remote { place, reason }
    }

    fn has_end(&self) -> bool {
        // The server hears of it by TEARDOWN.
        false
    }

    async fn verify(&self, _: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let streams = usize::from(wanted.video) + usize::from(wanted.audio);
        let mut leaving = self.leaving.subscribe();
        let accepted = tokio::time::timeout(ACCEPTED, leaving.wait_for(|leaving| *leaving >= streams)).await;
        match accepted {
            Ok(_) => Ok(Play::rtsp(&self.destination.location)),
            Err(_) => Err(OutputError::NotReady { what: "the server has not let us publish".into(), waited: ACCEPTED }),
        }
    }
}

fn count_once(pad: &gst::Pad, count: &Arc<watch::Sender<usize>>) {
    let count = Mutex::new(Some(Arc::clone(count)));
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
        if let Some(count) = count.lock().unwrap_or_else(PoisonError::into_inner).take() {
            count.send_modify(|count| *count += 1);
        }
        gst::PadProbeReturn::Remove
    });
}
