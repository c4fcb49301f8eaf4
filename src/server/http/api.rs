//! The API: rooms, who is in them, and how their bridges are doing.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header::CACHE_CONTROL};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::Shared;
use super::room_name;

pub(super) async fn rooms(State(shared): State<Shared>) -> Response {
    answer(StatusCode::OK, json!({ "rooms": all(&shared).await }))
}

pub(super) async fn room(State(shared): State<Shared>, room: Path<String>) -> Response {
    let room = match room_name(room) {
        Ok(room) => room,
        Err(answer) => return *answer,
    };
    match all(&shared).await.into_iter().find(|entry| entry["room"] == room.as_str()) {
        Some(entry) => answer(StatusCode::OK, entry),
        None => answer(StatusCode::NOT_FOUND, json!({ "error": format!("nobody is in room \"{room}\"") })),
    }
}

/// Every room that has members or a bridge.
async fn all(shared: &Shared) -> Vec<Value> {
    let mut bridges = match &shared.gateway {
        Some(gateway) => gateway.list().await,
        None => Vec::new(),
    };
    let mut entries = Vec::new();
    for info in shared.rooms.list().await {
        let bridge = bridges.iter().position(|bridge| bridge.room == info.room).map(|at| bridges.swap_remove(at));
        entries.push(json!({ "room": info.room, "members": info.members, "bridge": bridge }));
    }
    for bridge in bridges {
        entries.push(json!({ "room": bridge.room, "members": [], "bridge": bridge }));
    }
    entries
}

fn answer(status: StatusCode, value: Value) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], Json(value)).into_response()
}
