//! The way from HTTP to a WebSocket: who may, who may not, and what to answer to what is no WebSocket at all.

use axum::extract::ws::WebSocket;
use axum::extract::{FromRequestParts, Path, Request, State, WebSocketUpgrade};
use axum::http::header::{ALLOW, CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::{Shared, gstrs, mesh};
use super::text;
use crate::signaling::mesh_wire::valid_room;

pub(super) async fn mesh(State(shared): State<Shared>, request: Request) -> Response {
    let admitted = match admit(&shared, request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    admitted.serve(move |socket| mesh::serve(socket, shared.rooms, shared.limits, shared.closing))
}

pub(super) async fn gstrs(State(shared): State<Shared>, space: Option<Path<String>>, request: Request) -> Response {
    let space = match space {
        None => String::new(),
        Some(Path(name)) => match valid_room(&name) {
            Some(name) => name.to_owned(),
            None => return text(StatusCode::NOT_FOUND, "a name has 1 to 64 bytes without control characters"),
        },
    };
    let admitted = match admit(&shared, request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    admitted.serve(move |socket| gstrs::serve(socket, shared.spaces, space, shared.limits, shared.closing))
}

/// A request that may become a WebSocket, with its place among the connections.
struct Admitted {
    upgrade: WebSocketUpgrade,
    place: (OwnedSemaphorePermit, TaskTrackerToken),
}

impl Admitted {
    fn serve<F: Future<Output = ()> + Send + 'static>(
        self,
        serve: impl FnOnce(WebSocket) -> F + Send + 'static,
    ) -> Response {
        self.upgrade.on_upgrade(move |socket| async move {
            serve(socket).await;
            drop(self.place);
        })
    }
}

/// Lets a request in, or says why not.
async fn admit(shared: &Shared, request: Request) -> Result<Admitted, Box<Response>> {
    let refuse = |status, why: &str| Err(Box::new(text(status, why)));
    let (mut parts, _) = request.into_parts();
    if parts.method != Method::GET {
        let refusal = (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET")], "method not allowed\n");
        return Err(Box::new(refusal.into_response()));
    }
    if !has_token(&parts.headers, &CONNECTION, "upgrade") || !has_token(&parts.headers, &UPGRADE, "websocket") {
        let headers = [(UPGRADE, "websocket"), (CONNECTION, "Upgrade")];
        return Err(Box::new((StatusCode::UPGRADE_REQUIRED, headers, "this is a WebSocket\n").into_response()));
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
        return refuse(StatusCode::FORBIDDEN, "origin not allowed");
    }
    if header(SEC_WEBSOCKET_VERSION) != Some("13") || header(SEC_WEBSOCKET_KEY).is_none_or(|key| key.len() != 24) {
        let headers = [(SEC_WEBSOCKET_VERSION, "13")];
        return Err(Box::new((StatusCode::BAD_REQUEST, headers, "bad WebSocket handshake\n").into_response()));
    }
    if shared.closing.is_cancelled() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    }
    let Ok(permit) = shared.connections.clone().try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
    };
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, shared).await else {
        return refuse(StatusCode::BAD_REQUEST, "bad WebSocket handshake");
    };
    let largest = shared.limits.message_bytes;
    // Takes its place among the streams before the upgrade, so that a shutdown in between waits for it.
    let place = (permit, shared.streams.token());
    Ok(Admitted { upgrade: upgrade.max_message_size(largest).max_frame_size(largest), place })
}

/// Whether a header has a token, as HTTP compares them: in any line, between commas, without regard to case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}
