//! MPEG-TS over SRT: to a receiver that we call, or to any number of players that call us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::spec::{Secret, SrtDestination, SrtEnd};
use super::streams::Forms;
use super::tail::{Tail, ask_for_keyframe};
use crate::media::MediaError;
use crate::media::bus::ElementFault;
use crate::probe::{self, Source, Wanted};

/// How long the self-probe may take.
const PROBE: Duration = Duration::from_secs(10);

/// When libsrt gives up a connection that nobody answers (SRTO_CONNTIMEO).
const CONNECT: Duration = Duration::from_secs(3);

/// A fault that comes so long before [`CONNECT`] is an answer.
const MARGIN: Duration = Duration::from_millis(200);

/// How often it is asked whether the receiver has acknowledged anything, and how long that may take.
const POLL: Duration = Duration::from_millis(100);
const ACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Acknowledgements come every 10 ms (SRT, section 3.2.4): so many are a stream and not only its beginning.
const ENOUGH: i64 = 20;

#[derive(Debug)]
pub(crate) struct SrtTail {
    destination: SrtDestination,
    started: OnceLock<Instant>,
    connected: AtomicBool,
}

impl SrtTail {
    pub(crate) fn new(destination: SrtDestination) -> Self {
        Self { destination, started: OnceLock::new(), connected: AtomicBool::new(false) }
    }

    /// Calls ourselves as a player would.
    async fn call(&self, pipeline: &gst::Pipeline, address: SocketAddr, wanted: Wanted) -> Result<Play, OutputError> {
        let shown = format!("srt://{}", reachable(address));
        let mut url = format!("{shown}?mode=caller");
        if let Some(passphrase) = &self.destination.passphrase {
            url += &format!("&passphrase={}", utf8_percent_encode(passphrase.reveal(), NON_ALPHANUMERIC));
        }
        ask_for_keyframe(pipeline);
        probe::first_frames(Source::Uri(url), wanted, PROBE).await?;
        Ok(Play::srt(&shown, self.destination.passphrase.is_some()))
    }

