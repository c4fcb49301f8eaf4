//! Whether the server is well: for load balancers and containers.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::Shared;
use super::text;

pub(super) async fn healthz(State(shared): State<Shared>) -> Response {
    if shared.closing.is_cancelled() {
        text(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    } else {
        text(StatusCode::OK, "ok")
    }
}
