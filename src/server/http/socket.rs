//! The way from HTTP to a WebSocket: who may, who may not, and what to answer to what is no WebSocket at all.

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header::{ALLOW, CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::{Shared, gstreamer, gstrs, mesh};
use super::text;
use crate::signaling::mesh_wire::valid_room;

/// `/ws`: mesh rooms.
pub(super) async fn mesh(State(shared): State<Shared>, request: Request) -> Response {
    upgrade(shared, request, |socket, shared| mesh::serve(socket, shared.rooms, shared.limits, shared.closing)).await
}

/// `/gst`: what GStreamer's `simple_server` speaks.
pub(super) async fn gstreamer(State(shared): State<Shared>, request: Request) -> Response {
    upgrade(shared, request, |socket, shared| gstreamer::serve(socket, shared.gstreamer, shared.limits, shared.closing))
        .await
}

/// `/gstrs` and `/gstrs/NAME`: producers and consumers of gst-plugins-rs.
pub(super) async fn gstrs(State(shared): State<Shared>, space: Option<Path<String>>, request: Request) -> Response {
    let space = match space {
        None => String::new(),
        Some(Path(name)) => match valid_room(&name) {
            Some(name) => name.to_owned(),
            None => return text(StatusCode::NOT_FOUND, "a name has 1 to 64 bytes without control characters"),
        },
    };
    upgrade(shared, request, |socket, shared| gstrs::serve(socket, shared.spaces, space, shared.limits, shared.closing))
        .await
}

/// Whether a request wants a WebSocket.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket")
}

/// Makes a WebSocket of a request, or says why not, and has it served until it ends.
async fn upgrade<F: Future<Output = ()> + Send + 'static>(
    shared: Shared,
    request: Request,
    serve: impl FnOnce(WebSocket, Shared) -> F + Send + 'static,
) -> Response {
    let (mut parts, _) = request.into_parts();
    if parts.method != Method::GET {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET")], "method not allowed\n").into_response();
    }
    if !wants_upgrade(&parts.headers) {
        let headers = [(UPGRADE, "websocket"), (CONNECTION, "Upgrade")];
        return (StatusCode::UPGRADE_REQUIRED, headers, "this is a WebSocket\n").into_response();
    }
    let header = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let origin = match parts.headers.get(ORIGIN) {
        None => None,
        // What cannot be read is an origin all the same.
        Some(value) => Some(value.to_str().unwrap_or("null")),
    };
    if !shared.origins.allows(origin, header(HOST)) {
        tracing::info!(
            origin,
            host = header(HOST),
            "a WebSocket of another origin is refused; --allow-origin admits it"
        );
        return text(StatusCode::FORBIDDEN, "origin not allowed");
    }
    if header(SEC_WEBSOCKET_VERSION) != Some("13") || header(SEC_WEBSOCKET_KEY).is_none_or(|key| key.len() != 24) {
        let headers = [(SEC_WEBSOCKET_VERSION, "13")];
        return (StatusCode::BAD_REQUEST, headers, "bad WebSocket handshake\n").into_response();
    }
    if shared.closing.is_cancelled() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    }
    let Ok(permit) = shared.connections.clone().try_acquire_owned() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
    };
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &shared).await else {
        return text(StatusCode::BAD_REQUEST, "bad WebSocket handshake");
    };
    let largest = shared.limits.message_bytes;
    // Takes its place among the streams before the upgrade, so that a shutdown in between waits for it.
    let place = shared.streams.token();
    upgrade.max_message_size(largest).max_frame_size(largest).on_upgrade(move |socket| async move {
        serve(socket, shared).await;
        drop((permit, place));
    })
}

/// Whether a header has a token, as HTTP compares them: in any line, between commas, without regard to case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}
