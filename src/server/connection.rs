//! One WebSocket of the server, whatever is said on it: how it is written, and how it ends.
//!
//! Each protocol has a reader of its own, which runs beside [`write()`] in one task. A member whose receiver is slow waits, and
//! its own messages wait in TCP. Nothing is dropped while both sides live.

use std::ops::ControlFlow;

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::config::Limits;
use crate::pace::Pace;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side is gone or has closed.
    Gone,
    /// The other side has closed and is to get the answer to that.
    Closing,
    Closed(u16, &'static str),
    /// Takes nothing: what waits for it is not sent any more.
    Evicted,
}

pub(crate) const TOO_BIG: End = End::Closed(close_code::SIZE, "message too big");
pub(crate) const SHUTTING_DOWN: End = End::Closed(close_code::AWAY, "server is shutting down");

/// What is said to somebody who goes on and on.
const FLOOD: End = End::Closed(close_code::POLICY, "more messages a second than are taken: wait, and send fewer");

/// Counts a message. What exceeds the rate stays in TCP, and whoever does not rest for long enough is closed.
pub(crate) async fn slow_down(pace: &mut Pace, limits: &Limits) -> ControlFlow<End> {
    let now = Instant::now().into_std();
    let wait = pace.count(now);
    if pace.is_flooded(now, limits.flood) {
        tracing::info!(per_second = limits.messages_per_second, "a connection sends too many messages: closed");
        return ControlFlow::Break(FLOOD);
    }
    if !wait.is_zero() {
        sleep(wait).await;
    }
    ControlFlow::Continue(())
}

/// Sends what waits for this connection, and pings in between.
pub(crate) async fn write<T>(
    sink: &mut SplitSink<WebSocket, Frame>,
    frames: &mut mpsc::Receiver<T>,
    into_frame: impl Fn(T) -> Frame,
    limits: &Limits,
) -> End {
    let mut ping = interval_at(Instant::now() + limits.ping, limits.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => into_frame(frame),
                None => return End::Gone,
            },
            _ = ping.tick() => Frame::Ping(Default::default()),
        };
        // Whoever takes nothing for so long would never be missed by anybody who does not write to them.
        match timeout(limits.silence, sink.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Gone,
            Err(_) => return End::Evicted,
        }
    }
}

/// Sends what still waits, closes, and reads on until the other side has closed too: bytes left unread would reset TCP and
/// destroy the farewell. Takes no longer than a close may.
pub(crate) async fn say_goodbye<T>(
    (sink, stream): (SplitSink<WebSocket, Frame>, SplitStream<WebSocket>),
    frames: mpsc::Receiver<T>,
    into_frame: impl Fn(T) -> Frame,
    end: End,
    limits: &Limits,
) {
    if timeout(limits.close, farewell((sink, stream), frames, into_frame, end)).await.is_err() {
        tracing::debug!("a client did not take its farewell");
    }
}

async fn farewell<T>(
    (mut sink, mut stream): (SplitSink<WebSocket, Frame>, SplitStream<WebSocket>),
    mut frames: mpsc::Receiver<T>,
    into_frame: impl Fn(T) -> Frame,
    end: End,
) {
    let (code, reason) = match end {
        End::Gone => return,
        End::Closing => {
            // The answer leaves with the next read.
            while let Some(Ok(_)) = stream.next().await {}
            return;
        }
        End::Evicted => (close_code::AGAIN, "too slow"),
        End::Closed(code, reason) => (code, reason),
    };
    if end != End::Evicted {
        while let Ok(frame) = frames.try_recv() {
            if sink.feed(into_frame(frame)).await.is_err() {
                return;
            }
        }
    }
    if sink.send(Frame::Close(Some(CloseFrame { code, reason: reason.into() }))).await.is_ok() {
        while let Some(Ok(_)) = stream.next().await {}
    }
}

/// What an error of the WebSocket means for it.
pub(crate) fn end_of_error(error: &axum::Error) -> End {
    use tokio_tungstenite::tungstenite::Error;
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    match source {
        Some(Error::Capacity(_)) => TOO_BIG,
        Some(Error::Utf8(_)) => End::Closed(close_code::INVALID, "text is not UTF-8"),
        Some(Error::Protocol(_)) => End::Closed(close_code::PROTOCOL, "protocol error"),
        _ => End::Gone,
    }
}
