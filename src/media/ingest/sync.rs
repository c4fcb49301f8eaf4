//! Brings lips and voice in step: tells [`Lips`] what comes, and gives everything its place in time.
//!
//! Nothing that is mixed waits: nobody's first words are lost, and before the reports it lies where its arrival puts it. What is
//! passed on as it came waits, and gets its times when they are known: not those that the jitter buffer gave it, which needs a
//! while to find out how late the first packets were, but those that its timestamps have from there on back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use super::lips::{Lips, Place, Report};
use crate::media::early;
use crate::terms::{MediaKind, Ssrc};

/// What of a kind may wait, in bytes: three seconds of 16 Mb/s.
const MOST_WAITING: usize = 6_000_000;

/// No stream lies further than this from where its first packets were put, in ns.
const FURTHEST: i64 = 3_000_000_000;

/// The event that [`release`] sends.
pub(super) const RELEASE: &str = "roomcast-release";

/// Packets whose timestamps are kept in mind for the access units that are made of them.
const REMEMBERED: usize = 64;

/// The streams of one ingest. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub(super) struct LipSync(Arc<Mutex<Lips>>);

/// A packet that has its place.
#[derive(Clone, Copy, Debug)]
struct Placed {
    time: gst::ClockTime,
    timestamp: u32,
    flows: bool,
}

/// One source's packets, the newest last.
#[derive(Debug, Default)]
struct Packets(VecDeque<Placed>);

impl Packets {
    fn add(&mut self, placed: Placed) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(placed);
    }

    /// That of an access unit with this time.
    fn of(&self, time: gst::ClockTime) -> Option<Placed> {
        self.0.iter().rev().copied().min_by_key(|packet| packet.time.nseconds().abs_diff(time.nseconds()))
    }
}

/// An access unit that waits.
#[derive(Debug)]
struct Waiting {
    buffer: gst::Buffer,
    timestamp: u32,
}

impl LipSync {
    fn lock(&self) -> MutexGuard<'_, Lips> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sender report that came at this time.
    pub(super) fn report(&self, kind: MediaKind, compound: &[u8], came: gst::ClockTime) {
        if let Some((source, ntp, timestamp)) = crate::rtp::read_report(compound) {
            self.lock().report(kind, Report { source, ntp, timestamp, came: signed(came) });
        }
    }

    /// Gives the packets of a source that pass `packets` their place in time, and holds back what passes `encoded`, which is made of
    /// them in the same thread, until it is known.
    pub(super) fn place(&self, kind: MediaKind, source: Ssrc, rate: u32, packets: &gst::Pad, encoded: &gst::Pad) {
        self.lock().begin(kind, source, rate);
        let remembered = Arc::new(Mutex::new(Packets::default()));
        self.move_packets(kind, source, packets, Arc::clone(&remembered));
        hold(rate, encoded, remembered);
    }

