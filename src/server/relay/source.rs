//! Finds a member of a room who sends, and keeps to them: one call at a time, the next member when that leads to nothing.
//!
//! [`Source::wait`] can be cancelled at any time; [`Source::take`] must run to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::entrance::{self, Name};
use super::{RelayConfig, RelayError};
use crate::peer::{InboundTrack, Peer, PeerError, PeerEvent, sdp};
use crate::signaling::{CallPolicy, Command, Event, GATEWAY_ID_PREFIX, Session, is_gateway, polite};
use crate::terms::{Codec, MediaKind, ParticipantId, SdpType, SessionDescription};

/// Connection events that may wait.
const EVENTS: usize = 64;
/// How long the member list may take to come.
const LIST: Duration = Duration::from_secs(1);
/// How long a member gets from our call to the first packet.
const CALL: Duration = Duration::from_secs(8);

/// A seat in a room, and at most one call.
#[derive(Debug)]
pub(super) struct Source {
    session: Session,
    me: ParticipantId,
    config: Arc<RelayConfig>,
    /// Only this member will do.
    only: Option<ParticipantId>,
    /// What is asked for: whoever watches can take nothing else.
    codecs: Vec<Codec>,
    /// Who is there, in the order in which they came.
    present: Vec<ParticipantId>,
    /// Who was called in vain.
    tried: Vec<ParticipantId>,
    call: Option<Call>,
    /// When it is known who is there.
    listed_at: Instant,
}

#[derive(Debug)]
struct Call {
    with: ParticipantId,
    peer: Peer,
    events: mpsc::Receiver<PeerEvent>,
    /// Until when the first packet must have come.
    deadline: Option<Instant>,
}

/// What [`Source::wait`] saw.
#[derive(Debug)]
pub(super) enum Happened {
    Room(Option<Event>),
    Call(Option<PeerEvent>),
    Deadline,
}

/// What it means for whoever watches.
#[derive(Debug)]
pub(super) enum News {
    /// Nothing yet.
    None,
    /// A member sends this.
    Track(InboundTrack),
    /// A sender report.
    Report(bytes::Bytes),
    /// There is nobody (else) to call at the moment.
    Nobody,
    /// The room is gone.
    Over,
}

impl Source {
    /// Takes a seat in the room.
    pub(super) async fn enter(
        config: Arc<RelayConfig>,
        room: &str,
        only: Option<ParticipantId>,
        codecs: Vec<Codec>,
    ) -> Result<Self, RelayError> {
        let (session, me) = entrance::enter(&config, room, CallPolicy::None, Name::Prefixed(GATEWAY_ID_PREFIX)).await?;
        let (present, tried, listed_at) = (Vec::new(), Vec::new(), Instant::now() + LIST);
        Ok(Self { session, me, config, only, codecs, present, tried, call: None, listed_at })
    }

    pub(super) fn me(&self) -> &ParticipantId {
        &self.me
    }

    /// With whom we are in a call.
    pub(super) fn participant(&self) -> Option<&ParticipantId> {
        self.call.as_ref().map(|call| &call.with)
    }

    /// From now on only these codecs will do.
    pub(super) fn keep_to(&mut self, codecs: Vec<Codec>) {
        self.codecs = codecs;
    }

    /// Asks everybody again.
    pub(super) fn forget_tried(&mut self) {
        self.tried.clear();
    }

    /// Waits for something to happen.
    pub(super) async fn wait(&mut self) -> Happened {
        let deadline = match &self.call {
            Some(call) => call.deadline,
            None if self.next_candidate().is_some() => return Happened::Deadline,
            None => Some(self.listed_at).filter(|at| *at > Instant::now()),
        };
        tokio::select! {
            event = self.session.events.recv() => Happened::Room(event),
            event = async {
                match &mut self.call {
                    Some(call) => call.events.recv().await,
                    None => std::future::pending().await,
                }
            } => Happened::Call(event),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Happened::Deadline,
        }
    }

    /// Does what follows from it.
    pub(super) async fn take(&mut self, happened: Happened) -> News {
        match happened {
            Happened::Room(None) => return News::Over,
            Happened::Room(Some(event)) => self.signaled(event).await,
            Happened::Call(Some(event)) => match self.heard(event).await {
                News::None => {}
                news => return news,
            },
            Happened::Call(None) => self.give_up("its connection has ended").await,
            Happened::Deadline if self.call.is_some() => self.give_up("it sends nothing").await,
            Happened::Deadline => {}
        }
        if self.call.is_none() && !self.call_next().await && Instant::now() >= self.listed_at {
            return News::Nobody;
        }
        News::None
    }

    /// Ends the call and leaves the room.
    pub(super) async fn close(self) {
        let Self { session, call, .. } = self;
        if let Some(call) = call {
            call.peer.close().await;
        }
        entrance::leave(session).await;
    }

