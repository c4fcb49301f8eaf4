//! The spaces of gst-plugins-rs' producers and consumers: one task owns them all, and connections talk to it through a bounded
//! mailbox.
//!
//! It never waits for a receiver: what does not fit into a queue waits in a bounded backlog, and who takes nothing for the send
//! timeout is evicted. Messages within a session, the large ones, do not pass through here: the sender's connection delivers
//! them, so that a slow receiver slows its sender.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use rand::RngExt as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::config::Limits;
use super::super::room_info::RoomInfo;
use super::space::{Outgoing, Space};
use crate::signaling::gstrs::wire::{self, FromClient, PeerMessage};

/// Requests that wait for the owner of the spaces.
const MAILBOX: usize = 256;
/// How often backlogs are tried again.
const RETRY: Duration = Duration::from_millis(50);
/// Messages that may wait behind a full queue.
const BACKLOG: usize = 256;

/// One connection, as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// Frames on their way to this connection.
    pub(crate) outbox: mpsc::Sender<Utf8Bytes>,
    /// Cancelled when the connection takes nothing any more.
    pub(crate) evicted: CancellationToken,
}

/// Why there is no place in a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    TooManySpaces,
    SpaceFull,
    ShuttingDown,
}

/// The way to the owner of the spaces. When that has ended, nobody gets in.
#[derive(Clone, Debug)]
pub(crate) struct Spaces {
    requests: mpsc::Sender<Request>,
}

/// Who somebody is: a space and an id in it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    space: String,
    id: String,
}

impl Place {
    /// The id that others see.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Debug)]
enum Request {
    Enter { space: String, seat: Seat, reply: oneshot::Sender<Result<Place, NoPlace>> },
    Say { place: Place, message: FromClient },
    Find { place: Place, message: PeerMessage, reply: oneshot::Sender<Result<Option<Seat>, String>> },
    Leave { place: Place },
    List { reply: oneshot::Sender<Vec<RoomInfo>> },
}

impl Spaces {
    /// The spaces, and the task that owns them: it ends with the last [`Spaces`].
    pub(crate) fn new(limits: &Limits) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let owner = Owner {
            max_spaces: limits.rooms,
            max_peers: limits.members,
            send_timeout: limits.send_timeout,
            spaces: BTreeMap::new(),
            late: false,
        };
        (Self { requests }, owner.run(mailbox))
    }

    /// Enters a space; the welcome is on its way when this returns.
    pub(crate) async fn enter(&self, space: String, seat: Seat) -> Result<Place, NoPlace> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Enter { space, seat, reply }).await.map_err(|_| NoPlace::ShuttingDown)?;
        answer.await.unwrap_or(Err(NoPlace::ShuttingDown))
    }

    /// Says something that is for the server.
    pub(crate) async fn say(&self, place: &Place, message: FromClient) {
        // Closed means that the server ends, and so will the connection.
        self.requests.send(Request::Say { place: place.clone(), message }).await.ok();
    }

    /// Who gets a message within a session.
    ///
    /// # Errors
    /// The words for the sender.
    pub(crate) async fn find(&self, place: &Place, message: &PeerMessage) -> Result<Option<Seat>, String> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Find { place: place.clone(), message: message.clone(), reply };
        if self.requests.send(request).await.is_err() {
            return Ok(None);
        }
        answer.await.unwrap_or(Ok(None))
    }

    /// Leaves.
    pub(crate) async fn leave(&self, place: Place) {
        self.requests.send(Request::Leave { place }).await.ok();
    }

    /// Every space with the ids of those who are in it.
    pub(crate) async fn list(&self) -> Vec<RoomInfo> {
        let (reply, answer) = oneshot::channel();
        // Closed means that the server ends.
        self.requests.send(Request::List { reply }).await.ok();
        answer.await.unwrap_or_default()
    }
}

