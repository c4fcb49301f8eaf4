//! One notify connection of the embedded server, from its upgrade to its close.
//!
//! Reading and writing run side by side in one task. It answers the question for the configuration and passes everything
//! else on to the other side without looking into it.

pub(super) mod calls;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message as Frame, Utf8Bytes, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::calls::{Calls, Relayed, Seat};
use super::config::Limits;
use super::connection::{self, End, TOO_BIG, end_of_error};
use crate::pace::Pace;
use crate::signaling::notify::wire::Message;
use crate::terms::IceServer;

/// What a connection gets from the server.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) calls: Calls,
    pub(crate) limits: Arc<Limits>,
    pub(crate) ice_servers: Vec<IceServer>,
    pub(crate) closing: CancellationToken,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(socket: WebSocket, setting: Setting, seat: Seat, mut frames: mpsc::Receiver<Utf8Bytes>) {
    let (mut sink, mut stream) = socket.split();
    let Setting { calls, limits, ice_servers, closing } = setting;
    let waiting = calls.open(&seat).await;
    let mut reader = Reader {
        pace: Pace::new(limits.messages_per_second, Instant::now().into_std()),
        calls,
        seat: seat.clone(),
        limits: limits.clone(),
        ice_servers,
    };
    let writing = async {
        match flush(&mut sink, waiting).await {
            Ok(()) => connection::write(&mut sink, &mut frames, Frame::Text, &limits).await,
            Err(end) => end,
        }
    };
    let end = tokio::select! {
        // What the other side said before it left is sent first: by the farewell.
        biased;
        () = seat.evicted.cancelled() => End::Evicted,
        () = closing.cancelled() => connection::SHUTTING_DOWN,
        () = seat.hung_up.cancelled() => End::Closed(close_code::NORMAL, "the other side has left"),
        () = alone_too_long(&seat.paired, limits.call_alone) => End::Closed(close_code::NORMAL, "nobody came"),
        end = writing => end,
        end = reader.run(&mut stream) => end,
    };
    reader.calls.leave(&seat).await;
    tracing::debug!(?end, "a notify connection ends");
    connection::say_goodbye((sink, stream), frames, Frame::Text, end, &limits).await;
}

async fn flush(sink: &mut SplitSink<WebSocket, Frame>, waiting: Vec<Utf8Bytes>) -> Result<(), End> {
    for text in waiting {
        sink.feed(Frame::Text(text)).await.map_err(|_| End::Gone)?;
    }
    sink.flush().await.map_err(|_| End::Gone)
}

/// Ends after `patience`, but never once the other side is there.
async fn alone_too_long(paired: &CancellationToken, patience: Duration) {
    if timeout(patience, paired.cancelled()).await.is_ok() {
        std::future::pending().await
    }
}

/// The reading half.
struct Reader {
    calls: Calls,
    seat: Seat,
    limits: Arc<Limits>,
    ice_servers: Vec<IceServer>,
    pace: Pace,
}

impl Reader {
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> End {
        loop {
            let frame = match timeout(self.limits.silence, stream.next()).await {
                Err(_) | Ok(None) => return End::Gone,
                Ok(Some(Err(error))) => return end_of_error(&error),
                Ok(Some(Ok(frame))) => frame,
            };
            let flow = match &frame {
                Frame::Text(text) => self.read(text.as_str()).await,
                Frame::Binary(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => self.read(text).await,
                    Err(_) => ControlFlow::Continue(()),
                },
                Frame::Close(_) => return End::Closing,
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

    async fn read(&self, text: &str) -> ControlFlow<End> {
        if text.len() > self.limits.message_bytes {
            return ControlFlow::Break(TOO_BIG);
        }
        match Message::parse(text) {
            Some(Message::Get { msg_id }) => {
                let reply = Message::Configuration { msg_id, ice_servers: self.ice_servers.clone() };
                match self.seat.outbox.send(reply.to_json().into()).await {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(End::Gone),
                }
            }
            Some(Message::Notify(data)) => {
                self.relay(data).await;
                ControlFlow::Continue(())
            }
            // As the original does: no word about it.
            Some(Message::Configuration { .. }) | None => ControlFlow::Continue(()),
        }
    }

    async fn relay(&self, data: Value) {
        let is_offer = data.get("type").and_then(Value::as_str) == Some("offer");
        let frame = Utf8Bytes::from(Message::Notify(data).to_json());
        let Some(other) = self.calls.relay(&self.seat, Relayed { frame: frame.clone(), is_offer }).await else {
            return;
        };
        // A receiver that has ended takes us along in a moment.
        if let Err(mpsc::error::SendTimeoutError::Timeout(_)) =
            other.outbox.send_timeout(frame, self.limits.send_timeout).await
        {
            tracing::info!("a notify receiver takes nothing: closed");
            other.evicted.cancel();
        }
    }
}
