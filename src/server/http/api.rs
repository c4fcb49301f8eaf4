//! The API: rooms, who is in them, and how their bridges are doing.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header::CACHE_CONTROL};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Shared;
use super::super::room_info::RoomInfo;
use super::room_name;

pub(super) async fn rooms(State(shared): State<Shared>) -> Response {
    answer(StatusCode::OK, json!({ "rooms": all(&shared).await }))
}

/// Rooms of several protocols may have one name.
#[derive(Deserialize)]
pub(super) struct Which {
    protocol: Option<String>,
}

pub(super) async fn room(
    State(shared): State<Shared>,
    room: Path<String>,
    Query(Which { protocol }): Query<Which>,
) -> Response {
    let room = match room_name(room) {
        Ok(room) => room,
        Err(answer) => return *answer,
    };
    let is_meant = |entry: &Value| {
        entry["room"] == room.as_str() && protocol.as_deref().is_none_or(|protocol| entry["protocol"] == protocol)
    };
    match all(&shared).await.into_iter().find(is_meant) {
        Some(entry) => answer(StatusCode::OK, entry),
        None => answer(StatusCode::NOT_FOUND, json!({ "error": format!("nobody is in room \"{room}\"") })),
    }
}

/// Every room that has members or a bridge, those of mesh first: only they have bridges of ours.
async fn all(shared: &Shared) -> Vec<Value> {
    let mut bridges = match &shared.gateway {
        Some(gateway) => gateway.list().await,
        None => Vec::new(),
    };
    let mut entries = Vec::new();
    for info in shared.rooms.list().await {
        let bridge = bridges.iter().position(|bridge| bridge.room == info.room).map(|at| bridges.swap_remove(at));
        entries.push(entry("mesh", &info, json!(bridge)));
    }
    for bridge in bridges {
        let info = RoomInfo { room: bridge.room.clone(), members: Vec::new() };
        entries.push(entry("mesh", &info, json!(bridge)));
    }
    let others = [
        ("gst", shared.gstreamer.list().await),
        ("gstrs", shared.spaces.list().await),
        ("notify", shared.calls.list().await),
        ("simplevoice", shared.voice.list().await),
    ];
    for (protocol, rooms) in others {
        entries.extend(rooms.iter().map(|info| entry(protocol, info, Value::Null)));
    }
    entries
}

/// A protocol is called as in the URLs of its rooms.
fn entry(protocol: &str, RoomInfo { room, members }: &RoomInfo, bridge: Value) -> Value {
    json!({ "room": room, "protocol": protocol, "members": members, "bridge": bridge })
}

fn answer(status: StatusCode, value: Value) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], Json(value)).into_response()
}
