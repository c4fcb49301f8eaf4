//! Those in a room who receive what a relay forwards: one connection each, made when they call or are called.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::feed::{self, Feed};
use super::{ID_PREFIX, RelayConfig};
use crate::peer::{InboundTrack, Peer, PeerError, PeerEvent};
use crate::signaling::{Command, Event, OfferRole, polite};
use crate::terms::{Codec, IceCandidate, MediaKind, ParticipantId, SdpType, SessionDescription};

/// Events that may wait: the relay is behind then, not the media.
const EVENTS: usize = 64;

/// The members of one room.
#[derive(Debug)]
pub(super) struct Members {
    me: ParticipantId,
    config: Arc<RelayConfig>,
    feeds: Vec<Feed>,
    commands: mpsc::Sender<Command>,
    events: mpsc::Sender<(ParticipantId, PeerEvent)>,
    members: HashMap<ParticipantId, Member>,
}

#[derive(Debug)]
struct Member {
    peer: Peer,
    /// Ends the tasks that send.
    tasks: JoinSet<()>,
}

enum Request {
    Call,
    Description(SessionDescription),
    Candidate(Option<IceCandidate>),
}

impl Members {
    /// What happens on the connections goes to `events` and comes back through [`Self::heard`].
    pub(super) fn new(
        me: ParticipantId,
        config: Arc<RelayConfig>,
        commands: mpsc::Sender<Command>,
        events: mpsc::Sender<(ParticipantId, PeerEvent)>,
    ) -> Self {
        Self { me, config, feeds: Vec::new(), commands, events, members: HashMap::new() }
    }

    /// Adds a stream; those who are connected already are offered it too.
    pub(super) async fn add(&mut self, feed: Feed) {
        self.feeds.push(feed.clone());
        let mut refused = Vec::new();
        for (id, member) in &mut self.members {
            match member.peer.add_outbound(feed.codec).await {
                Ok(track) => feed::send_all(vec![(feed.clone(), track)], &mut member.tasks),
                Err(error) => refused.push((id.clone(), error)),
            }
        }
        for (id, error) in refused {
            self.hang_up(&id, &error.to_string()).await;
        }
    }

    /// What the room says.
    pub(super) async fn signaled(&mut self, event: Event) {
        match event {
            // Publishers have nothing to tell each other.
            Event::PeerJoined { peer, .. } | Event::Description { peer, .. } | Event::Candidate { peer, .. }
                if peer.as_str().starts_with(ID_PREFIX) => {}
            Event::Joined { me, .. } => self.me = me,
            Event::PeerJoined { peer, offer: OfferRole::WeOffer } => self.with(peer, Request::Call).await,
            Event::PeerJoined { .. } => {}
            Event::Description { peer, description } => {
                // An answer to a call that has ended is of no use; an offer begins a new one.
                if self.members.contains_key(&peer) || description.kind == SdpType::Offer {
                    self.with(peer, Request::Description(description)).await;
                }
            }
            Event::Candidate { peer, candidate } => self.with(peer, Request::Candidate(candidate)).await,
            Event::SessionEnded { peer } | Event::PeerLeft { peer } => self.remove(&peer).await,
            Event::Reconnecting { reason, .. } => debug!(reason, "the room is joined again"),
        }
    }

    /// What a connection says.
    pub(super) async fn heard(&mut self, id: ParticipantId, event: PeerEvent) {
        match event {
            PeerEvent::LocalDescription(description) => self.ask(Command::Description { peer: id, description }).await,
            PeerEvent::LocalCandidate(candidate) => self.ask(Command::Candidate { peer: id, candidate }).await,
            PeerEvent::Failed { reason } | PeerEvent::Misused { reason } => self.hang_up(&id, &reason).await,
            _ => {}
        }
    }

    pub(super) async fn close(self) {
        for (_, member) in self.members {
            member.close().await;
        }
    }

    /// Does something with a member's connection, which is made for it when there is none. A member who sends nonsense
    /// loses the call; the others do not notice.
    async fn with(&mut self, id: ParticipantId, request: Request) {
        if let Err(error) = self.request(&id, request).await {
            self.hang_up(&id, &error.to_string()).await;
        }
    }

    async fn request(&mut self, id: &ParticipantId, request: Request) -> Result<(), PeerError> {
        if !self.members.contains_key(id) {
            let member = self.start(id).await?;
            self.members.insert(id.clone(), member);
        }
        let Some(member) = self.members.get(id) else { return Ok(()) };
        match request {
            Request::Call => member.peer.call().await,
            Request::Description(description) => member.peer.handle_description(description).await,
            Request::Candidate(candidate) => member.peer.handle_candidate(candidate).await,
        }
    }

    async fn start(&self, id: &ParticipantId) -> Result<Member, PeerError> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        let config = self.config.peer(self.codecs(), polite(&self.me, id));
        let peer = Peer::start(id.clone(), config, sender).await?;
        let (mut tasks, mut tracks) = (JoinSet::new(), Vec::new());
        for feed in &self.feeds {
            tracks.push((feed.clone(), peer.add_outbound(feed.codec).await?));
        }
        feed::send_all(tracks, &mut tasks);
        tasks.spawn(pass_events(id.clone(), receiver, self.events.clone()));
        Ok(Member { peer, tasks })
    }

    /// Exactly what is forwarded; of a kind that may still begin, everything.
    fn codecs(&self) -> Vec<Codec> {
        let mut codecs: Vec<Codec> = self.feeds.iter().map(|feed| feed.codec).collect();
        let known: Vec<MediaKind> = codecs.iter().map(|codec| codec.kind()).collect();
        codecs.extend(Codec::ALL.into_iter().filter(|codec| !known.contains(&codec.kind())));
        codecs
    }

    async fn hang_up(&mut self, id: &ParticipantId, reason: &str) {
        warn!(participant = %id, reason, "a call of a relay is ended");
        self.ask(Command::Hangup { peer: id.clone() }).await;
        self.remove(id).await;
    }

    async fn remove(&mut self, id: &ParticipantId) {
        if let Some(member) = self.members.remove(id) {
            member.close().await;
        }
    }

    /// Fails only when the session has ended, which its events say too.
    async fn ask(&self, command: Command) {
        self.commands.send(command).await.ok();
    }
}

impl Member {
    async fn close(mut self) {
        self.tasks.shutdown().await;
        self.peer.close().await;
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

/// A publisher neither sees nor hears the others.
async fn discard(mut track: InboundTrack) {
    while track.read().await.is_some() {}
}
