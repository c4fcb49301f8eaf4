//! Packets on their way into `rtpbin`, and what their payload types mean.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::{add, link, session, static_pad};
use crate::media::{MediaError, decode};
use crate::terms::{Codec, MediaKind};

/// Packets that may wait in front of `rtpbin`: a quarter of a second of 4 Mb/s.
const MAX_WAITING_PACKETS: u64 = 512;

/// Which payload type of which session is which codec, as `rtpbin` asks for it.
pub(super) type PayloadTypes = Arc<Mutex<HashMap<(u32, u8), gst::Caps>>>;

/// Where packets of one kind go in. Clones feed the same pipeline.
#[derive(Clone, Debug)]
pub struct Input {
    session: u32,
    rtp: gst_app::AppSrc,
    rtcp: gst_app::AppSrc,
    payload_types: PayloadTypes,
    current: Option<(Codec, u8)>,
}

impl Input {
    pub(super) fn new(
        pipeline: &gst::Pipeline,
        rtpbin: &gst::Element,
        kind: MediaKind,
        payload_types: &PayloadTypes,
    ) -> Result<Self, MediaError> {
        let session = session(kind);
        let source = |protocol: &str| -> Result<gst_app::AppSrc, MediaError> {
            let appsrc = gst_app::AppSrc::builder()
                .name(format!("{kind}-{protocol}"))
                .caps(&gst::Caps::new_empty_simple(format!("application/x-{protocol}")))
                .is_live(true)
                .format(gst::Format::Time)
                // The arrival time is the jitter buffer's clock.
                .do_timestamp(true)
                .max_bytes(0)
                .max_buffers(MAX_WAITING_PACKETS)
                .leaky_type(gst_app::AppLeakyType::Downstream)
                .automatic_eos(false)
                .build();
            add(pipeline, &appsrc)?;
            let pad = rtpbin
                .request_pad_simple(&format!("recv_{protocol}_sink_{session}"))
                .ok_or_else(|| MediaError::link(format!("rtpbin gives no {protocol} pad")))?;
            link(&static_pad(&appsrc, "src")?, &pad)?;
            Ok(appsrc)
        };
        Ok(Self {
            session,
            rtp: source("rtp")?,
            rtcp: source("rtcp")?,
            payload_types: Arc::clone(payload_types),
            current: None,
        })
    }

    /// Takes one RTP packet of `size` bytes which `fill` writes. Copied once; never blocks.
    pub fn push_rtp(&mut self, codec: Codec, payload_type: u8, size: usize, fill: impl FnOnce(&mut [u8])) {
        if self.current != Some((codec, payload_type)) {
            self.current = Some((codec, payload_type));
            let caps = decode::rtp_caps(codec, payload_type);
            self.payload_types
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert((self.session, payload_type), caps.clone());
            self.rtp.set_caps(Some(&caps));
        }
        push(&self.rtp, size, fill);
    }

    /// Takes one RTCP compound packet that starts with a sender report (RFC 3550, section 6.4.1).
    pub fn push_rtcp(&self, compound: &[u8]) {
        push(&self.rtcp, compound.len(), |bytes| bytes.copy_from_slice(compound));
    }
}

fn push(appsrc: &gst_app::AppSrc, size: usize, fill: impl FnOnce(&mut [u8])) {
    let Ok(mut buffer) = gst::Buffer::with_size(size) else { return };
    if let Some(Ok(mut map)) = buffer.get_mut().map(gst::BufferRef::map_writable) {
        fill(&mut map);
    }
    if appsrc.push_buffer(buffer).is_err() {
        tracing::trace!(appsrc = %appsrc.name(), "a packet came after the end");
    }
}
