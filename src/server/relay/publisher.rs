//! A WHIP publisher in its room: what the client sends goes to every member who calls or is called.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::client::Client;
use super::entrance::{self, Name};
use super::feed::{self, Inlet};
use super::members::Members;
use super::{Begin, ID_PREFIX, Opened, RelayConfig, RelayError, Request};
use crate::peer::{InboundTrack, PeerEvent, sdp};
use crate::rtp::SenderClock;
use crate::signaling::{self, CallPolicy};
use crate::terms::{Codec, MediaKind, ParticipantId};

/// Connection events of members that may wait.
const EVENTS: usize = 256;
/// A client whose connection does not come up for so long never connects.
const CONNECT: Duration = Duration::from_secs(30);
/// Members wait this long for the second track once the first one flows, so that one negotiation does.
const SECOND_TRACK: Duration = Duration::from_secs(2);

/// A relay's life: answers the wish, then forwards until the client, the server or the connection ends it.
pub(super) async fn run(mut begin: Begin, requests: mpsc::Receiver<Request>) {
    let (config, room, name) = (Arc::clone(&begin.config), begin.wish.room.clone(), begin.wish.participant.clone());
    let offer = std::mem::take(&mut begin.wish.offer);
    let Some(opened) = begin.unless_given_up(open(&config, &room, name.as_ref(), offer)).await else { return };
    let (session, me, client, answer, expected) = match opened {
        Ok(opened) => opened,
        Err(error) => return drop(begin.reply.send(Err(error))),
    };
    info!(room, participant = %me, "a WHIP client publishes");
    let (events, from_members) = mpsc::channel(EVENTS);
    let opened = Opened { id: begin.id.borrow().clone(), etag: client.etag().to_owned(), answer };
    let publisher = Publisher {
        id: begin.id,
        members: Members::new(me.clone(), Arc::clone(&config), session.commands.clone(), events),
        me: me.clone(),
        config,
        client,
        session,
        expected,
        inlets: HashMap::new(),
        clock: SenderClock::default(),
        forwarding: JoinSet::new(),
        connect_by: Some(Instant::now() + CONNECT),
    };
    // Nobody waits for the answer any more: then nobody will connect.
    if begin.reply.send(Ok(opened)).is_ok() {
        publisher.run(requests, from_members, begin.cancel).await;
    } else {
        publisher.close().await;
    }
    info!(room, participant = %me, "a WHIP client is gone");
}

type Entered = (signaling::Session, ParticipantId, Client, String, Vec<MediaKind>);

/// Takes a seat in the room and answers the offer.
async fn open(
    config: &RelayConfig,
    room: &str,
    name: Option<&ParticipantId>,
    offer: String,
) -> Result<Entered, RelayError> {
    let expected = expected_kinds(&offer)?;
    let name = name.map_or(Name::Prefixed(ID_PREFIX), Name::Given);
    let (session, me) = entrance::enter(config, room, CallPolicy::Present, name).await?;
    match answer(&me, config, Codec::ALL.to_vec(), &offer).await {
        Ok((client, answer)) => Ok((session, me, client, answer, expected)),
        Err(error) => {
            entrance::leave(session).await;
            Err(error)
        }
    }
}

async fn answer(
    me: &ParticipantId,
    config: &RelayConfig,
    codecs: Vec<Codec>,
    offer: &str,
) -> Result<(Client, String), RelayError> {
    let mut client = Client::start(me, config, codecs).await?;
    match client.answer(offer.to_owned()).await {
        Ok(answer) => Ok((client, answer)),
        Err(error) => {
            client.close().await;
            Err(error)
        }
    }
}

/// What a client offers to send.
fn expected_kinds(offer: &str) -> Result<Vec<MediaKind>, RelayError> {
    sdp::check(offer).map_err(super::offer_error)?;
    let sending = sdp::sections(offer).into_iter().filter(|section| section.sends);
    let mut kinds: Vec<MediaKind> = sending.map(|section| section.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        return Err(RelayError::BadOffer("it sends neither audio nor video; offer them as sendonly".to_owned()));
    }
    Ok(kinds)
}

struct Publisher {
    /// The id of the session.
    id: watch::Sender<String>,
    me: ParticipantId,
    config: Arc<RelayConfig>,
    client: Client,
    session: signaling::Session,
    members: Members,
    /// What the client has still to begin.
    expected: Vec<MediaKind>,
    inlets: HashMap<MediaKind, Inlet>,
    clock: SenderClock,
    forwarding: JoinSet<()>,
    /// Until when the client must have connected.
    connect_by: Option<Instant>,
}

