//! One connection of a producer or consumer of gst-plugins-rs, from its upgrade to its close.
//!
//! Reading and writing run side by side in one task. What is for the server goes to the owner of the spaces
//! ([`spaces`]); what is for the other side of a session is delivered from here, and a slow receiver slows its
//! sender.

pub(super) mod space;
pub(super) mod spaces;

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::ws::{Message as Frame, Utf8Bytes, WebSocket, close_code};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::spaces::{NoPlace, Place, Seat, Spaces};
use super::config::Limits;
use super::connection::{self, End, TOO_BIG, end_of_error};
use crate::pace::Pace;
use crate::signaling::gstrs::wire::{self, FromClient, FromServer, PeerMessage};

/// Serves one connection until it ends.
pub(crate) async fn serve(
    socket: WebSocket,
    spaces: Spaces,
    space: String,
    limits: Arc<Limits>,
    closing: CancellationToken,
) {
    let (mut sink, mut stream) = socket.split();
    let (outbox, mut frames) = mpsc::channel(limits.queue.max(1));
    let seat = Seat { outbox, evicted: CancellationToken::new() };
    let end = match spaces.enter(space, seat.clone()).await {
        Err(no_place) => refused(no_place),
        Ok(place) => {
            let mut reader = Reader {
                pace: Pace::new(limits.messages_per_second, Instant::now().into_std()),
                spaces: spaces.clone(),
                place: place.clone(),
                outbox: seat.outbox,
                limits: limits.clone(),
                has_spoken: false,
                bad_messages: 0,
            };
            let end = tokio::select! {
                end = reader.run(&mut stream) => end,
                end = connection::write(&mut sink, &mut frames, Frame::Text, &limits) => end,
                () = seat.evicted.cancelled() => End::Evicted,
                () = closing.cancelled() => connection::SHUTTING_DOWN,
            };
            tracing::debug!(id = place.id(), ?end, "a connection of a producer or consumer ends");
            spaces.leave(place).await;
            end
        }
    };
    connection::say_goodbye((sink, stream), frames, Frame::Text, end, &limits).await;
}

fn refused(no_place: NoPlace) -> End {
    match no_place {
        NoPlace::TooManySpaces => End::Closed(close_code::AGAIN, "too many names in use"),
        NoPlace::SpaceFull => End::Closed(close_code::AGAIN, "too many producers and consumers"),
        NoPlace::ShuttingDown => connection::SHUTTING_DOWN,
    }
}

/// The reading half.
struct Reader {
    spaces: Spaces,
    place: Place,
    outbox: mpsc::Sender<Utf8Bytes>,
    limits: Arc<Limits>,
    pace: Pace,
    /// Has said something that makes sense.
    has_spoken: bool,
    bad_messages: u32,
}

impl Reader {
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> End {
        let connected = Instant::now();
        let mut heard = connected;
        loop {
            let silent = (heard + self.limits.silence, End::Gone);
            let mute = (connected + self.limits.join, End::Closed(close_code::POLICY, "nothing was said in time"));
            let (deadline, end) = if self.has_spoken || silent.0 < mute.0 { silent } else { mute };
            let frame = match timeout_at(deadline, stream.next()).await {
                Err(_) => return end,
                Ok(None) => return End::Gone,
                Ok(Some(Err(error))) => return end_of_error(&error),
                Ok(Some(Ok(frame))) => frame,
            };
            heard = Instant::now();
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
            if let ControlFlow::Break(end) = connection::slow_down(&mut self.pace, &self.limits).await {
                return end;
            }
        }
    }

    async fn read(&mut self, text: &str) -> ControlFlow<End> {
        if text.len() > self.limits.message_bytes {
            return ControlFlow::Break(TOO_BIG);
        }
        let Ok(message) = wire::parse(text) else { return self.refuse_bad_message().await };
        self.has_spoken = true;
        match message {
            FromClient::Peer(message) => self.relay(message).await,
            FromClient::Unknown => ControlFlow::Continue(()),
            message => {
                self.spaces.say(&self.place, message).await;
                ControlFlow::Continue(())
            }
        }
    }

    async fn relay(&self, message: PeerMessage) -> ControlFlow<End> {
        let receiver = match self.spaces.find(&self.place, &message).await {
            Ok(Some(receiver)) => receiver,
            Ok(None) => return ControlFlow::Continue(()),
            Err(details) => return self.say(&FromServer::Error { details }).await,
        };
        let frame = Utf8Bytes::from(wire::write(&FromServer::Peer(message)));
        // A receiver that has ended ends the session in a moment.
        if let Err(mpsc::error::SendTimeoutError::Timeout(_)) =
            receiver.outbox.send_timeout(frame, self.limits.send_timeout).await
        {
            tracing::info!("a receiver takes nothing: closed");
            receiver.evicted.cancel();
        }
        ControlFlow::Continue(())
    }

    async fn refuse_bad_message(&mut self) -> ControlFlow<End> {
        self.bad_messages += 1;
        let said = self.say(&FromServer::Error { details: "message is not valid JSON of this protocol".into() }).await;
        if self.bad_messages >= self.limits.bad_messages {
            return ControlFlow::Break(End::Closed(close_code::INVALID, "too many bad messages"));
        }
        said
    }

    async fn say(&self, message: &FromServer) -> ControlFlow<End> {
        match self.outbox.send(wire::write(message).into()).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(End::Gone),
        }
    }
}
