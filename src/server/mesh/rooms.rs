//! The mesh rooms: one task owns them all, and connections talk to it through a bounded mailbox.
//!
//! It never waits for a receiver. Member lists that do not fit into a queue are sent when there is room again, always the
//! newest; who takes nothing for the send timeout is evicted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::mpsc::{self, OwnedPermit, error::TrySendError};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::config::Limits;
use super::super::room_info::RoomInfo;
use super::reply::{self, Refusal};
use super::waiting::{Outbox, Waiting};

/// Requests that wait for the owner of the rooms.
const MAILBOX: usize = 256;
/// How often late member lists are tried again.
const RETRY: Duration = Duration::from_millis(50);

/// One connection, as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    number: u64,
    /// Frames on their way to this connection.
    pub(crate) outbox: Outbox,
    /// Cancelled when the connection takes nothing any more.
    pub(crate) evicted: CancellationToken,
}

/// The way to the owner of the rooms. When that has ended, everything is refused.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    requests: mpsc::Sender<Request>,
    seats: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Request {
    Join {
        seat: Seat,
        room: String,
        id: String,
        first: OwnedPermit<Waiting>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Leave {
        seat: u64,
        room: String,
        id: String,
    },
    Find {
        room: String,
        id: String,
        reply: oneshot::Sender<Option<Seat>>,
    },
    List {
        reply: oneshot::Sender<Vec<RoomInfo>>,
    },
}

impl Rooms {
    /// The rooms, and the task that owns them: it ends with the last [`Rooms`].
    pub(crate) fn new(limits: &Limits) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let owner = Owner {
            max_rooms: limits.rooms,
            max_members: limits.members,
            send_timeout: limits.send_timeout,
            rooms: BTreeMap::new(),
            late: false,
        };
        (Self { requests, seats: Arc::default() }, owner.run(mailbox))
    }

    /// A seat for a new connection.
    pub(crate) fn seat(&self, outbox: Outbox) -> Seat {
        Seat { number: self.seats.fetch_add(1, Ordering::Relaxed), outbox, evicted: CancellationToken::new() }
    }

    /// Joins, or joins again. `joined` and the member list are in the seat's outbox when this returns.
    pub(crate) async fn join(&self, seat: &Seat, room: &str, id: &str) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        // The place for `joined` is taken first, so that the owner need not wait for it.
        let first = seat.outbox.frames().clone().reserve_owned().await.map_err(|_| Refusal::ShuttingDown)?;
        let request = Request::Join { seat: seat.clone(), room: room.into(), id: id.into(), first, reply };
        self.requests.send(request).await.map_err(|_| Refusal::ShuttingDown)?;
        answer.await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Leaves a room.
    pub(crate) async fn leave(&self, seat: &Seat, room: &str, id: &str) {
        let request = Request::Leave { seat: seat.number, room: room.into(), id: id.into() };
        if self.requests.send(request).await.is_err() {
            tracing::debug!("the rooms are closed already");
        }
    }

    /// The member of a room with an id.
    pub(crate) async fn find(&self, room: &str, id: &str) -> Option<Seat> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Find { room: room.into(), id: id.into(), reply }).await.ok()?;
        answer.await.ok().flatten()
    }

    /// Every room with its members.
    pub(crate) async fn list(&self) -> Vec<RoomInfo> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::List { reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }
}

struct Owner {
    max_rooms: usize,
    max_members: usize,
    send_timeout: Duration,
    rooms: BTreeMap<String, BTreeMap<String, Member>>,
    /// Some member waits for a list.
    late: bool,
}

struct Member {
    seat: Seat,
    /// Since when this member lacks the newest list.
    late_since: Option<Instant>,
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Request>) {
        loop {
            let request = tokio::select! {
                request = mailbox.recv() => request,
                () = tokio::time::sleep(RETRY), if self.late => {
                    self.send_late_lists();
                    continue;
                }
            };
            let Some(request) = request else { return };
            match request {
                Request::Join { seat, room, id, first, reply } => {
                    let joined = self.join(seat, &room, &id, first);
                    if reply.send(joined).is_err() {
                        // The connection ended while it joined.
                        self.rooms.get_mut(&room).map(|members| members.remove(&id));
                        self.tell(&room);
                    }
                }
                Request::Leave { seat, room, id } => self.leave(seat, &room, &id),
                Request::Find { room, id, reply } => {
                    let found = self.rooms.get(&room).and_then(|members| members.get(&id));
                    reply.send(found.map(|member| member.seat.clone())).ok();
                }
                Request::List { reply } => {
                    let rooms = self.rooms.iter();
                    let infos = rooms.map(|(room, members)| RoomInfo {
                        room: room.clone(),
                        members: members.keys().cloned().collect(),
                    });
                    reply.send(infos.collect()).ok();
                }
            }
        }
    }

    fn join(&mut self, seat: Seat, room: &str, id: &str, first: OwnedPermit<Waiting>) -> Result<(), Refusal> {
        let members = self.rooms.get(room);
        if members.is_none() && self.rooms.len() >= self.max_rooms {
            return Err(Refusal::RoomLimitReached);
        }
        let holder = members.and_then(|members| members.get(id)).map(|member| &member.seat);
        match holder {
            // Whose connection has ended without a word does not hold an id.
            Some(holder) if holder.number != seat.number && !holder.outbox.frames().is_closed() => {
                return Err(Refusal::DuplicateId);
            }
            Some(_) => {}
            None if members.is_some_and(|members| members.len() >= self.max_members) => return Err(Refusal::RoomFull),
            None => {}
        }
        first.send(reply::joined(room, id).into());
        self.rooms.entry(room.to_owned()).or_default().insert(id.to_owned(), Member { seat, late_since: None });
        self.tell(room);
        Ok(())
    }

    fn leave(&mut self, seat: u64, room: &str, id: &str) {
        let Some(members) = self.rooms.get_mut(room) else { return };
        if members.get(id).is_some_and(|member| member.seat.number == seat) {
            members.remove(id);
            self.tell(room);
        }
    }

    /// Sends the member list to everybody in a room; an empty room vanishes.
    fn tell(&mut self, room: &str) {
        let Some(members) = self.rooms.get_mut(room) else { return };
        members.retain(|_, member| !member.seat.outbox.frames().is_closed());
        if members.is_empty() {
            self.rooms.remove(room);
            return;
        }
        let list = reply::room_members(room, members.keys());
        for member in members.values_mut() {
            self.late |= !member.offer(list.clone());
        }
    }

    fn send_late_lists(&mut self) {
        self.late = false;
        for (room, members) in &mut self.rooms {
            if members.values().all(|member| member.late_since.is_none()) {
                continue;
            }
            let list = reply::room_members(room, members.keys());
            for (id, member) in members.iter_mut() {
                let Some(since) = member.late_since else { continue };
                if since.elapsed() >= self.send_timeout {
                    tracing::info!(room, id, "a receiver takes nothing: closed");
                    member.seat.evicted.cancel();
                    member.late_since = None;
                } else {
                    self.late |= !member.offer(list.clone());
                }
            }
        }
    }
}

impl Member {
    /// Gives a list to the member; false when it must wait.
    fn offer(&mut self, list: Utf8Bytes) -> bool {
        let full = matches!(self.seat.outbox.frames().try_send(list.into()), Err(TrySendError::Full(_)));
        self.late_since = if full { Some(self.late_since.unwrap_or_else(Instant::now)) } else { None };
        !full
    }
}
