//! One stream that is forwarded to any number of receivers: packets in from whoever sends it at the moment, packets out
//! in one continuous numbering, keyframe requests back.
//!
//! The queue towards the receivers is bounded: who does not keep up loses the oldest packets and slows nobody.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tracing::debug;

use crate::peer::{InboundTrack, OutboundTrack};
use crate::rtp::{Capture, Splice};
use crate::terms::{Codec, MediaKind};

/// A keyframe of 1080p, or some seconds of audio.
const PACKETS: usize = 1024;

/// What receivers need of a stream.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    pub(super) codec: Codec,
    packets: broadcast::Sender<crate::peer::RtpPacket>,
    keyframe_wanted: Arc<Notify>,
    /// A timestamp of the forwarded numbering and when it was captured.
    captured: watch::Receiver<Option<(u32, Instant)>>,
}

/// What the owner of a stream puts into it.
#[derive(Debug)]
pub(super) struct Inlet {
    /// What can be put in.
    pub(super) codec: Codec,
    /// Who sends from now on.
    pub(super) tracks: mpsc::Sender<InboundTrack>,
    /// The sender's reports, of whatever stream.
    pub(super) captures: watch::Sender<Option<Capture>>,
}

/// Starts to forward a track in `tasks`.
pub(super) fn start(track: InboundTrack, tasks: &mut JoinSet<()>) -> (Feed, Inlet) {
    let codec = track.codec;
    let (packets, _) = broadcast::channel(PACKETS);
    let (tracks, next_tracks) = mpsc::channel(1);
    let (captures, captures_read) = watch::channel(None);
    let (captured_write, captured) = watch::channel(None);
    let keyframe_wanted = Arc::new(Notify::new());
    let feed = Feed { codec, packets: packets.clone(), keyframe_wanted: Arc::clone(&keyframe_wanted), captured };
    let forwarding = Forwarding {
        codec,
        packets,
        keyframe_wanted,
        captures: captures_read,
        captured: captured_write,
        splice: Splice::new(codec.clock_rate()),
    };
    tasks.spawn(forwarding.run(track, next_tracks));
    (feed, Inlet { codec, tracks, captures })
}

struct Forwarding {
    codec: Codec,
    packets: broadcast::Sender<crate::peer::RtpPacket>,
    keyframe_wanted: Arc<Notify>,
    captures: watch::Receiver<Option<Capture>>,
    captured: watch::Sender<Option<(u32, Instant)>>,
    splice: Splice,
}

impl Forwarding {
    /// Forwards one track after the other, until nobody can bring another one.
    async fn run(mut self, first: InboundTrack, mut next: mpsc::Receiver<InboundTrack>) {
        let mut current = Some(first);
        loop {
            let following = match current.take() {
                Some(track) => self.forward(track, &mut next).await,
                None => next.recv().await,
            };
            self.splice.end_source();
            match following {
                Some(track) => current = Some(track),
                None if next.is_closed() => return,
                None => {}
            }
        }
    }

    /// Forwards a track until it ends or another one takes its place, which is returned.
    async fn forward(
        &mut self,
        mut track: InboundTrack,
        next: &mut mpsc::Receiver<InboundTrack>,
    ) -> Option<InboundTrack> {
        let keyframes = track.keyframe_requester();
        let wanted = Arc::clone(&self.keyframe_wanted);
        loop {
            tokio::select! {
                packet = track.read() => match packet {
                    Some(packet) => if self.pass(packet) && self.codec.kind() == MediaKind::Video {
                        keyframes.request();
                    },
                    None => return None,
                },
                // Its sender is asked at its own pace, however many receivers want one.
                () = wanted.notified(), if self.codec.kind() == MediaKind::Video => keyframes.request(),
                Ok(()) = self.captures.changed() => self.relate(),
                following = next.recv() => return following,
            }
        }
    }

    /// Hands a packet out. True when it begins a new source.
    fn pass(&mut self, packet: crate::peer::RtpPacket) -> bool {
        // A sender that changes its codec in the middle cannot be followed: the receivers have agreed on this one.
        if packet.codec() != Some(self.codec) {
            return false;
        }
        let now = Instant::now();
        let (ssrc, number, timestamp) = (packet.ssrc(), packet.sequence_number(), packet.timestamp());
        let Some(place) = self.splice.place(ssrc, number, timestamp, now) else { return false };
        // Nobody listens: then nobody misses it.
        self.packets.send(packet.renumbered(place.sequence_number, place.timestamp)).ok();
        place.new_source
    }

    fn relate(&mut self) {
        let Some(capture) = *self.captures.borrow_and_update() else { return };
        if let Some(timestamp) = self.splice.timestamp(capture.ssrc, capture.timestamp) {
            self.captured.send_replace(Some((timestamp, capture.at)));
        }
    }
}

/// Sends feeds over the tracks that were added for them, in `tasks`, until the connection ends.
pub(super) fn send_all(feeds: Vec<(Feed, OutboundTrack)>, tasks: &mut JoinSet<()>) {
    for (feed, track) in &feeds {
        tasks.spawn(send(feed.clone(), track.clone()));
        if feed.codec.kind() == MediaKind::Video {
            tasks.spawn(pass_requests(feed.clone(), track.clone()));
        }
    }
    tasks.spawn(pass_captures(feeds));
}

/// Video starts with a keyframe.
async fn send(feed: Feed, track: OutboundTrack) {
    let mut packets = feed.packets.subscribe();
    let mut flows = false;
    loop {
        match packets.recv().await {
            Ok(packet) => match track.write(packet).await {
                Ok(sent) => {
                    if sent && !flows {
                        feed.keyframe_wanted.notify_one();
                    }
                    flows = sent;
                }
                Err(_closed) => return,
            },
            Err(RecvError::Lagged(missed)) => debug!(missed, "a receiver does not keep up"),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn pass_requests(feed: Feed, track: OutboundTrack) {
    loop {
        track.keyframe_requested().await;
        feed.keyframe_wanted.notify_one();
    }
}

/// Tells when media was captured, as soon as that is known of every feed: a receiver compares them.
async fn pass_captures(mut feeds: Vec<(Feed, OutboundTrack)>) {
    for (feed, _) in &mut feeds {
        if feed.captured.wait_for(Option::is_some).await.is_err() {
            return;
        }
    }
    loop {
        for (feed, track) in &mut feeds {
            if let Some((timestamp, at)) = *feed.captured.borrow_and_update() {
                track.captured(timestamp, at);
            }
        }
        let changes = feeds.iter_mut().map(|(feed, _)| Box::pin(feed.captured.changed()));
        if futures_util::future::select_all(changes).await.0.is_err() {
            return;
        }
    }
}
