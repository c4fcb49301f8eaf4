//! Live media of rooms: the first request starts the room's bridge, the last one lets it end.

use std::path::Path as FilePath;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::super::Shared;
use super::super::gateway::{GatewayError, LiveMedia, Viewing};
use super::{room_name, text};

/// Bytes read at once from a bridge: about a hundred TS packets.
const CHUNK: usize = 188 * 100;
/// Chunks that wait for one viewer, about 5 MB: some seconds. A viewer that is slower than that is dropped.
const CHUNKS: usize = 256;
/// A bridge that gives nothing for so long has no more to give.
const STALLED: Duration = Duration::from_secs(30);

/// `live.sdp`: describes RTP that arrives on this machine.
pub(super) async fn sdp(State(shared): State<Shared>, room: Path<String>) -> Response {
    let viewing = match ready(&shared, room, LiveMedia::Sdp).await {
        Ok(viewing) => viewing,
        Err(answer) => return *answer,
    };
    file(&viewing.files().sdp, "application/sdp", "no-cache").await
}

pub(super) async fn file(path: &FilePath, content_type: &'static str, caching: &'static str) -> Response {
    match tokio::fs::read(path).await {
        Ok(bytes) => {
            let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, caching), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
            (headers, bytes).into_response()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => text(StatusCode::NOT_FOUND, "not found"),
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "a file of a bridge cannot be read");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read")
        }
    }
}

/// `live.ts`: MPEG-TS for any player, as long as it listens.
pub(super) async fn ts(State(shared): State<Shared>, room: Path<String>) -> Response {
    let viewing = match ready(&shared, room, LiveMedia::Ts).await {
        Ok(viewing) => viewing,
        Err(answer) => return *answer,
    };
    let source = match UnixStream::connect(&viewing.files().ts_socket).await {
        Ok(source) => source,
        Err(error) => {
            tracing::warn!(%error, "a bridge does not take viewers");
            return later("the bridge does not take viewers at the moment");
        }
    };
    let (chunks_in, chunks) = mpsc::channel(CHUNKS);
    let closing = shared.closing.clone();
    shared.streams.spawn(async move {
        tokio::select! {
            () = pump(source, chunks_in, viewing) => {}
            () = closing.cancelled() => {}
        }
    });
    let headers = [(CONTENT_TYPE, "video/mp2t"), (CACHE_CONTROL, "no-store"), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (headers, Body::from_stream(ReceiverStream::new(chunks))).into_response()
}

/// Moves bytes from a bridge to one viewer until either ends. It never waits for the viewer.
async fn pump(mut source: UnixStream, viewer: mpsc::Sender<std::io::Result<Bytes>>, viewing: Viewing) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = timeout(STALLED, source.read(&mut buffer)) => read,
            () = viewer.closed() => return,
        };
        let length = match read {
            Ok(Ok(length)) if length > 0 => length,
            _ => return,
        };
        viewing.touch();
        if let Err(error) = viewer.try_send(Ok(Bytes::copy_from_slice(&buffer[..length]))) {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                tracing::info!(room = viewing.state().borrow().room, "a viewer of live.ts is too slow: dropped");
            }
            return;
        }
    }
}

/// Waits until something of a room plays. The answer otherwise says what is missing.
pub(super) async fn ready(shared: &Shared, room: Path<String>, media: LiveMedia) -> Result<Viewing, Box<Response>> {
    let room = room_name(room)?;
    let Some(gateway) = &shared.gateway else {
        return Err(Box::new(text(StatusCode::NOT_FOUND, "this server runs no bridges (--no-bridges)")));
    };
    let viewing = gateway.watch(&room).await.map_err(|error| {
        Box::new(match error {
            GatewayError::EmptyRoom(_) => text(StatusCode::NOT_FOUND, error),
            GatewayError::TooMany(_) | GatewayError::TooBusy(_) | GatewayError::Closing => later(error),
            GatewayError::Resources { .. } => {
                tracing::error!(%error);
                text(StatusCode::INTERNAL_SERVER_ERROR, error)
            }
        })
    })?;
    let mut state = viewing.state().clone();
    let settled = state.wait_for(|state| state.is_ready(media) || state.failure(media).is_some());
    let answer = match timeout(gateway.start_wait(), settled).await {
        Ok(Ok(state)) => state
            .failure(media)
            .map(|reason| later(format_args!("room \"{room}\" cannot be watched at the moment: {reason}"))),
        Ok(Err(_)) => Some(later("the bridge has ended")),
        Err(_) => Some(later(format_args!("the bridge of room \"{room}\" is starting"))),
    };
    match answer {
        None => Ok(viewing),
        Some(answer) => Err(Box::new(answer)),
    }
}

/// 503: worth another try in a second.
pub(super) fn later(reason: impl std::fmt::Display) -> Response {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}