struct Owner {
    max_spaces: usize,
    max_peers: usize,
    send_timeout: Duration,
    spaces: BTreeMap<String, Occupied>,
    /// Some backlog is not empty.
    late: bool,
}

#[derive(Default)]
struct Occupied {
    space: Space,
    members: BTreeMap<String, Member>,
}

struct Member {
    seat: Seat,
    backlog: VecDeque<Utf8Bytes>,
    /// Since when its queue is full.
    late_since: Instant,
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Request>) {
        loop {
            let request = tokio::select! {
                request = mailbox.recv() => request,
                () = tokio::time::sleep(RETRY), if self.late => {
                    self.send_late();
                    continue;
                }
            };
            let Some(request) = request else { return };
            match request {
                Request::Enter { space, seat, reply } => {
                    let entered = self.enter(&space, seat);
                    if let Err(Ok(place)) = reply.send(entered) {
                        // The connection ended while it entered.
                        self.leave(&place);
                    }
                }
                Request::Say { place, message } => {
                    if let Some(occupied) = self.spaces.get_mut(&place.space) {
                        let out = occupied.space.hear(&place.id, message, new_id);
                        self.late |= occupied.deliver(out);
                    }
                }
                Request::Find { place, message, reply } => {
                    let occupied = self.spaces.get(&place.space);
                    let found = occupied.map_or(Ok(None), |occupied| {
                        let receiver = occupied.space.receiver(&place.id, &message)?;
                        Ok(receiver.and_then(|id| occupied.members.get(id)).map(|member| member.seat.clone()))
                    });
                    reply.send(found).ok();
                }
                Request::Leave { place } => self.leave(&place),
                Request::List { reply } => {
                    let spaces = self.spaces.iter().map(|(space, occupied)| RoomInfo {
                        room: space.clone(),
                        members: occupied.members.keys().cloned().collect(),
                    });
                    reply.send(spaces.collect()).ok();
                }
            }
        }
    }

    fn enter(&mut self, space: &str, seat: Seat) -> Result<Place, NoPlace> {
        match self.spaces.get(space) {
            None if self.spaces.len() >= self.max_spaces => return Err(NoPlace::TooManySpaces),
            Some(occupied) if occupied.space.len() >= self.max_peers => return Err(NoPlace::SpaceFull),
            _ => {}
        }
        let place = Place { space: space.to_owned(), id: new_id() };
        let occupied = self.spaces.entry(space.to_owned()).or_default();
        let member = Member { seat, backlog: VecDeque::new(), late_since: Instant::now() };
        occupied.members.insert(place.id.clone(), member);
        let welcome = occupied.space.enter(&place.id);
        self.late |= occupied.deliver(welcome);
        Ok(place)
    }

    fn leave(&mut self, place: &Place) {
        let Some(occupied) = self.spaces.get_mut(&place.space) else { return };
        occupied.members.remove(&place.id);
        let out = occupied.space.leave(&place.id);
        self.late |= occupied.deliver(out);
        if occupied.members.is_empty() {
            self.spaces.remove(&place.space);
        }
    }

    fn send_late(&mut self) {
        self.late = false;
        for occupied in self.spaces.values_mut() {
            for (id, member) in &mut occupied.members {
                self.late |= member.send_backlog();
                if !member.backlog.is_empty() && member.late_since.elapsed() >= self.send_timeout {
                    member.evict(id);
                }
            }
        }
    }
}

impl Occupied {
    /// Sends each message to its receiver; true if something has to wait.
    fn deliver(&mut self, out: Outgoing) -> bool {
        let mut late = false;
        for (to, message) in out {
            let Some(member) = self.members.get_mut(&to) else { continue };
            if member.backlog.is_empty() {
                member.late_since = Instant::now();
            }
            member.backlog.push_back(wire::write(&message).into());
            late |= member.send_backlog();
            if member.backlog.len() > BACKLOG {
                member.evict(&to);
            }
        }
        late
    }
}