    /// Waits until the receiver has acknowledged some of the stream.
    async fn acknowledged(&self, sink: &gst::Element) -> Result<Play, OutputError> {
        let taken = async {
            loop {
                match acknowledgements(sink) {
                    0 => {}
                    count => {
                        self.connected.store(true, Ordering::Relaxed);
                        if count >= ENOUGH {
                            return;
                        }
                    }
                }
                // The element has no event for this.
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(ACKNOWLEDGED, taken)
            .await
            .map_err(|_| self.fault(format!("the receiver acknowledged nothing for {ACKNOWLEDGED:?}")))?;
        Ok(Play { url: self.destination.to_string(), ..Play::default() })
    }

    fn fault(&self, reason: impl Into<String>) -> OutputError {
        OutputError::Remote { place: self.destination.to_string(), reason: reason.into() }
    }

    /// What it means that the element failed after this time: libsrt itself knows, and GStreamer 1.22 does not ask it.
    fn reason(&self, fault: &ElementFault, after: Duration) -> String {
        let SrtEnd::Caller { stream_id, .. } = &self.destination.end else { return fault.to_string() };
        if self.connected.load(Ordering::Relaxed) {
            return format!("the connection was lost: {}", fault.message);
        }
        if after + MARGIN >= CONNECT {
            return format!("nobody answered for {CONNECT:?}: is the receiver there, and does UDP get through to it?");
        }
        let suspect = match (&self.destination.passphrase, stream_id) {
            (Some(_), None) => "the passphrase is wrong, or it wants a streamid=",
            (Some(_), Some(_)) => "the passphrase or the streamid is wrong",
            (None, Some(_)) => "the streamid is wrong, or it wants a passphrase=",
            (None, None) => "it wants a passphrase= or a streamid=",
        };
        format!("the receiver refused the connection: {suspect}")
    }
}

#[async_trait]
impl Tail for SrtTail {
    fn template(&self) -> &'static str {
        "srt"
    }

    fn accept(&self, forms: &Forms) -> Result<(), OutputError> {
        forms.h264_and_aac("MPEG-TS")
    }

    fn asks_for_keyframes(&self) -> bool {
        true
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let sink = attached.element("sink")?;
        let SrtDestination { end, passphrase, key_length, latency } = &self.destination;
        // The element has properties for everything but the host. What is in front of `?` was read as a host and a port.
        sink.set_property("uri", self.destination.to_string());
        match end {
            SrtEnd::Caller { stream_id, .. } => {
                sink.set_property_from_str("mode", "caller");
                sink.set_property("streamid", stream_id.as_ref().map(Secret::reveal));
            }
            SrtEnd::Listener(address) => {
                sink.set_property_from_str("mode", "listener");
                sink.set_property("localaddress", address.ip().to_string());
                sink.set_property("localport", u32::from(address.port()));
            }
        }
        if let Some(passphrase) = passphrase {
            sink.set_property("passphrase", passphrase.reveal());
        }
        if let Some(length) = key_length {
            sink.set_property_from_str("pbkeylen", &length.to_string());
        }
        sink.set_property("latency", i32::try_from(latency.as_millis()).unwrap_or(i32::MAX));
        // It is set once per tail.
        self.started.set(Instant::now()).ok();
        Ok(())
    }

    async fn verify(&self, pipeline: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        match &self.destination.end {
            SrtEnd::Listener(address) => self.call(pipeline, *address, wanted).await,
            SrtEnd::Caller { .. } => {
                let sink = pipeline.by_name("sink");
                let sink = sink.ok_or_else(|| MediaError::link("pipelines/srt.launch has no `sink`"))?;
                self.acknowledged(&sink).await
            }
        }
    }

    fn explain(&self, error: OutputError) -> OutputError {
        match error {
            OutputError::Pipeline(fault) if fault.element == "sink" => {
                self.fault(self.reason(&fault, self.started.get().map(Instant::elapsed).unwrap_or_default()))
            }
            OutputError::Media(MediaError::State { reason, .. }) => match self.destination.end {
                SrtEnd::Listener(address) => {
                    let port = address.port();
                    self.fault(format!("{reason}: is {} ours, and UDP port {port} free?", address.ip()))
                }
                SrtEnd::Caller { .. } => self.fault(reason),
            },
            error => error,
        }
    }

    fn has_end(&self) -> bool {
        // The other side notices that the connection ends.
        false
    }

    async fn finish(&self) -> Result<(), OutputError> {
        match &self.destination.end {
            SrtEnd::Caller { .. } if !self.connected.load(Ordering::Relaxed) => {
                Err(self.fault("it never was connected"))
            }
            _ => Ok(()),
        }
    }
}

/// An address of this machine by which a listener is reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// How many acknowledgements have come; none before there is a connection.
fn acknowledgements(sink: &gst::Element) -> i64 {
    let stats = sink.property::<gst::Structure>("stats");
    stats.get::<i32>("packet-ack-received").map_or(0, i64::from)
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Destination, OutputSpec};
    use super::*;

    fn tail(text: &str) -> SrtTail {
        let Destination::Srt(srt) = text.parse::<OutputSpec>().unwrap().destination else { panic!("{text}") };
        SrtTail::new(srt)
    }

    fn fault() -> ElementFault {
        ElementFault {
            element: "sink".into(),
            message: "Failed to write to SRT socket: Connection does not exist".into(),
            debug: String::new(),
            no_space_left: false,
            resource: None,
        }
    }

    #[test]
    fn a_refusal_comes_at_once_and_silence_after_the_librarys_limit() {
        let (early, late) = (Duration::from_millis(50), Duration::from_millis(3_040));
        for (text, after, expected) in [
            ("srt://h:1", early, "wants a passphrase= or a streamid="),
            ("srt://h:1?passphrase=0123456789", early, "the passphrase is wrong"),
            ("srt://h:1?passphrase=0123456789&streamid=x", early, "the passphrase or the streamid is wrong"),
            ("srt://h:1?streamid=x", early, "the streamid is wrong"),
            ("srt://h:1?passphrase=0123456789", late, "nobody answered for 3s"),
        ] {
            let reason = tail(text).reason(&fault(), after);
            assert!(reason.contains(expected), "{text}: {reason}");
        }
        let connected = tail("srt://h:1");
        connected.connected.store(true, Ordering::Relaxed);
        assert!(connected.reason(&fault(), late).contains("the connection was lost"));
    }
}
