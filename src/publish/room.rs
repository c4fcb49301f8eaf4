//! Follows a room: one [`Member`] per participant whom we call or who calls us.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::member::Member;
use super::source::{Feed, Source};
use super::{ID_PREFIX, PublishError, PublishEvent, PublishOptions};
use crate::peer::{KeyframeRequester, Network, PeerConfig, PeerError, PeerEvent};
use crate::signaling::{self, CallPolicy, Command, Event, JoinOptions, OfferRole, RoomUrl, Scheme};
use crate::terms::{Codec, IceCandidate, IceServer, ParticipantId, SdpType, SessionDescription};

/// Peer events that may wait for the room.
const EVENTS: usize = 256;
/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(3);

struct Room<'a> {
    feeds: Vec<Feed>,
    keyframes: KeyframeRequester,
    events: &'a mpsc::Sender<PublishEvent>,
    commands: mpsc::Sender<Command>,
    peer_events: mpsc::Sender<(ParticipantId, PeerEvent)>,
    members: HashMap<ParticipantId, Member>,
    me: Option<ParticipantId>,
    scheme: Scheme,
    /// From our options, for the next time we join.
    own_servers: Vec<IceServer>,
    ice_servers: Vec<IceServer>,
    network: Network,
    codecs: Vec<Codec>,
    dropped: Arc<AtomicU64>,
}

