//! Sends an output's packets to a WHIP endpoint: where signaling and peer meet for those who only send.

mod refusals;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use refusals::{other_codec, refused};

use crate::output::uplink::{Cargo, Progress, RtpStream, Uplink, UplinkError};

use crate::peer::{Network, NetworkConfig, OutboundTrack, Peer, PeerConfig, PeerEvent, RtpPacket};
use crate::signaling::{self, Command, Event, JoinOptions, RoomUrl, Session, SignalingError};
use crate::terms::{IceServer, MediaKind, ParticipantId};

pub(super) use refusals::check;

/// Events of the connection that may wait.
const EVENTS: usize = 64;
/// How long a connection without an answer may take to come back by itself; ICE has waited five seconds before.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the farewell may take.
const LEAVE: Duration = Duration::from_secs(3);

/// Pushes to WHIP endpoints.
#[derive(Debug)]
pub(crate) struct WhipUplink {
    /// Besides those of the endpoint.
    ice_servers: Vec<IceServer>,
    network: NetworkConfig,
}

impl WhipUplink {
    /// Every connection opens ports of its own: it goes out, so nobody has to find it, and an endpoint may be ICE lite
    /// itself. Of the room's network only the addresses count, if they were chosen.
    pub(crate) fn new(network: &NetworkConfig, ice_servers: Vec<IceServer>) -> Self {
        let network = NetworkConfig { addresses: network.addresses.clone(), ..NetworkConfig::default() };
        Self { ice_servers, network }
    }
}

#[async_trait]
impl Uplink for WhipUplink {
    async fn send(&self, cargo: Cargo) -> Result<(), UplinkError> {
        let shown = cargo.endpoint.to_string();
        let broken = |reason: String| UplinkError::Broken { endpoint: shown.clone(), reason };
        let url: RoomUrl = cargo.endpoint.with_secrets().parse().map_err(|error| broken(format!("{error}")))?;
        let network = Network::open(&self.network, url.is_loopback()).map_err(|error| broken(error.to_string()))?;
        let options = JoinOptions { sends: true, ..JoinOptions::default() };
        let mut session = signaling::join(url, options, CancellationToken::new());
        let mut sending = Sending {
            endpoint: shown,
            commands: session.commands.clone(),
            network,
            ice_servers: self.ice_servers.clone(),
            cargo,
            open: None,
            silent_since: None,
        };
        let outcome = sending.run(&mut session).await;
        let endpoint = sending.endpoint.clone();
        let codecs = sending.cargo.streams.iter().map(|stream| stream.codec);
        let pictures = codecs.clone().find(|codec| codec.kind() == MediaKind::Video);
        sending.close().await;
        let left = leave(session).await;
        match (outcome, left) {
            // The session ended by itself, and says why.
            (Ok(Ending::Session), Err(error)) => Err(refused(error, pictures)),
            (Ok(Ending::Session), Ok(())) => {
                Err(UplinkError::Lost { endpoint, reason: "the endpoint ended the session".into() })
            }
            (Ok(Ending::Asked), _) => Ok(()),
            (Err(error), _) => Err(error),
        }
    }
}

/// Why sending ended without a fault of the connection.
enum Ending {
    Asked,
    Session,
}

/// One session with the endpoint.
struct Sending {
    endpoint: String,
    commands: mpsc::Sender<Command>,
    network: Network,
    ice_servers: Vec<IceServer>,
    cargo: Cargo,
    open: Option<Open>,
    silent_since: Option<tokio::time::Instant>,
}

/// The connection of a session.
struct Open {
    them: ParticipantId,
    peer: Peer,
    events: mpsc::Receiver<PeerEvent>,
    tracks: Vec<OutboundTrack>,
    /// Senders, and who waits for reports; they end with this.
    tasks: JoinSet<()>,
}

impl Sending {
    async fn run(&mut self, session: &mut Session) -> Result<Ending, UplinkError> {
        let stop = self.cargo.stop.clone();
        loop {
            let silence = self.silent_since.map(|since| since + SILENCE);
            tokio::select! {
                () = stop.cancelled() => return Ok(Ending::Asked),
                event = session.events.recv() => match event {
                    Some(event) => self.signaled(event).await?,
                    None => return Ok(Ending::Session),
                },
                Some(event) = next_event(&mut self.open) => self.heard(event).await?,
                () = until(silence) => return Err(self.lost("it has not answered for ten seconds")),
            }
        }
    }

    async fn signaled(&mut self, event: Event) -> Result<(), UplinkError> {
        match event {
            Event::Joined { ice_servers, .. } => self.ice_servers.extend(ice_servers),
            Event::PeerJoined { peer, .. } if self.open.is_none() => self.connect(peer).await?,
            Event::Description { description, .. } => {
                if let Some(open) = &self.open {
                    open.peer.handle_description(description).await.map_err(|error| self.broken(error))?;
                }
            }
            Event::Candidate { candidate, .. } => {
                if let Some(open) = &self.open {
                    open.peer.handle_candidate(candidate).await.map_err(|error| self.broken(error))?;
                }
            }
            Event::SessionEnded { .. } | Event::PeerLeft { .. } => return Err(self.lost("it ended the session")),
            Event::PeerJoined { .. } | Event::Reconnecting { .. } => {}
        }
        Ok(())
    }

