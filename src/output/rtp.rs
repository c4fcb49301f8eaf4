//! RTP with an SDP file: H.264 and AAC to one receiver, with the sender reports that keep lips and voice together.

use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::rtp_ports::any_free_rtp_ports;
use super::sdp::{Description, write_atomically};
use super::spec::RtpDestination;
use super::tail::{Session, Tail};
use crate::media::MediaError;
use crate::media::producer::when_caps_are_known;
use crate::probe::{self, Source, Wanted};

/// How long the encoders may take to bring their parameter sets.
const PARAMETER_SETS: Duration = Duration::from_secs(10);

/// How long the self-probe may take.
const PROBE: Duration = Duration::from_secs(10);

/// The four sinks of `pipelines/rtp.launch` and their distance from the video's port.
const SINKS: [(&str, u16); 4] = [("video-rtp", 0), ("video-rtcp", 1), ("audio-rtp", 2), ("audio-rtcp", 3)];

#[derive(Debug)]
pub(crate) struct RtpTail {
    destination: RtpDestination,
    session: Session,
    version: u32,
}

impl RtpTail {
    pub(crate) fn new(destination: RtpDestination, session: Session, attempt: u32) -> Self {
        Self { destination, session, version: attempt + 1 }
    }

    async fn description(&self, pipeline: &gst::Pipeline) -> Result<Description, OutputError> {
        let pad = |name: &str| {
            pipeline
                .by_name(name)
                .and_then(|payloader| payloader.static_pad("src"))
                .ok_or_else(|| MediaError::Link(format!("pipelines/rtp.launch has no payloader `{name}`")))
        };
        let pads = [pad("video-payloader")?, pad("audio-payloader")?];
        let known = when_caps_are_known(&pads, || {
            let (video, audio) = (pads[0].current_caps()?, pads[1].current_caps()?);
            Description::from_caps(&video, &audio, &self.session.room, self.session.fps, self.session.bitrates)
        });
        tokio::time::timeout(PARAMETER_SETS, known).await.map_err(|_| OutputError::NotReady {
            what: "the encoders gave no parameter sets".into(),
            waited: PARAMETER_SETS,
        })
    }

    /// Sends the same packets to a port pair of our own for a moment, and decodes them there: the receiver's own ports
    /// cannot be opened while a player holds them.
    async fn probe(
        &self,
        pipeline: &gst::Pipeline,
        description: &Description,
        wanted: Wanted,
    ) -> Result<(), OutputError> {
        let loopback = std::net::Ipv4Addr::LOCALHOST;
        let port = any_free_rtp_ports().map_err(OutputError::io("a free UDP port for the self-probe"))?;
        let copy = |signal: &str| {
            for (name, offset) in SINKS {
                if let Some(sink) = pipeline.by_name(name) {
                    sink.emit_by_name::<()>(signal, &[&loopback.to_string(), &i32::from(port + offset)]);
                }
            }
        };
        copy("add");
        // Otherwise the proof would wait for the next keyframe, two seconds by default.
        if let Some(pad) = pipeline.by_name("video-payloader").and_then(|payloader| payloader.static_pad("sink")) {
            pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        let sdp = description.write(loopback.into(), port, self.version);
        let played = probe::first_frames(Source::Sdp(sdp), wanted, PROBE).await;
        copy("remove");
        played?;
        Ok(())
    }
}

#[async_trait]
impl Tail for RtpTail {
    fn template(&self) -> &'static str {
        "rtp"
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let host = self.destination.address.to_string();
        for (name, offset) in SINKS {
            let sink = attached.element(name)?;
            sink.set_property("host", &host);
            sink.set_property("port", i32::from(self.destination.port + offset));
        }
        let latency = gst::ClockTime::try_from(self.destination.latency).unwrap_or(gst::ClockTime::ZERO);
        if latency.is_zero() {
            // Without a common delay to hold them to, packets leave as they come.
            for name in ["video-rtp", "audio-rtp"] {
                attached.element(name)?.set_property("sync", false);
            }
        } else {
            attached.pipeline().set_latency(latency);
        }
        Ok(())
    }

    fn has_end(&self) -> bool {
        // Receivers notice silence; rtpbin would hold the end back until its next RTCP interval.
        false
    }

    async fn verify(&self, pipeline: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let description = self.description(pipeline).await?;
        self.probe(pipeline, &description, wanted).await?;
        let RtpDestination { address, port, sdp, .. } = &self.destination;
        Ok(match sdp {
            Some(path) => {
                write_atomically(path, &description.write(*address, *port, self.version))?;
                Play::sdp_file(path)
            }
            None => Play { url: format!("rtp://{address}:{port}"), ..Play::default() },
        })
    }
}
