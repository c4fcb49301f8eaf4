//! The HTTP side: pages, health, the API, live media, and the upgrade to WebSockets.

mod api;
mod health;
mod hls;
mod live;
mod pages;
mod socket;
mod voice;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tower_http::set_header::SetResponseHeaderLayer;

pub(super) use hls::hls_file;
pub(super) use voice::request_of as voice_request;

use super::relay::Role;
use super::{Shared, whip};
use crate::signaling::limits::valid_room;

/// Every path of the server.
pub(super) fn router(shared: Shared) -> Router {
    let mut router = Router::new()
        .route("/", get(root))
        .route("/config.js", get(pages::config))
        .route("/watch/{room}", get(pages::watch))
        .route("/healthz", get(health::healthz))
        .route("/ws", any(socket::mesh))
        .route("/gstrs", any(socket::gstrs))
        .route("/gstrs/{name}", any(socket::gstrs))
        .route("/gst", any(socket::gstreamer))
        .route("/gst/", any(socket::gstreamer))
        .route("/gst/{*anything}", any(socket::gstreamer))
        .route("/call/{id}", any(socket::notify))
        .route("/sv/{act}", any(voice::voice))
        .route("/whip/{room}", whip::endpoint(Role::Publish))
        .route("/whip/{room}/{session}", whip::session(Role::Publish))
        .route("/whep/{room}", whip::endpoint(Role::Watch))
        .route("/whep/{room}/{session}", whip::session(Role::Watch))
        .route("/api/v1/rooms", get(api::rooms))
        .route("/api/v1/rooms/{room}", get(api::room))
        .route("/rooms/{room}/live.sdp", get(live::sdp))
        .route("/rooms/{room}/live.ts", get(live::ts))
        .route("/rooms/{room}/hls/{file}", get(hls::hls))
        .route("/{*file}", get(pages::file))
        .with_state(shared);
    for (name, value) in SECURITY_HEADERS {
        router = router.layer(SetResponseHeaderLayer::if_not_present(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        ));
    }
    router
}

/// `/`: the call page, and GStreamer's protocol for programs that dial a host without a path.
async fn root(shared: State<Shared>, request: Request) -> Response {
    if socket::wants_upgrade(request.headers()) {
        socket::gstreamer(shared, request).await
    } else {
        pages::call(request.headers().clone()).await
    }
}

/// What keeps other pages out of ours. hls.js runs its worker and its media from blob URLs.
const SECURITY_HEADERS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    (
        "content-security-policy",
        "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; worker-src 'self' blob:; \
         img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
];

/// A room's name in a path, or the answer to a bad one.
fn room_name(Path(room): Path<String>) -> Result<String, Box<Response>> {
    match valid_room(&room) {
        Some(room) => Ok(room.to_owned()),
        None => Err(Box::new(text(StatusCode::BAD_REQUEST, "invalid room name"))),
    }
}

/// An answer for people, on one line.
fn text(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (status, [("content-type", "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}
