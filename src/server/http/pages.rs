//! The pages: files of `web/` that are part of the binary.

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::super::Shared;
use super::{room_name, text};

#[derive(RustEmbed)]
#[folder = "web/"]
#[allow_missing = true]
struct Web;

pub(super) async fn call(headers: HeaderMap) -> Response {
    page("index.html", &headers)
}

pub(super) async fn watch(room: Path<String>, headers: HeaderMap) -> Response {
    match room_name(room) {
        Ok(_) => page("watch.html", &headers),
        Err(answer) => *answer,
    }
}

pub(super) async fn file(Path(file): Path<String>, headers: HeaderMap) -> Response {
    page(&file, &headers)
}

/// `/config.js`: brings the ICE servers to the page. It may hold a TURN password, so nobody keeps it.
pub(super) async fn config(State(shared): State<Shared>) -> Response {
    let script = format!("window.__APP_CONFIG__ = {{\"rtcConfig\":{}}};\n", shared.rtc_config.as_json());
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8"), (CACHE_CONTROL, "no-store")], script).into_response()
}

/// A file of `web/`. It may be kept but is asked for each time: an unchanged one costs a 304.
fn page(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = Web::get(name) else { return text(StatusCode::NOT_FOUND, "not found") };
    let etag: String = file.metadata.sha256_hash().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let etag = format!("\"{etag}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let caching = [(CACHE_CONTROL, "no-cache".to_owned()), (ETAG, etag.clone())];
    if known.is_some_and(|known| known.split(',').any(|known| known.trim().trim_start_matches("W/") == etag)) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, content_type(name))], file.data).into_response()
}

fn content_type(name: &str) -> String {
    let mime = mime_guess::from_path(name).first_or_octet_stream();
    match mime.type_() {
        mime_guess::mime::TEXT => format!("{}; charset=utf-8", mime.essence_str()),
        _ => mime.essence_str().to_owned(),
    }
}
