//! One connection of GStreamer's text protocol, from its upgrade to its close.
//!
//! It keeps the time and the pace and moves frames; what they mean is up to `gstreamer_exchange`.

pub(super) mod exchange;
pub(super) mod peers;

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::ws::{Message as Frame, WebSocket, close_code};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::peers::{Peers, Seat};
use super::config::Limits;
use super::connection::{self, End, TOO_BIG, end_of_error};
use crate::pace::Pace;
use crate::signaling::gstreamer::wire::{INVALID_PROTOCOL, INVALID_UID, ToServer};

/// The original closes so whoever does not begin with a good HELLO.
const NO_HELLO: End = End::Closed(close_code::PROTOCOL, INVALID_PROTOCOL);
const BAD_UID: End = End::Closed(close_code::PROTOCOL, INVALID_UID);
/// And so the other side of a session that has ended.
const HUNG_UP: End = End::Closed(close_code::NORMAL, "");
const IDLE: End = End::Closed(close_code::NORMAL, "idle for too long");

/// Serves one connection until it ends.
pub(crate) async fn serve(socket: WebSocket, peers: Peers, limits: Arc<Limits>, closing: CancellationToken) {
    let (mut sink, mut stream) = socket.split();
    let (outbox, mut frames) = mpsc::channel(limits.queue.max(1));
    let seat = Seat::new(outbox);
    let mut reader = Reader {
        peers,
        seat: seat.clone(),
        limits: limits.clone(),
        pace: Pace::new(limits.messages_per_second, Instant::now().into_std()),
        claimed: None,
        uid: None,
    };
    let end = tokio::select! {
        end = reader.run(&mut stream) => end,
        end = connection::write(&mut sink, &mut frames, |frame| frame, &limits) => end,
        () = seat.evicted.cancelled() => End::Evicted,
        () = seat.hung_up.cancelled() => HUNG_UP,
        () = closing.cancelled() => connection::SHUTTING_DOWN,
    };
    tracing::debug!(uid = reader.uid, ?end, "a GStreamer connection ends");
    if let Some(uid) = reader.claimed.take() {
        reader.peers.gone(&seat, &uid).await;
    }
    connection::say_goodbye((sink, stream), frames, |frame| frame, end, &limits).await;
}

/// The reading half, and what it knows of its peer.
struct Reader {
    peers: Peers,
    seat: Seat,
    limits: Arc<Limits>,
    pace: Pace,
    /// The uid that was asked for: this task may end before it hears that it has got it.
    claimed: Option<String>,
    uid: Option<String>,
}

impl Reader {
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> End {
        let mut heard = Instant::now();
        let hello_by = heard + self.limits.hello;
        let mut idle_since = heard;
        loop {
            let (other, end) = match &self.uid {
                None => (hello_by, NO_HELLO),
                Some(_) => (idle_since + self.limits.registered, IDLE),
            };
            let silent = heard + self.limits.silence;
            let frame = match timeout_at(other.min(silent), stream.next()).await {
                Err(_) if silent <= Instant::now() => return End::Gone,
                // Whether somebody was called meanwhile, only the owner knows.
                Err(_) => match &self.uid {
                    Some(uid) if !self.peers.is_idle(uid).await => {
                        idle_since = Instant::now();
                        continue;
                    }
                    _ => return end,
                },
                Ok(None) => return End::Gone,
                Ok(Some(Err(error))) => return end_of_error(&error),
                Ok(Some(Ok(frame))) => frame,
            };
            heard = Instant::now();
            let flow = match frame {
                Frame::Text(_) | Frame::Binary(_) => self.read(frame).await,
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

    async fn read(&mut self, frame: Frame) -> ControlFlow<End> {
        let length = match &frame {
            Frame::Text(text) => text.len(),
            Frame::Binary(bytes) => bytes.len(),
            _ => 0,
        };
        if length > self.limits.message_bytes {
            return ControlFlow::Break(TOO_BIG);
        }
        let Some(uid) = &self.uid else { return self.register(&frame).await };
        self.peers.said(&self.seat, uid, frame).await;
        ControlFlow::Continue(())
    }

    async fn register(&mut self, frame: &Frame) -> ControlFlow<End> {
        let Frame::Text(text) = frame else { return ControlFlow::Break(NO_HELLO) };
        let ToServer::Hello(uid) = ToServer::parse(text.as_str()) else { return ControlFlow::Break(NO_HELLO) };
        self.claimed = Some(uid.to_owned());
        if !self.peers.register(&self.seat, uid).await {
            return ControlFlow::Break(BAD_UID);
        }
        tracing::info!(uid, "a GStreamer peer has registered");
        self.uid = Some(uid.to_owned());
        ControlFlow::Continue(())
    }
}