    async fn signaled(&mut self, event: Event) {
        match event {
            Event::Joined { me, .. } => self.me = me,
            Event::PeerJoined { peer, .. } => {
                if !is_gateway(&peer) && !self.present.contains(&peer) {
                    self.present.push(peer);
                }
            }
            Event::PeerLeft { peer } => {
                self.present.retain(|present| *present != peer);
                self.tried.retain(|tried| *tried != peer);
                self.dropped_by(&peer).await;
            }
            Event::SessionEnded { peer } => {
                // Called in vain, or hung up: not at once again.
                self.tried.push(peer.clone());
                self.dropped_by(&peer).await;
            }
            Event::Description { peer, description } => {
                if description.kind == SdpType::Offer && self.participant() != Some(&peer) {
                    // Members call who they think is one of them; we only watch.
                    return self.send(Command::Hangup { peer }).await;
                }
                let vain = self.lacks_picture(&description);
                let Some(call) = self.call.as_ref().filter(|call| call.with == peer) else { return };
                match call.peer.handle_description(description).await {
                    Err(error) => self.give_up(&error.to_string()).await,
                    Ok(()) if vain => self.give_up("it sends no picture").await,
                    Ok(()) => {}
                }
            }
            Event::Candidate { peer, candidate } => {
                let Some(call) = self.call.as_ref().filter(|call| call.with == peer) else { return };
                if let Err(error) = call.peer.handle_candidate(candidate).await {
                    self.give_up(&error.to_string()).await;
                }
            }
            Event::Reconnecting { reason, .. } => debug!(reason, "the room is joined again"),
        }
    }

    /// Whether an answer says that a picture cannot come from here, while anybody who sends one will do.
    fn lacks_picture(&self, description: &SessionDescription) -> bool {
        self.only.is_none()
            && description.kind == SdpType::Answer
            && self.wants_picture()
            && !sdp::sections(&description.sdp).iter().any(|section| section.kind == MediaKind::Video && section.sends)
    }

    async fn heard(&mut self, event: PeerEvent) -> News {
        let wants_picture = self.only.is_none() && self.wants_picture();
        let Some(call) = &mut self.call else { return News::None };
        match event {
            PeerEvent::LocalDescription(description) => {
                let peer = call.with.clone();
                self.send(Command::Description { peer, description }).await;
            }
            PeerEvent::LocalCandidate(candidate) => {
                let peer = call.with.clone();
                self.send(Command::Candidate { peer, candidate }).await;
            }
            PeerEvent::TrackStarted(track) => {
                // A voice alone is no reason to stay with somebody who was to send a picture.
                if track.kind == MediaKind::Video || !wants_picture {
                    call.deadline = None;
                }
                return News::Track(track);
            }
            PeerEvent::SenderReport { compound, .. } => return News::Report(compound),
            PeerEvent::Failed { reason } | PeerEvent::Misused { reason } => self.give_up(&reason).await,
            _ => {}
        }
        News::None
    }

    fn wants_picture(&self) -> bool {
        self.codecs.iter().any(|codec| codec.kind() == MediaKind::Video)
    }

    /// Calls the next member; false when there is none.
    async fn call_next(&mut self) -> bool {
        while let Some(id) = self.next_candidate().cloned() {
            match self.start_call(&id).await {
                Ok(call) => {
                    debug!(participant = %id, "a WHEP viewer asks for media");
                    self.call = Some(call);
                    return true;
                }
                Err(error) => {
                    debug!(participant = %id, %error, "cannot be called");
                    self.tried.push(id);
                }
            }
        }
        false
    }

    fn next_candidate(&self) -> Option<&ParticipantId> {
        let fits = |id: &&ParticipantId| !self.tried.contains(id) && self.only.as_ref().is_none_or(|only| only == *id);
        self.present.iter().find(fits)
    }

    async fn start_call(&self, id: &ParticipantId) -> Result<Call, PeerError> {
        let (sender, events) = mpsc::channel(EVENTS);
        let config = self.config.peer(self.codecs.clone(), polite(&self.me, id));
        let peer = Peer::start(id.clone(), config, sender).await?;
        peer.call().await?;
        Ok(Call { with: id.clone(), peer, events, deadline: Some(Instant::now() + CALL) })
    }

    /// The call is over because the other side says so.
    async fn dropped_by(&mut self, peer: &ParticipantId) {
        if let Some(call) = self.call.take_if(|call| call.with == *peer) {
            call.peer.close().await;
        }
    }

    /// The call is over because of us.
    async fn give_up(&mut self, reason: &str) {
        if let Some(call) = self.call.take() {
            debug!(participant = %call.with, reason, "a call of a WHEP viewer is ended");
            self.tried.push(call.with.clone());
            self.send(Command::Hangup { peer: call.with }).await;
            call.peer.close().await;
        }
    }

    /// Fails only when the session has ended, which its events say too.
    async fn send(&self, command: Command) {
        self.session.commands.send(command).await.ok();
    }
}
