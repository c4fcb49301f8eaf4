//! RTP with an SDP file: the mix through a pipeline, a participant's packets past it, to one receiver, several or a group, with
//! the sender reports that keep lips and voice together.

mod reports;
mod srtp;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::OutputError;
use super::attached::Attached;
use super::passthrough::{Forms, Passthrough, PassthroughConfig};
use super::players::Play;
use super::rtp_ports::any_free_rtp_ports;
use super::sdp::{Description, Media, write_atomically};
use super::spec::{RtpDestination, Stream, Tracks};
use super::streams::Streams;
use super::tail::{Session, Tail};
use crate::media::MediaError;
use crate::media::producer::when_caps_are_known;
use crate::probe::{self, Source, Wanted};
use crate::rtp::{PacketSink, Plug};
use crate::terms::MediaKind;

/// How long the encoders may take to bring their parameter sets.
const PARAMETER_SETS: Duration = Duration::from_secs(10);

/// How long the self-probe may take.
const PROBE: Duration = Duration::from_secs(10);

/// How long the second of a participant's two streams is waited for: somebody may have no microphone.
const SECOND_STREAM: Duration = Duration::from_secs(5);

/// A change of codec and what follows from it come as several packets.
const SETTLE: Duration = Duration::from_millis(100);

/// The four sinks of `pipelines/rtp.launch` and their distance from the video's port.
const SINKS: [(&str, u16); 4] = [("video-rtp", 0), ("video-rtcp", 1), ("audio-rtp", 2), ("audio-rtcp", 3)];

#[derive(Debug)]
pub(crate) struct RtpTail {
    destination: RtpDestination,
    tracks: Tracks,
    session: Session,
    version: AtomicU32,
    copied: Option<Copied>,
}

/// What is passed on in its packets; it ends with its output.
#[derive(Debug)]
struct Copied {
    passthrough: Arc<Passthrough>,
    _plugs: Vec<Plug>,
}

impl RtpTail {
    pub(crate) fn new(
        destination: RtpDestination,
        tracks: Tracks,
        session: Session,
        streams: &Streams,
        attempt: u32,
    ) -> Result<Self, OutputError> {
        let packets: Vec<Stream> = tracks.iter().filter(|stream| stream.is_packets()).collect();
        let copied = if packets.is_empty() {
            None
        } else {
            let config = PassthroughConfig {
                kinds: packets.iter().map(|stream| stream.kind()).collect(),
                receivers: destination.receivers().collect(),
                multicast: destination.multicast.clone(),
                keyframes: destination.keyframe.unwrap_or(session.gop),
                name: format!("roomcast-{:08x}", rand::random::<u32>()),
                protection: destination.key.clone().map(|key| (session.protection, key)),
            };
            let passthrough = Passthrough::open(&config).map_err(OutputError::io("a UDP socket to send from"))?;
            let plug = |stream: &Stream| {
                let tap = streams.tap(*stream).ok_or(OutputError::NoStream(*stream))?;
                Ok(tap.plug(Arc::clone(&passthrough) as Arc<dyn PacketSink>))
            };
            let plugs = packets.iter().map(plug).collect::<Result<_, OutputError>>()?;
            Some(Copied { passthrough, _plugs: plugs })
        };
        // Versions grow over the attempts as well (RFC 8866, section 5.2).
        let version = AtomicU32::new(attempt << 16);
        Ok(Self { destination, tracks, session, version, copied })
    }