    async fn connect(&mut self, them: ParticipantId) -> Result<(), UplinkError> {
        let codecs = self.cargo.streams.iter().map(|stream| stream.codec).collect();
        let (ice_servers, network) = (self.ice_servers.clone(), self.network.clone());
        let config = PeerConfig { ice_servers, network, codecs, polite: false, sends: true };
        let (sender, events) = mpsc::channel(EVENTS);
        let peer = Peer::start(them.clone(), config, sender).await.map_err(|error| self.broken(error))?;
        let (mut tracks, mut tasks) = (Vec::new(), JoinSet::new());
        for stream in &self.cargo.streams {
            let track = peer.add_outbound(stream.codec).await.map_err(|error| self.broken(error))?;
            let RtpStream { codec, packets } = stream;
            let (codec, packets) = (*codec, packets.resubscribe());
            let wanted = Arc::clone(&self.cargo.keyframe_wanted);
            tasks.spawn(send(RtpStream { codec, packets }, track.clone(), Arc::clone(&wanted)));
            if codec.kind() == MediaKind::Video {
                tasks.spawn(pass_requests(track.clone(), wanted));
            }
            tracks.push(track);
        }
        peer.push().await.map_err(|error| self.broken(error))?;
        self.open = Some(Open { them, peer, events, tracks, tasks });
        Ok(())
    }

    async fn heard(&mut self, event: PeerEvent) -> Result<(), UplinkError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match event {
            PeerEvent::LocalDescription(description) => {
                let command = Command::Description { peer: open.them.clone(), description };
                // Fails when the session has ended, which its events tell.
                self.commands.send(command).await.ok();
            }
            PeerEvent::LocalCandidate(candidate) => {
                self.commands.send(Command::Candidate { peer: open.them.clone(), candidate }).await.ok();
            }
            PeerEvent::Connected => {
                self.silent_since = None;
                if let Some(refused) = open.tracks.iter().find(|track| !track.is_sendable()) {
                    let codec = refused.codec();
                    let reason = format!("{} takes no {}{}", self.endpoint, codec.encoding_name(), other_codec(codec));
                    return Err(UplinkError::CodecRefused { codec, reason });
                }
                let (tracks, progress) = (open.tracks.clone(), self.cargo.progress.clone());
                progress.send_if_modified(|now| raise(now, Progress::Connected));
                open.tasks.spawn(async move {
                    for track in tracks {
                        track.arrived().await;
                    }
                    progress.send_if_modified(|now| raise(now, Progress::Arriving));
                });
            }
            PeerEvent::Disconnected => self.silent_since = Some(tokio::time::Instant::now()),
            PeerEvent::Failed { reason } | PeerEvent::Misused { reason } => return Err(self.lost(reason)),
            PeerEvent::TrackStarted(_)
            | PeerEvent::TrackActive { .. }
            | PeerEvent::SenderReport { .. }
            | PeerEvent::Message(_) => {}
        }
        Ok(())
    }

    async fn close(self) {
        if let Some(mut open) = self.open {
            open.tasks.shutdown().await;
            open.peer.close().await;
        }
    }

    fn broken(&self, error: impl ToString) -> UplinkError {
        UplinkError::Broken { endpoint: self.endpoint.clone(), reason: error.to_string() }
    }

    fn lost(&self, reason: impl Into<String>) -> UplinkError {
        UplinkError::Lost { endpoint: self.endpoint.clone(), reason: reason.into() }
    }
}

/// Ends the session with the endpoint, in bounded time. An error is what ended it before.
async fn leave(session: Session) -> Result<(), SignalingError> {
    session.commands.send(Command::Leave).await.ok();
    tokio::time::timeout(LEAVE, session.closed()).await.unwrap_or(Ok(()))
}

fn raise(now: &mut Progress, to: Progress) -> bool {
    let higher = to > *now;
    *now = to.max(*now);
    higher
}

/// Sends a stream until the connection ends. Pictures start with a keyframe.
async fn send(mut stream: RtpStream, track: OutboundTrack, keyframe_wanted: Arc<Notify>) {
    let mut flows = false;
    loop {
        match stream.packets.recv().await {
            Ok(bytes) => {
                let Ok(packet) = RtpPacket::parse(bytes) else { continue };
                match track.write(packet).await {
                    Ok(sent) => {
                        if sent && !flows && stream.codec.kind() == MediaKind::Video {
                            keyframe_wanted.notify_one();
                        }
                        flows = sent;
                    }
                    Err(_closed) => return,
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::debug!(missed, codec = %stream.codec, "packets came too fast"),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn pass_requests(track: OutboundTrack, keyframe_wanted: Arc<Notify>) {
    loop {
        track.keyframe_requested().await;
        keyframe_wanted.notify_one();
    }
}

async fn next_event(open: &mut Option<Open>) -> Option<PeerEvent> {
    match open {
        Some(open) => open.events.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(when: Option<tokio::time::Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_goes_back() {
        let mut now = Progress::default();
        assert!(raise(&mut now, Progress::Arriving));
        assert!(!raise(&mut now, Progress::Connected));
        assert_eq!(now, Progress::Arriving);
    }
}