    fn move_packets(&self, kind: MediaKind, source: Ssrc, pad: &gst::Pad, remembered: Arc<Mutex<Packets>>) {
        let sync = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
            let (Some(time), Some(timestamp)) = (buffer.pts(), timestamp(buffer)) else {
                return gst::PadProbeReturn::Ok;
            };
            let Place { offset, flows } = sync.lock().packet(kind, source, timestamp, signed(time));
            if offset != 0 {
                delay(buffer.make_mut(), offset);
            }
            let time = later(time, offset);
            remembered.lock().unwrap_or_else(PoisonError::into_inner).add(Placed { time, timestamp, flows });
            gst::PadProbeReturn::Ok
        });
        let sync = self.clone();
        // A decoder conceals what was lost at the time that this says.
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            let lost = info.event().and_then(|event| event.structure()).filter(|it| it.has_name("GstRTPPacketLost"));
            let Some(time) = lost.and_then(|lost| lost.get::<u64>("timestamp").ok()) else {
                return gst::PadProbeReturn::Ok;
            };
            let offset = sync.lock().offset(kind);
            if let Some(gst::PadProbeData::Event(event)) = &mut info.data
                && offset != 0
            {
                let time = later(gst::ClockTime::from_nseconds(time), offset);
                event.make_mut().structure_mut().set("timestamp", time.nseconds());
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// What waits at one pad.
#[derive(Debug, Default)]
struct Held {
    units: Vec<Waiting>,
    size: usize,
    /// Nothing waits any more.
    over: bool,
}

impl Held {
    /// Lets everything go on, moved as `moved` says, and what follows.
    fn release(&mut self, pad: &gst::Pad, moved: impl Fn(&Waiting) -> i64) {
        self.over = true;
        let Some(peer) = pad.peer() else { return };
        for mut unit in self.units.drain(..) {
            let moved = moved(&unit);
            delay(unit.buffer.make_mut(), moved);
            // What the one behind it says is what the streaming thread hears.
            peer.chain(unit.buffer).ok();
        }
    }
}

/// Holds back what passes until it flows, or until somebody asks for it with [`release`].
fn hold(rate: u32, pad: &gst::Pad, remembered: Arc<Mutex<Packets>>) {
    let held = Arc::new(Mutex::new(Held::default()));
    let asked = Arc::clone(&held);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((buffer, time)) = info.buffer().and_then(|buffer| Some((buffer, buffer.pts()?))) else {
            return gst::PadProbeReturn::Ok;
        };
        let placed = remembered.lock().unwrap_or_else(PoisonError::into_inner).of(time);
        let Some(placed) = placed.filter(|_| !held.over) else { return gst::PadProbeReturn::Ok };
        if !placed.flows && held.size < MOST_WAITING {
            held.size += buffer.size();
            early::show(pad, buffer);
            held.units.push(Waiting { buffer: buffer.to_owned(), timestamp: placed.timestamp });
            // Not `Drop`: with it GStreamer 1.22 releases the buffer that the binding has released already.
            return gst::PadProbeReturn::Handled;
        }
        held.release(pad, |unit| {
            let before = i64::from(placed.timestamp.wrapping_sub(unit.timestamp).cast_signed()) * 1_000_000_000;
            let belongs = later(time, -before / i64::from(rate.max(1))).nseconds();
            let lies = unit.buffer.pts().unwrap_or(time).nseconds();
            // Numbers that begin anew say nothing of what came before.
            Some(belongs.wrapping_sub(lies).cast_signed()).filter(|moved| moved.abs() < FURTHEST).unwrap_or(0)
        });
        gst::PadProbeReturn::Remove
    });
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |pad, info| {
        if info.event().and_then(|event| event.structure()).is_some_and(|it| it.has_name(RELEASE)) {
            asked.lock().unwrap_or_else(PoisonError::into_inner).release(pad, |_| 0);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Lets what waits at the other end of this sink go on as it lies: nothing follows that would tell more.
pub(in crate::media) fn release(sink: &gst::Element) {
    sink.send_event(gst::event::CustomUpstream::new(gst::Structure::new_empty(RELEASE)));
}

/// The timestamp of an RTP packet (RFC 3550, section 5.1).
fn timestamp(packet: &gst::BufferRef) -> Option<u32> {
    let mut bytes = [0; 4];
    packet.copy_to_slice(4, &mut bytes).ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// In ns.
fn signed(time: gst::ClockTime) -> i64 {
    i64::try_from(time.nseconds()).unwrap_or(i64::MAX)
}

fn later(time: gst::ClockTime, offset: i64) -> gst::ClockTime {
    // The largest number of all means that there is no time.
    gst::ClockTime::from_nseconds(time.nseconds().saturating_add_signed(offset).min(u64::MAX - 1))
}

fn delay(buffer: &mut gst::BufferRef, offset: i64) {
    let (pts, dts) = (buffer.pts(), buffer.dts());
    buffer.set_pts(pts.map(|time| later(time, offset)));
    buffer.set_dts(dts.map(|time| later(time, offset)));
}
