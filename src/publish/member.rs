//! One member of the room: a connection, and the tracks that are sent over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::source::Feed;
use crate::peer::{InboundTrack, KeyframeRequester, OutboundTrack, Peer, PeerConfig, PeerError, PeerEvent};
use crate::terms::{MediaKind, ParticipantId};

/// Events that may wait: the room is behind then, not the media.
const EVENTS: usize = 64;

/// A member whom we send to. Dropping it ends everything at once.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) peer: Peer,
    /// Ends the tasks below.
    tasks: JoinSet<()>,
}

impl Member {
    /// Starts a connection that sends every feed. Its events are passed on with the member's id.
    pub(super) async fn start(
        id: ParticipantId,
        config: PeerConfig,
        feeds: &[Feed],
        keyframes: KeyframeRequester,
        dropped: Arc<AtomicU64>,
        events: mpsc::Sender<(ParticipantId, PeerEvent)>,
    ) -> Result<Self, PeerError> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        let peer = Peer::start(id.clone(), config, sender).await?;
        let mut tasks = JoinSet::new();
        for feed in feeds {
            let track = peer.add_outbound(feed.codec).await?;
            tasks.spawn(send(feed.clone(), track.clone(), keyframes.clone(), Arc::clone(&dropped)));
            if feed.kind() == MediaKind::Video {
                tasks.spawn(pass_requests(track, keyframes.clone()));
            }
        }
        tasks.spawn(pass_events(id, receiver, events));
        Ok(Self { peer, tasks })
    }

    pub(super) async fn close(mut self) {
        self.tasks.shutdown().await;
        self.peer.close().await;
    }
}

/// Sends a feed until the connection ends. Video starts with a keyframe.
async fn send(feed: Feed, track: OutboundTrack, keyframes: KeyframeRequester, dropped: Arc<AtomicU64>) {
    let mut packets = feed.packets.subscribe();
    let mut flows = false;
    loop {
        match packets.recv().await {
            Ok(packet) => match track.write(packet).await {
                Ok(sent) => {
                    if sent && !flows && feed.kind() == MediaKind::Video {
                        keyframes.request();
                    }
                    flows = sent;
                }
                Err(_closed) => return,
            },
            Err(RecvError::Lagged(missed)) => {
                dropped.fetch_add(missed, Ordering::Relaxed);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn pass_requests(track: OutboundTrack, keyframes: KeyframeRequester) {
    loop {
        track.keyframe_requested().await;
        keyframes.request();
    }
}

async fn pass_events(
    id: ParticipantId,
    mut from: mpsc::Receiver<PeerEvent>,
    to: mpsc::Sender<(ParticipantId, PeerEvent)>,
) {
    let mut received = JoinSet::new();
    while let Some(event) = from.recv().await {
        match event {
            PeerEvent::TrackStarted(track) => {
                received.spawn(discard(track));
            }
            PeerEvent::SenderReport { .. } | PeerEvent::TrackActive { .. } | PeerEvent::Message(_) => {}
            event => {
                if to.send((id.clone(), event)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What others send us is received and thrown away: a test participant neither sees nor hears.
async fn discard(mut track: InboundTrack) {
    while track.read().await.is_some() {}
}
