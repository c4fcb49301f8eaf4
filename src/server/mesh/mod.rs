//! One mesh connection of the embedded server, from its upgrade to its close.
//!
//! Reading and writing run side by side in one task. A member whose receiver is slow waits, and its own messages wait in TCP;
//! the receiver is evicted after the send timeout. Nothing is dropped while both sides live.

pub(super) mod reply;
pub(super) mod rooms;
mod waiting;

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::ws::{Message as Frame, Utf8Bytes, WebSocket, close_code};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::reply::Refusal;
use self::rooms::{Rooms, Seat};
use self::waiting::{NotSent, Outbox, Waiting};
use super::config::Limits;
use super::connection::{self, End, TOO_BIG, end_of_error};
use crate::pace::Pace;
use crate::signaling::limits::{valid_id, valid_room};
use crate::signaling::mesh::wire::{Kind, Message};

/// Serves one connection until it ends.
pub(crate) async fn serve(socket: WebSocket, rooms: Rooms, limits: Arc<Limits>, closing: CancellationToken) {
    let (mut sink, mut stream) = socket.split();
    let (outbox, mut frames) = Outbox::new(limits.queue, limits.queue_bytes);
    let seat = rooms.seat(outbox);
    let evicted = seat.evicted.clone();
    let mut reader = Reader {
        rooms,
        seat,
        limits: limits.clone(),
        pace: Pace::new(limits.messages_per_second, Instant::now().into_std()),
        id: None,
        room: None,
        bad_messages: 0,
    };
    let end = tokio::select! {
        end = reader.run(&mut stream) => end,
        end = connection::write(&mut sink, &mut frames, Waiting::into_frame, &limits) => end,
        () = evicted.cancelled() => End::Evicted,
        () = closing.cancelled() => connection::SHUTTING_DOWN,
    };
    reader.leave().await;
    tracing::debug!(id = reader.id, ?end, "a mesh connection ends");
    connection::say_goodbye((sink, stream), frames, Waiting::into_frame, end, &limits).await;
}

/// The reading half, and what it knows of its client.
struct Reader {
    rooms: Rooms,
    seat: Seat,
    limits: Arc<Limits>,
    pace: Pace,
    /// Bound by the first join that worked, for as long as the connection lasts.
    id: Option<String>,
    room: Option<String>,
    bad_messages: u32,
}

impl Reader {
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> End {
        let connected = Instant::now();
        let (mut heard, mut left) = (connected, connected);
        loop {
            let (deadline, end) = [
                Some((heard + self.limits.silence, End::Gone)),
                self.id
                    .is_none()
                    .then(|| (connected + self.limits.join, End::Closed(close_code::POLICY, "no room joined in time"))),
                (self.id.is_some() && self.room.is_none())
                    .then(|| (left + self.limits.idle, End::Closed(close_code::NORMAL, "idle outside of any room"))),
            ]
            .into_iter()
            .flatten()
            .min_by_key(|(deadline, _)| *deadline)
            .unwrap_or((heard, End::Gone));
            if deadline <= Instant::now() {
                return end;
            }
            let frame = match timeout_at(deadline, stream.next()).await {
                Err(_) => return end,
                Ok(None) => return End::Gone,
                Ok(Some(Err(error))) => return end_of_error(&error),
                Ok(Some(Ok(frame))) => frame,
            };
            heard = Instant::now();
            let was_in_room = self.room.is_some();
            let flow = match &frame {
                Frame::Text(text) => self.read(text.as_str()).await,
                Frame::Binary(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => self.read(text).await,
                    Err(_) => self.refuse_bad_message().await,
                },
                Frame::Close(_) => return End::Gone,
                Frame::Ping(_) | Frame::Pong(_) => ControlFlow::Continue(()),
            };
            if let ControlFlow::Break(end) = flow {
                return end;
            }
            if was_in_room && self.room.is_none() {
                left = Instant::now();
            }
            if let ControlFlow::Break(end) = connection::slow_down(&mut self.pace, &self.limits).await {
                return end;
            }
        }
    }

