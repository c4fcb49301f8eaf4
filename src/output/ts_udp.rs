//! MPEG-TS over UDP: what every player opens as `udp://`, from one host or from a multicast group.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::spec::TsUdpDestination;
use super::streams::Forms;
use super::tail::{Tail, ask_for_keyframe};
use crate::media::MediaError;
use crate::probe::{self, Source, Wanted};

/// How long the self-probe may take.
const PROBE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct TsUdpTail {
    destination: TsUdpDestination,
}

impl TsUdpTail {
    pub(crate) fn new(destination: TsUdpDestination) -> Self {
        Self { destination }
    }
}

#[async_trait]
impl Tail for TsUdpTail {
    fn template(&self) -> &'static str {
        "ts-udp"
    }

    fn accept(&self, forms: &Forms) -> Result<(), OutputError> {
        forms.h264_and_aac("MPEG-TS")
    }

    fn asks_for_keyframes(&self) -> bool {
        true
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let sink = attached.element("sink")?;
        let TsUdpDestination { address, ttl, interface } = &self.destination;
        sink.set_property("host", address.ip().to_string());
        sink.set_property("port", i32::from(address.port()));
        if let Some(ttl) = ttl {
            sink.set_property("ttl", i32::from(*ttl));
            sink.set_property("ttl-mc", i32::from(*ttl));
        }
        if let Some(interface) = interface {
            sink.set_property("multicast-iface", interface);
        }
        Ok(())
    }

    /// Sends the same datagrams to a port of our own for a moment, and decodes them there: the receiver's port cannot be
    /// opened while a player holds it.
    async fn verify(&self, pipeline: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let sink = pipeline.by_name("sink").ok_or_else(|| MediaError::link("pipelines/ts-udp.launch has no `sink`"))?;
        let port = free_port().map_err(OutputError::io("a free UDP port for the self-probe"))?;
        let loopback = Ipv4Addr::LOCALHOST.to_string();
        let copy = |signal: &str| sink.emit_by_name::<()>(signal, &[&loopback, &i32::from(port)]);
        copy("add");
        ask_for_keyframe(pipeline);
        let played = probe::first_frames(Source::Uri(format!("udp://{loopback}:{port}")), wanted, PROBE).await;
        copy("remove");
        played?;
        Ok(Play::datagrams(self.destination.address))
    }

    fn has_end(&self) -> bool {
        // Receivers notice silence.
        false
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
