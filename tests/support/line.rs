//! A member of a mesh room in the bridge's own process, for soaks: it signals, and its owner sends the media.

use std::error::Error;

use roomcast::peer::{Network, Peer, PeerConfig, PeerEvent};
use roomcast::signaling::{self, CallPolicy, Command, Event, JoinOptions, RoomUrl, Session, is_gateway};
use roomcast::terms::{Codec, ParticipantId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn Error + Send + Sync>;

/// A seat in the room and a connection to its bridge.
pub(crate) struct Line {
    session: Session,
    peer: Peer,
    peer_events: mpsc::Receiver<PeerEvent>,
    bridge: Option<ParticipantId>,
    me: Option<ParticipantId>,
}

/// What is to be signalled.
pub(crate) enum Heard {
    Room(Event),
    Peer(PeerEvent),
}

impl Line {
    /// Takes a seat under an id with this prefix.
    pub(crate) async fn join(room: RoomUrl, network: Network, prefix: &'static str) -> Result<Self, Failure> {
        let options = JoinOptions { call: Some(CallPolicy::None), id_prefix: Some(prefix), ..JoinOptions::default() };
        let session = signaling::join(room, options, CancellationToken::new());
        let (events, peer_events) = mpsc::channel(256);
        let config = PeerConfig {
            ice_servers: Vec::new(),
            network,
            codecs: vec![Codec::Opus, Codec::Vp8],
            polite: true,
            sends: true,
        };
        let peer = Peer::start(ParticipantId::new("bridge"), config, events).await?;
        Ok(Self { session, peer, peer_events, bridge: None, me: None })
    }

    /// Who we are in the room, once we are in it.
    pub(crate) fn me(&self) -> Option<&ParticipantId> {
        self.me.as_ref()
    }

    /// Where tracks are added.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Waits for what is to be signalled next. Nothing is lost when this is dropped.
    pub(crate) async fn hear(&mut self) -> Result<Heard, Failure> {
        tokio::select! {
            event = self.session.events.recv() => Ok(Heard::Room(event.ok_or("the room is gone")?)),
            event = self.peer_events.recv() => Ok(Heard::Peer(event.ok_or("the connection is gone")?)),
        }
    }

    /// Does what follows from it.
    pub(crate) async fn follow(&mut self, heard: Heard) -> Result<(), Failure> {
        match heard {
            Heard::Room(Event::Joined { me, .. }) => self.me = Some(me),
            Heard::Room(Event::Description { peer, description }) if is_gateway(&peer) => {
                self.peer.handle_description(description).await?;
                self.bridge = Some(peer);
            }
            Heard::Room(Event::Candidate { peer, candidate }) if is_gateway(&peer) => {
                self.peer.handle_candidate(candidate).await?;
            }
            Heard::Room(_) => {}
            Heard::Peer(event) => {
                let Some(peer) = self.bridge.clone() else { return Ok(()) };
                let command = match event {
                    PeerEvent::LocalDescription(description) => Command::Description { peer, description },
                    PeerEvent::LocalCandidate(candidate) => Command::Candidate { peer, candidate },
                    PeerEvent::Failed { reason } => return Err(reason.into()),
                    _ => return Ok(()),
                };
                self.session.commands.send(command).await?;
            }
        }
        Ok(())
    }

    /// Hangs up and leaves the room.
    pub(crate) async fn leave(self) -> Result<(), Failure> {
        self.peer.close().await;
        self.session.commands.send(Command::Leave).await.ok();
        self.session.closed().await?;
        Ok(())
    }
}
