//! Packets on their way into `rtpbin`, and what their payload types mean.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::av1_sizes;
use super::sync::LipSync;
use super::unfinished::{self, Unfinished};
use super::{add, link, session, static_pad};
use crate::media::clock::MediaClock;
use crate::media::{MediaError, decode};
use crate::terms::{Codec, MediaKind};

/// Packets that may wait in front of `rtpbin`: a quarter of a second of 4 Mb/s.
const MAX_WAITING_PACKETS: u64 = 512;

/// Which payload type of which session is which codec, as `rtpbin` asks for it.
pub(super) type PayloadTypes = Arc<Mutex<HashMap<(u32, u8), gst::Caps>>>;

/// Where packets of one kind go in. Clones feed the same pipeline.
#[derive(Clone, Debug)]
pub struct Input {
    kind: MediaKind,
    session: u32,
    rtp: gst_app::AppSrc,
    sync: LipSync,
    clock: MediaClock,
    payload_types: PayloadTypes,
    current: Option<(Codec, u8)>,
    held: Vec<gst::Buffer>,
    unfinished: Unfinished,
}

impl Input {
    pub(super) fn new(
        pipeline: &gst::Pipeline,
        rtpbin: &gst::Element,
        kind: MediaKind,
        clock: &MediaClock,
        payload_types: &PayloadTypes,
        sync: &LipSync,
    ) -> Result<Self, MediaError> {
        let session = session(kind);
        let rtp = gst_app::AppSrc::builder()
            .name(format!("{kind}-rtp"))
            .caps(&gst::Caps::new_empty_simple("application/x-rtp"))
            .is_live(true)
            .format(gst::Format::Time)
            // The arrival time is the jitter buffer's clock; packets bring it along.
            .do_timestamp(false)
            .max_bytes(0)
            .max_buffers(MAX_WAITING_PACKETS)
            .leaky_type(gst_app::AppLeakyType::Downstream)
            .automatic_eos(false)
            .build();
        add(pipeline, &rtp)?;
        let pad = rtpbin
            .request_pad_simple(&format!("recv_rtp_sink_{session}"))
            .ok_or_else(|| MediaError::link(format!("rtpbin gives no pad for {kind}")))?;
        link(&static_pad(&rtp, "src")?, &pad)?;
        Ok(Self {
            kind,
            session,
            rtp,
            sync: sync.clone(),
            clock: clock.clone(),
            payload_types: Arc::clone(payload_types),
            current: None,
            held: Vec::new(),
            unfinished: Unfinished::default(),
        })
    }

    /// Takes one RTP packet of `size` bytes, which `fill` writes and which has arrived now. Copied once; never blocks.
    pub fn push_rtp(&mut self, codec: Codec, payload_type: u8, size: usize, fill: impl FnOnce(&mut [u8])) {
        self.hold_rtp(codec, payload_type, size, fill);
        self.release();
    }

    /// The same, but the packet stays here until [`Self::release`]: what is passed on together wakes every later stage once.
    pub fn hold_rtp(&mut self, codec: Codec, payload_type: u8, size: usize, fill: impl FnOnce(&mut [u8])) {
        if self.current != Some((codec, payload_type)) {
            self.release();
            self.current = Some((codec, payload_type));
            let caps = decode::rtp_caps(codec, payload_type);
            self.payload_types
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert((self.session, payload_type), caps.clone());
            self.rtp.set_caps(Some(&caps));
        }
        let (mut admitted, mut fits) = (true, true);
        let unfinished = &mut self.unfinished;
        let buffer = filled(size, |bytes| {
            fill(bytes);
            admitted = unfinished.admits(codec, bytes);
            fits = codec != Codec::Av1 || unfinished::read(bytes).is_none_or(|(_, _, payload)| av1_sizes::fit(payload));
        });
        if !fits {
            // It is lost, like one that the network has spoilt.
            tracing::debug!("a packet of AV1 has sizes that lead beyond it");
            return;
        }
        if !admitted {
            let largest = unfinished::LARGEST;
            gst::element_error!(
                self.rtp,
                gst::StreamError::Format,
                ["a picture has more than the {largest} bytes that are taken, and no end"]
            );
            return;
        }
        let Some(mut buffer) = buffer else { return };
        if let Some(buffer) = buffer.get_mut() {
            let arrival = self.clock.running_time();
            buffer.set_pts(arrival);
            buffer.set_dts(arrival);
        }
        self.held.push(buffer);
    }

    /// Passes on what is held, in one piece: each piece wakes the thread that takes it.
    pub fn release(&mut self) {
        let refused = match self.held.len() {
            0 => return,
            1 => self.held.pop().is_some_and(|buffer| self.rtp.push_buffer(buffer).is_err()),
            _ => self.rtp.push_buffer_list(self.held.drain(..).collect()).is_err(),
        };
        if refused {
            tracing::trace!(appsrc = %self.rtp.name(), "packets came after the end");
        }
    }

    /// Takes one RTCP compound packet with a sender report (RFC 3550, section 6.4.1).
    ///
    /// It does not go to `rtpbin`, which would bring the streams in step by itself, and by the word of every single report.
    pub fn push_rtcp(&self, compound: &[u8]) {
        self.sync.report(self.kind, compound, self.clock.running_time());
    }
}

/// Whoever ends leaves nothing behind.
impl Drop for Input {
    fn drop(&mut self) {
        self.release();
    }
}

fn filled(size: usize, fill: impl FnOnce(&mut [u8])) -> Option<gst::Buffer> {
    let mut buffer = gst::Buffer::with_size(size).ok()?;
    fill(&mut buffer.get_mut()?.map_writable().ok()?);
    Some(buffer)
}