    /// What the mix's streams of this output are like, once their payloaders know.
    async fn mixed(&self, pipeline: &gst::Pipeline, kind: MediaKind) -> Result<Option<Media>, OutputError> {
        let (stream, name, bitrate, fps) = match kind {
            MediaKind::Video => (self.tracks.video, "video-payloader", self.session.bitrates.0, Some(self.session.fps)),
            MediaKind::Audio => (self.tracks.audio, "audio-payloader", self.session.bitrates.1, None),
        };
        if stream.is_none_or(Stream::is_packets) {
            return Ok(None);
        }
        let pad = pipeline
            .by_name(name)
            .and_then(|payloader| payloader.static_pad("src"))
            .ok_or_else(|| MediaError::Link(format!("pipelines/rtp.launch has no payloader `{name}`")))?;
        let known =
            when_caps_are_known(std::slice::from_ref(&pad), || Media::from_caps(&pad.current_caps()?, bitrate, fps));
        tokio::time::timeout(PARAMETER_SETS, known).await.map(Some).map_err(|_| OutputError::NotReady {
            what: "the encoders gave no parameter sets".into(),
            waited: PARAMETER_SETS,
        })
    }

    /// Waits until it is known what a participant sends.
    async fn forms(&self) -> Forms {
        let Some(copied) = &self.copied else { return Forms::default() };
        let mut forms = copied.passthrough.forms();
        let known = |forms: &Forms| {
            let wanted = self.tracks.iter().filter(|stream| stream.is_packets());
            wanted.map(|stream| forms.of(stream.kind()).is_some()).collect::<Vec<_>>()
        };
        // Its sender lives as long as the output.
        forms.wait_for(|forms| known(forms).contains(&true)).await.ok();
        tokio::time::timeout(SECOND_STREAM, forms.wait_for(|forms| !known(forms).contains(&false))).await.ok();
        forms.borrow_and_update().clone()
    }

    async fn describe(&self, pipeline: &gst::Pipeline, forms: &Forms) -> Result<Description, OutputError> {
        let copied = |kind| forms.of(kind).map(Media::from_form);
        let video = self.mixed(pipeline, MediaKind::Video).await?.or_else(|| copied(MediaKind::Video));
        let audio = self.mixed(pipeline, MediaKind::Audio).await?.or_else(|| copied(MediaKind::Audio));
        let (room, key) = (self.session.room.clone(), self.destination.key.clone());
        Ok(Description { room, video, audio, sound_first: self.copied.is_some(), key })
    }