    async fn read(&mut self, text: &str) -> ControlFlow<End> {
        if text.len() > self.limits.message_bytes {
            return ControlFlow::Break(TOO_BIG);
        }
        let Ok(message) = Message::parse(text) else { return self.refuse_bad_message().await };
        match message.kind {
            Kind::Join => self.join(message).await,
            Kind::Leave => {
                self.leave().await;
                ControlFlow::Continue(())
            }
            Kind::Offer | Kind::Answer | Kind::Candidate | Kind::Hangup => self.relay(message).await,
            Kind::Ping => self.say(reply::pong()).await,
            Kind::Pong => ControlFlow::Continue(()),
            Kind::Joined | Kind::RoomMembers | Kind::Error | Kind::Unknown => self.refuse(Refusal::UnknownType).await,
        }
    }

    async fn join(&mut self, message: Message) -> ControlFlow<End> {
        let (from, room) = (message.from.unwrap_or_default(), message.room.unwrap_or_default());
        let Some(id) = valid_id(&from) else { return self.refuse(Refusal::InvalidId).await };
        let Some(room) = valid_room(&room) else { return self.refuse(Refusal::InvalidRoom).await };
        if self.id.as_deref().is_some_and(|bound| bound != id) {
            return self.refuse(Refusal::IdentityLocked).await;
        }
        if self.room.as_deref().is_some_and(|current| current != room) {
            return self.refuse(Refusal::AlreadyJoined).await;
        }
        match self.rooms.join(&self.seat, room, id).await {
            Err(refusal) => self.refuse(refusal).await,
            Ok(()) => {
                if self.room.is_none() {
                    tracing::info!(room, id, "joined");
                }
                self.id = Some(id.to_owned());
                self.room = Some(room.to_owned());
                ControlFlow::Continue(())
            }
        }
    }

    /// Leaves the room, if there is one; the id stays bound.
    async fn leave(&mut self) {
        if let (Some(room), Some(id)) = (self.room.take(), &self.id) {
            tracing::info!(room, id, "left");
            self.rooms.leave(&self.seat, &room, id).await;
        }
    }

    async fn relay(&mut self, message: Message) -> ControlFlow<End> {
        let (Some(room), Some(id)) = (&self.room, &self.id) else { return self.refuse(Refusal::NotJoined).await };
        let to = message.to.clone().unwrap_or_default();
        let Some(to) = valid_id(&to).filter(|to| to != id) else { return self.refuse(Refusal::InvalidTarget).await };
        let Some(receiver) = self.rooms.find(room, to).await else { return self.refuse(Refusal::TargetNotFound).await };
        let frame = reply::relayed(message, room, id, to);
        match receiver.outbox.relay(frame, self.limits.send_timeout).await {
            Ok(()) => {}
            Err(NotSent::Full) => {
                tracing::info!(room, id = to, "a receiver takes nothing: closed");
                receiver.evicted.cancel();
            }
            Err(NotSent::Closed) => return self.refuse(Refusal::TargetNotFound).await,
        }
        ControlFlow::Continue(())
    }

    async fn refuse_bad_message(&mut self) -> ControlFlow<End> {
        self.bad_messages += 1;
        let said = self.refuse(Refusal::BadMessage).await;
        if self.bad_messages >= self.limits.bad_messages {
            return ControlFlow::Break(End::Closed(close_code::INVALID, "too many bad messages"));
        }
        said
    }

    async fn refuse(&self, refusal: Refusal) -> ControlFlow<End> {
        self.say(reply::error(self.room.as_deref().unwrap_or_default(), refusal)).await
    }

    async fn say(&self, frame: Utf8Bytes) -> ControlFlow<End> {
        match self.seat.outbox.frames().send(frame.into()).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(End::Gone),
        }
    }
}