impl Member {
    /// Sends what waits, as far as there is room; true if something has to wait on.
    fn send_backlog(&mut self) -> bool {
        while let Some(frame) = self.backlog.pop_front() {
            match self.seat.outbox.try_send(frame) {
                Ok(()) => self.late_since = Instant::now(),
                Err(TrySendError::Full(frame)) => {
                    self.backlog.push_front(frame);
                    return true;
                }
                // It has ended; its leave follows.
                Err(TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
        false
    }

    fn evict(&mut self, id: &str) {
        tracing::info!(id, "a receiver takes nothing: closed");
        self.seat.evicted.cancel();
        self.backlog.clear();
    }
}

/// A UUID of random bits (RFC 9562, version 4): what clients of the original know as an id.
fn new_id() -> String {
    let [a, b] = [rand::rng().random::<u64>(), rand::rng().random::<u64>()];
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 48 & 0x3fff | 0x8000,
        b & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids() {
        let (id, other) = (new_id(), new_id());
        assert_ne!(id, other);
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert!(id[14..].starts_with('4') && id[19..].starts_with(['8', '9', 'a', 'b']), "{id}");
    }

    fn seat(queue: usize) -> (Seat, mpsc::Receiver<Utf8Bytes>) {
        let (outbox, frames) = mpsc::channel(queue);
        (Seat { outbox, evicted: CancellationToken::new() }, frames)
    }

    fn status(roles: &str, number: usize) -> FromClient {
        let text = format!(r#"{{"type":"setPeerStatus","roles":[{roles}],"meta":{number}}}"#);
        wire::parse(&text).unwrap()
    }

    #[tokio::test]
    async fn who_takes_nothing_is_evicted_and_the_others_hear_everything_in_order() {
        let (spaces, owner) = Spaces::new(&Limits { send_timeout: Duration::from_millis(200), ..Limits::default() });
        let owner = tokio::spawn(owner);
        let ((slow, _unread), (good, mut frames), (busy, _taken)) = (seat(1), seat(1), seat(1000));
        let mut places = Vec::new();
        for seat in [&slow, &good, &busy] {
            places.push(spaces.enter("s".into(), seat.clone()).await.unwrap());
        }
        for place in &places[..2] {
            spaces.say(place, status(r#""listener""#, 0)).await;
        }
        for number in 1..=50 {
            spaces.say(&places[2], status(r#""producer""#, number)).await;
        }
        let mut metas = Vec::new();
        while metas.last() != Some(&50) {
            let frame = tokio::time::timeout(Duration::from_secs(20), frames.recv()).await.unwrap().unwrap();
            let message: serde_json::Value = serde_json::from_str(&frame).unwrap();
            if message["peerId"] == places[2].id() {
                metas.push(message["meta"].as_u64().unwrap());
            }
        }
        assert_eq!(metas, (1..=50).collect::<Vec<_>>());
        tokio::time::timeout(Duration::from_secs(20), slow.evicted.cancelled()).await.expect("the eviction");
        assert!(!good.evicted.is_cancelled());
        for place in places {
            spaces.leave(place).await;
        }
        drop(spaces);
        owner.await.expect("the owner ends with the last way to it");
    }

    #[tokio::test]
    async fn spaces_and_places_are_counted_and_freed() {
        let (spaces, owner) = Spaces::new(&Limits { rooms: 1, members: 1, ..Limits::default() });
        tokio::spawn(owner);
        let (seat, _frames) = seat(10);
        let place = spaces.enter("a".into(), seat.clone()).await.unwrap();
        assert_eq!(spaces.enter("a".into(), seat.clone()).await.unwrap_err(), NoPlace::SpaceFull);
        assert_eq!(spaces.enter("b".into(), seat.clone()).await.unwrap_err(), NoPlace::TooManySpaces);
        spaces.leave(place).await;
        spaces.enter("b".into(), seat).await.unwrap();
    }
}