/// Joins, calls those who are there, answers everybody, and leaves at the end.
pub(super) async fn attend(
    url: RoomUrl,
    options: &PublishOptions,
    network: Network,
    source: &mut Source,
    events: &mpsc::Sender<PublishEvent>,
    cancel: &CancellationToken,
) -> Result<(), PublishError> {
    let join =
        JoinOptions { call: Some(CallPolicy::Present), id_prefix: Some(ID_PREFIX), sends: true, ..Default::default() };
    let scheme = url.scheme();
    let mut session = signaling::join(url, join, CancellationToken::new());
    let (peer_events, mut from_peers) = mpsc::channel(EVENTS);
    // Ours first; the others so that people who send them can be heard of at all.
    let mut codecs: Vec<Codec> = source.feeds().iter().map(|feed| feed.codec).collect();
    codecs.extend(Codec::ALL.into_iter().filter(|codec| !codecs.contains(codec)).collect::<Vec<_>>());
    let end = async {
        match options.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let mut fault = None;
    let dropped = Arc::new(AtomicU64::new(0));
    let mut room = Room {
        feeds: source.feeds().to_vec(),
        keyframes: source.keyframes(),
        events,
        commands: session.commands.clone(),
        peer_events,
        members: HashMap::new(),
        me: None,
        scheme,
        own_servers: options.ice_servers.clone(),
        ice_servers: options.ice_servers.clone(),
        network,
        codecs,
        dropped: Arc::clone(&dropped),
    };
    let reason = loop {
        tokio::select! {
            () = cancel.cancelled() => break "asked to stop",
            () = &mut end => break "the duration is over",
            failed = source.failed() => {
                fault = Some(failed);
                break "the media ended";
            }
            event = session.events.recv() => match event {
                Some(event) => room.signaled(event).await,
                None => break "the room is gone",
            },
            Some((id, event)) = from_peers.recv() => room.heard(id, event).await,
        }
    };
    room.close().await;
    session.commands.send(Command::Leave).await.ok();
    let left = tokio::time::timeout(LEAVE, session.closed()).await;
    let packets_dropped = dropped.load(Ordering::Relaxed);
    events.send(PublishEvent::Stopped { reason: reason.to_owned(), packets_dropped }).await.ok();
    match (fault, left) {
        (Some(fault), _) => Err(fault),
        (None, Ok(left)) => Ok(left?),
        (None, Err(_)) => Ok(()),
    }
}

impl Room<'_> {
    async fn signaled(&mut self, event: Event) {
        match event {
            Event::Joined { me, ice_servers } => {
                self.ice_servers = self.own_servers.iter().cloned().chain(ice_servers).collect();
                self.me = Some(me.clone());
                self.tell(PublishEvent::Joined { participant: me }).await;
            }
            Event::PeerJoined { peer, offer: OfferRole::WeOffer | OfferRole::WeOfferAhead } => {
                self.with_member(peer, Request::Call).await;
            }
            Event::PeerJoined { peer, offer: OfferRole::WeAskThem } => self.ask(Command::Call { peer }).await,
            Event::PeerJoined { peer, offer } => debug!(%peer, ?offer, "waits to be called"),
            Event::Description { peer, description } => {
                let known = self.members.contains_key(&peer);
                // An answer to a call that has ended is of no use; an offer begins a new one.
                if known || description.kind == SdpType::Offer {
                    self.with_member(peer, Request::Description(description)).await;
                }
            }
            Event::Candidate { peer, candidate } => self.with_member(peer, Request::Candidate(candidate)).await,
            Event::SessionEnded { peer } | Event::PeerLeft { peer } => self.remove(&peer, None).await,
            Event::Reconnecting { attempt, reason, .. } => {
                self.tell(PublishEvent::Reconnecting { attempt, reason }).await;
            }
        }
    }

    async fn heard(&mut self, id: ParticipantId, event: PeerEvent) {
        match event {
            PeerEvent::LocalDescription(description) => {
                self.ask(Command::Description { peer: id, description }).await;
            }
            PeerEvent::LocalCandidate(candidate) => self.ask(Command::Candidate { peer: id, candidate }).await,
            PeerEvent::Connected => self.tell(PublishEvent::Published { participant: id }).await,
            PeerEvent::Disconnected => debug!(participant = %id, "no answer for a while"),
            PeerEvent::Failed { reason } | PeerEvent::Misused { reason } => self.hang_up(&id, reason).await,
            _ => {}
        }
    }

    /// Does something with a member's connection, which is made for it when there is none. A participant who sends
    /// nonsense loses the call; the others do not notice.
    async fn with_member(&mut self, id: ParticipantId, request: Request) {
        if let Err(error) = self.request(&id, request).await {
            warn!(participant = %id, %error, "the call is ended");
            self.hang_up(&id, error.to_string()).await;
        }
    }

    async fn request(&mut self, id: &ParticipantId, request: Request) -> Result<(), PeerError> {
        if !self.members.contains_key(id) {
            let member = self.start(id).await?;
            self.members.insert(id.clone(), member);
            self.tell(PublishEvent::ParticipantJoined { participant: id.clone() }).await;
        }
        let Some(member) = self.members.get(id) else { return Ok(()) };
        match request {
            // Who speaks WHIP only takes.
            Request::Call if self.scheme == Scheme::Whip => member.peer.push().await,
            Request::Call => member.peer.call().await,
            Request::Description(description) => member.peer.handle_description(description).await,
            Request::Candidate(candidate) => member.peer.handle_candidate(candidate).await,
        }
    }

    async fn start(&self, id: &ParticipantId) -> Result<Member, PeerError> {
        let config = PeerConfig {
            ice_servers: self.ice_servers.clone(),
            network: self.network.clone(),
            codecs: self.codecs.clone(),
            polite: self.me.as_ref().is_none_or(|me| self.scheme.polite(me, id)),
            sends: true,
        };
        let (keyframes, dropped) = (self.keyframes.clone(), Arc::clone(&self.dropped));
        Member::start(id.clone(), config, &self.feeds, keyframes, dropped, self.peer_events.clone()).await
    }

    async fn hang_up(&mut self, id: &ParticipantId, reason: String) {
        self.ask(Command::Hangup { peer: id.clone() }).await;
        self.remove(id, Some(reason)).await;
    }

    async fn remove(&mut self, id: &ParticipantId, reason: Option<String>) {
        if let Some(member) = self.members.remove(id) {
            member.close().await;
            self.tell(PublishEvent::ParticipantLeft { participant: id.clone(), reason }).await;
        }
    }

    async fn close(self) {
        for (_, member) in self.members {
            member.close().await;
        }
    }

    /// Fails only when the session has ended, which its events say too.
    async fn ask(&self, command: Command) {
        self.commands.send(command).await.ok();
    }

    /// Fails only when nobody listens to us.
    async fn tell(&self, event: PublishEvent) {
        self.events.send(event).await.ok();
    }
}

enum Request {
    Call,
    Description(SessionDescription),
    Candidate(Option<IceCandidate>),
}
