//! FLV to an RTMP server, which passes it on: YouTube, Twitch, nginx-rtmp and the like.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gst::prelude::*;
use gstreamer as gst;

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::spec::RtmpDestination;
use super::streams::Forms;
use super::tail::Tail;
use crate::media::MediaError;
use crate::media::bus::ElementFault;
use crate::probe::Wanted;

/// How often it is asked how much the server has taken.
const POLL: Duration = Duration::from_millis(100);

/// How long connecting, with TLS and a name to look up, and publishing may take.
const PUBLISHED: Duration = Duration::from_secs(8);

/// How long a server must take the stream: one that does not want it closes the connection after it was published.
const ACCEPTED: Duration = Duration::from_secs(2);

/// How long the first bytes after that may take.
const MORE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct RtmpTail {
    destination: RtmpDestination,
    accepted: AtomicBool,
}

impl RtmpTail {
    pub(crate) fn new(destination: RtmpDestination) -> Self {
        Self { destination, accepted: AtomicBool::new(false) }
    }

    fn fault(&self, reason: impl Into<String>) -> OutputError {
        OutputError::Remote { place: self.destination.to_string(), reason: reason.into() }
    }

    /// What it means that the element failed. Its errors have one code for everything a server may refuse; which command
    /// failed is only in the text.
    fn reason(&self, fault: &ElementFault) -> String {
        let said = &fault.message;
        if said.contains("'publish'") {
            "the server refused the stream: the stream key is wrong, not permitted, or in use".into()
        } else if said.contains("'connect'") {
            format!("the server does not accept the application `{}`", self.destination.application)
        } else if said.starts_with("Connection error") && self.accepted.load(Ordering::Relaxed) {
            format!("the connection was lost: {said}")
        } else if said.starts_with("Connection error") {
            "the server closed the connection at once: the stream key is wrong, not permitted, or in use".into()
        } else if said.contains("Short read") || said.contains("TLS handshake") {
            let protocol = if self.destination.tls { "RTMP over TLS" } else { "RTMP" };
            format!("what answers on this port does not speak {protocol}: {said}")
        } else if said.contains("TLS certificate") {
            "nobody vouches for the server's certificate: insecure=1 accepts it, and then nobody knows who listens"
                .into()
        } else {
            fault.to_string()
        }
    }
}

#[async_trait]
impl Tail for RtmpTail {
    fn template(&self) -> &'static str {
        "rtmp"
    }

    fn accept(&self, forms: &Forms) -> Result<(), OutputError> {
        forms.h264_and_aac("RTMP")
    }

    fn asks_for_keyframes(&self) -> bool {
        true
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let sink = attached.element("sink")?;
        let RtmpDestination { host, port, tls, insecure, application, key, user } = &self.destination;
        sink.set_property_from_str("scheme", if *tls { "rtmps" } else { "rtmp" });
        sink.set_property("host", host);
        sink.set_property("port", i32::from(*port));
        sink.set_property("application", application);
        sink.set_property("stream", key.reveal());
        if *insecure {
            // No flag: nothing is checked.
            sink.set_property_from_str("tls-validation-flags", "0");
        }
        if let Some((name, password)) = user {
            sink.set_property("username", name);
            sink.set_property("password", password.reveal());
        }
        Ok(())
    }

    /// Nobody may play from such a server, as a rule: it has taken the stream when it took it for a while.
    async fn verify(&self, pipeline: &gst::Pipeline, _: Wanted) -> Result<Play, OutputError> {
        let sink = pipeline.by_name("sink").ok_or_else(|| MediaError::link("pipelines/rtmp.launch has no `sink`"))?;
        let more_than = async |least: u64| {
            while sent(&sink) <= least {
                // The element has no event for this.
                tokio::time::sleep(POLL).await;
            }
        };
        // The element counts from when the server has said that the stream is published.
        tokio::time::timeout(PUBLISHED, more_than(0)).await.map_err(|_| {
            self.fault(format!(
                "no answer for {PUBLISHED:?}: is the server there, and does it speak RTMP on this port?"
            ))
        })?;
        let before = sent(&sink);
        tokio::time::sleep(ACCEPTED).await;
        tokio::time::timeout(MORE, more_than(before))
            .await
            .map_err(|_| self.fault(format!("the server took nothing for {:?}", ACCEPTED + MORE)))?;
        self.accepted.store(true, Ordering::Relaxed);
        Ok(Play { url: self.destination.to_string(), ..Play::default() })
    }

    fn explain(&self, error: OutputError) -> OutputError {
        match error {
            OutputError::Pipeline(fault) if fault.element == "sink" => self.fault(self.reason(&fault)),
            OutputError::Stalled(limit) => self.fault(format!("the server has not read anything for {limit:?}")),
            error => error,
        }
    }
}

fn sent(sink: &gst::Element) -> u64 {
    sink.property::<gst::Structure>("stats").get("out-bytes-total").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Destination, OutputSpec};
    use super::*;

    #[test]
    fn what_a_server_refuses_is_said_in_words_and_without_the_key() {
        let text = "rtmp://live.example/app/s3cret";
        let Destination::Rtmp(rtmp) = text.parse::<OutputSpec>().unwrap().destination else { panic!("{text}") };
        let tail = RtmpTail::new(rtmp);
        for (said, expected) in [
            ("Failed to connect: 'publish' cmd failed: connection closed remotely", "the stream key is wrong"),
            ("Failed to connect: 'connect' cmd failed: connection closed remotely", "the application `app`"),
            ("Connection error: connection closed remotely", "at once: the stream key is wrong"),
            ("Connection error: Error receiving data: Connection reset by peer", "at once: the stream key is wrong"),
            ("Failed to connect: Short read (want 3073 have 103)", "does not speak RTMP: "),
            ("Failed to connect: Unacceptable TLS certificate", "insecure=1"),
            ("Connection refused: Could not connect to ::1: Connection refused", "Connection refused"),
        ] {
            let fault = ElementFault {
                element: "sink".into(),
                message: said.into(),
                debug: String::new(),
                no_space_left: false,
                resource: None,
            };
            let error = tail.explain(OutputError::Pipeline(fault)).to_string();
            assert!(error.contains(expected) && error.contains("rtmp://live.example:1935/app/…"), "{error}");
            assert!(!error.contains("s3cret") && !format!("{tail:?}").contains("s3cret"), "{error}");
        }
    }
}
