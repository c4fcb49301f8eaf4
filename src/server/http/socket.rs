//! The way from HTTP to a WebSocket: who may, who may not, and what to answer to what is no WebSocket at all.

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header::{ALLOW, CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::ext::ReasonPhrase;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::notify::calls::NoPlace;
use super::super::{Shared, gstreamer, gstrs, mesh, notify};
use super::text;
use crate::signaling::limits::{valid_id, valid_room};

/// `/ws`: mesh rooms.
pub(super) async fn mesh(State(shared): State<Shared>, request: Request) -> Response {
    let admitted = match admit(&shared, request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    admitted.serve(move |socket| mesh::serve(socket, shared.rooms, shared.limits, shared.closing))
}

/// `/gst`: what GStreamer's `simple_server` speaks.
pub(super) async fn gstreamer(State(shared): State<Shared>, request: Request) -> Response {
    let admitted = match admit(&shared, request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    admitted.serve(move |socket| gstreamer::serve(socket, shared.gstreamer, shared.limits, shared.closing))
}

/// `/call/ID`: two who share a path.
pub(super) async fn notify(State(shared): State<Shared>, Path(call): Path<String>, request: Request) -> Response {
    if valid_id(&call) != Some(call.as_str()) {
        return text(StatusCode::NOT_FOUND, "a call has an id of 1 to 64 characters A-Z a-z 0-9 _ -");
    }
    let admitted = match admit(&shared, request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let (outbox, frames) = mpsc::channel(shared.limits.queue.max(1));
    let seat = match shared.calls.reserve(&call, outbox).await {
        Ok(seat) => seat,
        Err(NoPlace::Full) => {
            let mut response = StatusCode::BAD_REQUEST.into_response();
            response.extensions_mut().insert(SPACE_FULL);
            return response;
        }
        Err(NoPlace::TooManyCalls) => return text(StatusCode::SERVICE_UNAVAILABLE, "too many calls"),
    };
    let setting = notify::Setting {
        calls: shared.calls,
        limits: shared.limits,
        ice_servers: shared.rtc_config.ice_servers(),
        closing: shared.closing,
    };
    admitted.serve(move |socket| notify::serve(socket, setting, seat, frames))
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
    let admitted = match admit(&shared, request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    admitted.serve(move |socket| gstrs::serve(socket, shared.spaces, space, shared.limits, shared.closing))
}

/// Whether a request wants a WebSocket.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket")
}

/// How the original says that two are in a call already: in the status line, and nowhere else.
const SPACE_FULL: ReasonPhrase = ReasonPhrase::from_static(b"Bad Request - Space Full");

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
    if !wants_upgrade(&parts.headers) {
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