    /// Sends the same packets to a port pair of our own for a moment, and decodes them there: the receiver's own ports
    /// cannot be opened while a player holds them.
    async fn probe(&self, pipeline: &gst::Pipeline, description: &Description) -> Result<(), OutputError> {
        let loopback = Ipv4Addr::LOCALHOST;
        let port = any_free_rtp_ports().map_err(OutputError::io("a free UDP port for the self-probe"))?;
        let wanted = Wanted { video: description.video.is_some(), audio: description.audio.is_some() };
        each_sink(pipeline, |sink, offset| {
            sink.emit_by_name::<()>("add", &[&loopback.to_string(), &i32::from(port + offset)]);
        });
        let copy = self.copied.as_ref().map(|copied| &copied.passthrough);
        let receiver = SocketAddr::from((loopback, port));
        if let Some(copy) = copy {
            copy.add(receiver);
        }
        // Otherwise the proof would wait for the next keyframe, two seconds by default.
        if let Some(pad) = pipeline.by_name("video-payloader").and_then(|payloader| payloader.static_pad("sink")) {
            pad.push_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        let sdp = description.write(loopback.into(), port, 1, 1);
        let played = probe::first_frames(Source::Sdp(sdp), wanted, PROBE).await;
        each_sink(pipeline, |sink, offset| {
            sink.emit_by_name::<()>("remove", &[&loopback.to_string(), &i32::from(port + offset)]);
        });
        if let Some(copy) = copy {
            copy.remove(receiver);
        }
        played?;
        Ok(())
    }

    /// Writes the SDP of each receiver.
    fn publish(&self, description: &Description) -> Result<(), OutputError> {
        let Some(path) = &self.destination.sdp else { return Ok(()) };
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        for (index, receiver) in self.destination.receivers().enumerate() {
            let ttl = self.destination.multicast.ttl;
            let text = description.write(receiver.ip(), receiver.port(), ttl, version);
            write_atomically(&sdp_of(path, index), &text, description.key.is_some())?;
        }
        Ok(())
    }
}

/// `call.sdp`, `call.2.sdp`, `call.3.sdp` …
fn sdp_of(path: &Path, index: usize) -> PathBuf {
    if index == 0 { path.to_owned() } else { path.with_extension(format!("{}.sdp", index + 1)) }
}

/// Does something with each of the sinks that there are.
fn each_sink(pipeline: &gst::Pipeline, act: impl Fn(&gst::Element, u16)) {
    for (name, offset) in SINKS {
        if let Some(sink) = pipeline.by_name(name) {
            act(&sink, offset);
        }
    }
}

#[async_trait]
impl Tail for RtpTail {
    fn template(&self) -> &'static str {
        "rtp"
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let RtpDestination { multicast, latency, .. } = &self.destination;
        let held = !latency.is_zero();
        each_sink(attached.pipeline(), |sink, offset| {
            for (index, receiver) in self.destination.receivers().enumerate() {
                let (host, port) = (receiver.ip().to_string(), i32::from(receiver.port() + offset));
                if index == 0 {
                    sink.set_property("host", &host);
                    sink.set_property("port", port);
                } else {
                    sink.emit_by_name::<()>("add", &[&host, &port]);
                }
            }
            sink.set_property("ttl-mc", i32::from(multicast.ttl));
            // Sending to a group takes no membership.
            sink.set_property("auto-multicast", multicast.interface.is_some());
            if let Some(interface) = &multicast.interface {
                sink.set_property("multicast-iface", &interface.name);
            }
            if !held && offset % 2 == 0 {
                // Without a common delay to hold them to, packets leave as they come.
                sink.set_property("sync", false);
            }
        });
        if let Some(key) = &self.destination.key {
            srtp::encrypt(attached.pipeline(), key, &SINKS.map(|(name, _)| name))?;
        }
        reports::order(attached.pipeline());
        if held {
            attached.pipeline().set_latency(gst::ClockTime::try_from(*latency).unwrap_or(gst::ClockTime::ZERO));
        }
        Ok(())
    }

    fn has_end(&self) -> bool {
        // Receivers notice silence; rtpbin would hold the end back until its next RTCP interval.
        false
    }

    fn counters(&self) -> (u64, u64) {
        self.copied.as_ref().map_or((0, 0), |copied| copied.passthrough.counters())
    }

    async fn verify(&self, pipeline: &gst::Pipeline, _wanted: Wanted) -> Result<Play, OutputError> {
        let description = self.describe(pipeline, &self.forms().await).await?;
        self.probe(pipeline, &description).await?;
        self.publish(&description)?;
        let RtpDestination { address, port, sdp, .. } = &self.destination;
        Ok(match sdp {
            Some(path) => Play::sdp_file(path),
            None => Play { url: format!("rtp://{address}:{port}"), ..Play::default() },
        })
    }

    /// Issues the SDP anew whenever a participant sends in another form.
    async fn tend(&self, pipeline: &gst::Pipeline) -> OutputError {
        let Some(copied) = &self.copied else { return std::future::pending().await };
        let mut forms = copied.passthrough.forms();
        let mut published = None;
        loop {
            let now = forms.borrow_and_update().clone();
            let written = match self.describe(pipeline, &now).await {
                // The first time, it may be what was published as the output became ready.
                Ok(description) if published.as_ref() == Some(&description) => Ok(()),
                Ok(description) => self.publish(&description).map(|()| published = Some(description)),
                Err(error) => Err(error),
            };
            match written {
                Err(error) => return error,
                Ok(()) if forms.changed().await.is_err() => return std::future::pending().await,
                Ok(()) => tokio::time::sleep(SETTLE).await,
            }
        }
    }
}