impl Publisher {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut from_members: mpsc::Receiver<(ParticipantId, PeerEvent)>,
        cancel: CancellationToken,
    ) {
        // Members are answered when it is known what they will get.
        let mut ready_at: Option<Instant> = None;
        let mut ready = false;
        let mut closing = None;
        loop {
            let (waits, connect_by) = (ready_at.filter(|_| !ready), self.connect_by);
            tokio::select! {
                () = cancel.cancelled() => break,
                request = requests.recv() => match request {
                    Some(Request::Patch { condition, fragment, reply }) => {
                        reply.send(self.client.patch(&condition, fragment).await).ok();
                    }
                    Some(Request::TakeOver { offer, reply }) => {
                        reply.send(self.take_over(&offer).await).ok();
                    }
                    Some(Request::Close { reply }) => { closing = Some(reply); break }
                    None => break,
                },
                event = self.client.next() => match event {
                    Some(PeerEvent::Connected) => self.connect_by = None,
                    Some(PeerEvent::TrackStarted(track)) => {
                        self.attach(track).await;
                        ready_at = Some(ready_at.unwrap_or_else(|| Instant::now() + SECOND_TRACK));
                        ready |= self.expected.is_empty();
                    }
                    Some(PeerEvent::SenderReport { compound, .. }) => self.relate(&compound),
                    Some(PeerEvent::Failed { reason } | PeerEvent::Misused { reason }) => { debug!(reason, "a WHIP client is lost"); break }
                    Some(_) => {}
                    None => break,
                },
                event = self.session.events.recv(), if ready => match event {
                    Some(event) => self.members.signaled(event).await,
                    None => break,
                },
                Some((id, event)) = from_members.recv() => self.members.heard(id, event).await,
                () = sleep_until(waits.unwrap_or_else(Instant::now)), if waits.is_some() => ready = true,
                () = sleep_until(connect_by.unwrap_or_else(Instant::now)), if connect_by.is_some() => {
                    debug!("a WHIP client did not connect in time");
                    break;
                }
                Some(ended) = self.forwarding.join_next() => {
                    if let Err(error) = ended { tracing::error!(%error, "forwarding failed"); }
                }
            }
        }
        self.close().await;
        if let Some(reply) = closing {
            reply.send(()).ok();
        }
    }

    /// The publisher comes back on a new connection; members keep theirs and see the same streams go on.
    async fn take_over(&mut self, offer: &str) -> Result<Opened, RelayError> {
        let expected = expected_kinds(offer)?;
        let mut codecs: Vec<Codec> = self.inlets.values().map(|inlet| inlet.codec).collect();
        // What flows already keeps its codec, on which the members have agreed.
        codecs.extend(Codec::ALL.into_iter().filter(|codec| !self.inlets.contains_key(&codec.kind())));
        let (client, answer) = answer(&self.me, &self.config, codecs, offer).await?;
        info!("the WHIP client is back");
        std::mem::replace(&mut self.client, client).close().await;
        self.expected = expected.into_iter().filter(|kind| !self.inlets.contains_key(kind)).collect();
        self.clock = SenderClock::default();
        self.connect_by = Some(Instant::now() + CONNECT);
        let id = super::new_session_id();
        self.id.send_replace(id.clone());
        Ok(Opened { id, etag: self.client.etag().to_owned(), answer })
    }

    /// A track began, or takes the place of the one before.
    async fn attach(&mut self, track: InboundTrack) {
        self.expected.retain(|kind| *kind != track.kind);
        let kind = track.kind;
        debug!(?track, "a WHIP client sends");
        match self.inlets.get(&kind) {
            Some(inlet) => {
                // Fails only when forwarding has failed, which is reported.
                inlet.tracks.send(track).await.ok();
            }
            None => {
                let (feed, inlet) = feed::start(track, &mut self.forwarding);
                self.inlets.insert(kind, inlet);
                self.members.add(feed).await;
            }
        }
    }

    fn relate(&mut self, compound: &[u8]) {
        let Some(capture) = self.clock.read(compound, std::time::Instant::now()) else { return };
        for inlet in self.inlets.values() {
            inlet.captures.send_replace(Some(capture));
        }
    }

    async fn close(self) {
        let Self { client, session, members, forwarding, .. } = self;
        tokio::join!(client.close(), members.close(), entrance::leave(session));
        drop(forwarding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_must_send_something() {
        let (audio, video) = ("m=audio 9 X 111\r\na=mid:0\r\n", "m=video 9 X 96\r\na=mid:1\r\n");
        let kinds = |sdp: &str| expected_kinds(sdp).ok();
        assert_eq!(
            kinds(&format!("v=0\r\n{audio}a=sendonly\r\n{video}a=sendrecv\r\n")),
            Some(vec![MediaKind::Audio, MediaKind::Video])
        );
        assert_eq!(kinds(&format!("v=0\r\n{audio}a=recvonly\r\n{video}a=sendonly\r\n")), Some(vec![MediaKind::Video]));
        assert_eq!(kinds(&format!("v=0\r\n{audio}a=recvonly\r\n")), None);
        assert_eq!(kinds("v=0\r\n"), None);
        assert_eq!(kinds("garbage"), None);
    }
}
