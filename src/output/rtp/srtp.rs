//! Encryption of the mix's RTP: an `srtpenc` in front of each of the pipeline's sinks.

use gst::prelude::*;
use gstreamer as gst;

use super::super::OutputError;
use super::super::sdp::SrtpKey;
use crate::media::MediaError;
use crate::media::pipeline::make;

/// Puts the encryption between these sinks and what feeds them; sinks that are not there are left out.
pub(super) fn encrypt(pipeline: &gst::Pipeline, key: &SrtpKey, sinks: &[&str]) -> Result<(), OutputError> {
    for payloader in ["video-payloader", "audio-payloader"].iter().filter_map(|name| pipeline.by_name(name)) {
        // Who joins before the numbers wrap needs no rollover counter, which no SDP tells (RFC 3711, section 3.3.1).
        payloader.set_property("seqnum-offset", 0);
    }
    for name in sinks {
        if let Some(sink) = pipeline.by_name(name) {
            let protocol = if name.ends_with("rtcp") { "rtcp" } else { "rtp" };
            insert(pipeline, key, &sink, protocol).map_err(|reason| MediaError::Link(format!("srtpenc: {reason}")))?;
        }
    }
    Ok(())
}

fn insert(pipeline: &gst::Pipeline, key: &SrtpKey, sink: &gst::Element, protocol: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let encoder = make("srtpenc").map_err(|error| failed(&error))?;
    encoder.set_property("key", gst::Buffer::from_slice(*key.bytes()));
    pipeline.add(&encoder).map_err(|error| failed(&error))?;
    let into = sink.static_pad("sink").ok_or("the sink has no pad")?;
    let from = into.peer().ok_or("nothing feeds the sink")?;
    from.unlink(&into).map_err(|error| failed(&error))?;
    let plain = encoder.request_pad_simple(&format!("{protocol}_sink_0")).ok_or("it gives no pad")?;
    let encrypted = encoder.static_pad(&format!("{protocol}_src_0")).ok_or("it has no source pad")?;
    from.link(&plain).map_err(|error| failed(&error))?;
    encrypted.link(&into).map_err(|error| failed(&error))?;
    Ok(())
}
