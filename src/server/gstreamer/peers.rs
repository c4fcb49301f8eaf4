//! The owner of all GStreamer peers: one task, to which connections talk through a bounded mailbox.
//!
//! It never waits for a receiver: what others are to get is handed to the connection that caused it, which delivers it.
//! What a peer itself is told goes into a place that it took before, so that nobody else's message can overtake it.

use std::collections::BTreeMap;

use axum::extract::ws::Message as Frame;
use futures_util::future::join_all;
use tokio::sync::mpsc::{self, OwnedPermit, error::SendTimeoutError};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::super::config::Limits;
use super::super::room_info::RoomInfo;
use super::exchange::{Exchange, Notice, Outcome};
use crate::signaling::gstreamer::wire::FromServer;

/// Requests that wait for the owner.
const MAILBOX: usize = 256;

/// One connection, as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// Frames on their way to this connection.
    pub(crate) outbox: mpsc::Sender<Frame>,
    /// Cancelled when the connection takes nothing any more.
    pub(crate) evicted: CancellationToken,
    /// Cancelled when the other side of its session has gone.
    pub(crate) hung_up: CancellationToken,
}

impl Seat {
    pub(crate) fn new(outbox: mpsc::Sender<Frame>) -> Self {
        Self { outbox, evicted: CancellationToken::new(), hung_up: CancellationToken::new() }
    }
}

/// Something for another connection; `None` hangs up.
type Delivery = (Seat, Option<Frame>);

/// The way to the owner. When that has ended, nothing is answered any more.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    requests: mpsc::Sender<Request>,
    send_timeout: std::time::Duration,
}

#[derive(Debug)]
enum Request {
    Register { uid: String, seat: Seat, greeting: OwnedPermit<Frame>, reply: oneshot::Sender<bool> },
    Said { uid: String, frame: Frame, answer: OwnedPermit<Frame>, reply: oneshot::Sender<Vec<Delivery>> },
    Gone { uid: String, seat: Seat, reply: oneshot::Sender<Vec<Delivery>> },
    IsIdle { uid: String, reply: oneshot::Sender<bool> },
    List { reply: oneshot::Sender<Vec<RoomInfo>> },
}

impl Peers {
    /// The peers, and the task that owns them: it ends with the last [`Peers`].
    pub(crate) fn new(limits: &Limits) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let owner = Owner { exchange: Exchange::new(limits), seats: BTreeMap::new() };
        (Self { requests, send_timeout: limits.send_timeout }, owner.run(mailbox))
    }

    /// Registers a peer; its `HELLO` is in its outbox when this returns true.
    pub(crate) async fn register(&self, seat: &Seat, uid: &str) -> bool {
        let Ok(greeting) = seat.outbox.clone().reserve_owned().await else { return false };
        let (seat, uid) = (seat.clone(), uid.to_owned());
        self.ask(|reply| Request::Register { uid, seat, greeting, reply }).await.unwrap_or(false)
    }

    /// A peer said something. Returns when those whom it concerns have it in their queues.
    pub(crate) async fn said(&self, seat: &Seat, uid: &str, frame: Frame) {
        let Ok(answer) = seat.outbox.clone().reserve_owned().await else { return };
        let uid = uid.to_owned();
        let deliveries = self.ask(|reply| Request::Said { uid, frame, answer, reply }).await;
        self.deliver(deliveries).await;
    }

    /// A connection is over that asked to be called so.
    pub(crate) async fn gone(&self, seat: &Seat, uid: &str) {
        let (seat, uid) = (seat.clone(), uid.to_owned());
        let deliveries = self.ask(|reply| Request::Gone { uid, seat, reply }).await;
        self.deliver(deliveries).await;
    }

    /// Whether a peer has neither a room nor a session.
    pub(crate) async fn is_idle(&self, uid: &str) -> bool {
        let uid = uid.to_owned();
        self.ask(|reply| Request::IsIdle { uid, reply }).await.unwrap_or(true)
    }

    /// Every room with its members.
    pub(crate) async fn list(&self) -> Vec<RoomInfo> {
        self.ask(|reply| Request::List { reply }).await.unwrap_or_default()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }

    async fn deliver(&self, deliveries: Option<Vec<Delivery>>) {
        let each = deliveries.into_iter().flatten().map(|(seat, frame)| async move {
            let Some(frame) = frame else { return seat.hung_up.cancel() };
            if let Err(SendTimeoutError::Timeout(_)) = seat.outbox.send_timeout(frame, self.send_timeout).await {
                tracing::info!("a GStreamer peer takes nothing: closed");
                seat.evicted.cancel();
            }
        });
        join_all(each).await;
    }
}

struct Owner {
    exchange: Exchange,
    seats: BTreeMap<String, Seat>,
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Request>) {
        while let Some(request) = mailbox.recv().await {
            // A connection that ended while it asked is gone next, which it says itself.
            match request {
                Request::Register { uid, seat, greeting, reply } => {
                    let registered = self.exchange.register(&uid);
                    if registered {
                        greeting.send(text(FromServer::Hello.to_string()));
                        self.seats.insert(uid, seat);
                    }
                    reply.send(registered).ok();
                }
                Request::Said { uid, frame, answer, reply } => {
                    let Outcome { reply: said, notices } = match &frame {
                        Frame::Text(text) => self.exchange.text(&uid, text.as_str()),
                        _ => self.exchange.binary(&uid),
                    };
                    if let Some(said) = said {
                        answer.send(text(said));
                    }
                    reply.send(self.deliveries(notices, Some(&frame))).ok();
                }
                Request::Gone { uid, seat, reply } => {
                    // It may have been refused because somebody else is called so.
                    let is_theirs = self.seats.get(&uid).is_some_and(|known| known.outbox.same_channel(&seat.outbox));
                    let mut notices = Vec::new();
                    if is_theirs {
                        notices = self.exchange.gone(&uid);
                        self.seats.remove(&uid);
                    }
                    reply.send(self.deliveries(notices, None)).ok();
                }
                Request::IsIdle { uid, reply } => {
                    reply.send(self.exchange.is_idle(&uid)).ok();
                }
                Request::List { reply } => {
                    let rooms = self.exchange.rooms();
                    let infos =
                        rooms.map(|(room, members)| RoomInfo { room: room.to_owned(), members: members.to_vec() });
                    reply.send(infos.collect()).ok();
                }
            }
        }
    }

    fn deliveries(&self, notices: Vec<(String, Notice)>, said: Option<&Frame>) -> Vec<Delivery> {
        let each = notices.into_iter().filter_map(|(uid, notice)| {
            let frame = match notice {
                Notice::Text(notice) => Some(text(notice)),
                Notice::Verbatim => Some(said?.clone()),
                Notice::HangUp => None,
            };
            Some((self.seats.get(&uid)?.clone(), frame))
        });
        each.collect()
    }
}

fn text(text: String) -> Frame {
    Frame::Text(text.into())
}
