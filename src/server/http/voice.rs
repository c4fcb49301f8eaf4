//! Simple Voice over HTTP: `/sv/join`, `/sv/offer`, `/sv/get_answer`, `/sv/answer`, `/sv/leave`, by GET and by POST.
//!
//! Parameters are read from the query, a form, or a JSON object. Whatever the protocol has a word for is sent with status
//! 200, because old clients look at the body.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::form_urlencoded;

use super::super::Shared;
use super::super::voice::rooms::{Ask, Data, Reply};
use super::text;
use crate::signaling::json::read as read_json;
use crate::signaling::limits::valid_id;
use crate::signaling::simple_voice::wire::{Act, INVALID_STATE, ROOM_FULL, description};
use crate::terms::{IceServer, SessionDescription};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Parameters by name; of several with one name the last.
type Parameters = BTreeMap<String, Value>;

pub(super) async fn voice(State(shared): State<Shared>, Path(act): Path<String>, request: Request) -> Response {
    let Some(act) = act_of(&act) else { return text(StatusCode::NOT_FOUND, "not found") };
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, POST")], "method not allowed\n").into_response();
    }
    if !from_here(&shared, request.headers()) {
        tracing::info!("a Simple Voice request of another origin is refused; --allow-origin admits it");
        return text(StatusCode::FORBIDDEN, "origin not allowed");
    }
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let parameters = match parameters(&shared, request).await {
        Ok(parameters) => parameters,
        Err((status, why)) => return text(status, why),
    };
    let reply = match ask(act, &parameters) {
        None => Some(Reply::InvalidState),
        Some(ask) => tokio::select! {
            reply = shared.voice.ask(address, ask) => reply,
            () = shared.closing.cancelled() => return text(StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        },
    };
    match reply {
        Some(reply) => written(reply, &shared),
        None => text(StatusCode::TOO_MANY_REQUESTS, "too many requests"),
    }
}

fn act_of(name: &str) -> Option<Act> {
    [Act::Join, Act::Offer, Act::GetAnswer, Act::Answer, Act::Leave].into_iter().find(|act| act.path() == name)
}

/// Whether a request may come from this page: from none, from one of ours, or from one on the list.
fn from_here(shared: &Shared, headers: &HeaderMap) -> bool {
    let header = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("null"));
    let origin = header(ORIGIN);
    // A page's GET has no origin, but browsers of today say this much.
    let foreign = origin.is_none() && header(SEC_FETCH_SITE) == Some("cross-site");
    !foreign && shared.origins.allows(origin, header(HOST))
}

async fn parameters(shared: &Shared, request: Request) -> Result<Parameters, (StatusCode, &'static str)> {
    let limits = &shared.limits.voice;
    let mut parameters = of_form(request.uri().query().unwrap_or_default().as_bytes());
    if request.method() == Method::POST {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json =
            content_type.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("application/json"));
        let body: Body = request.into_body();
        let body = timeout(limits.request_time, to_bytes(body, limits.request_bytes)).await;
        let body = body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "too slow"))?;
        let body = body.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "too large"))?;
        if is_json {
            let body = std::str::from_utf8(&body).unwrap_or_default();
            parameters.extend(read_json::<Map<String, Value>>(body).unwrap_or_default());
        } else {
            parameters.extend(of_form(&body));
        }
    }
    Ok(parameters)
}

fn of_form(text: &[u8]) -> Parameters {
    form_urlencoded::parse(text).map(|(key, value)| (key.into_owned(), Value::String(value.into_owned()))).collect()
}

/// A request as one line, for `server::fuzzing`: its name, and a form or a JSON object.
pub(in super::super) fn request_of(line: &str) -> Option<Ask> {
    let (name, parameters) = line.split_once(' ').unwrap_or((line, ""));
    let parameters = match parameters.starts_with('{') {
        true => serde_json::from_str::<Map<String, Value>>(parameters).unwrap_or_default().into_iter().collect(),
        false => of_form(parameters.as_bytes()),
    };
    ask(act_of(name)?, &parameters)
}

/// The request that parameters make; `None` when one is missing or impossible.
fn ask(act: Act, parameters: &Parameters) -> Option<Ask> {
    let word = |name: &str| parameters.get(name).and_then(Value::as_str).map(str::to_owned);
    let room = || word("room").filter(|room| valid_id(room) == Some(room));
    let id = || word("client_id");
    let data = || match parameters.get("data") {
        None => Data::Missing,
        Some(data) => description(data).map_or(Data::Malformed, Data::Description),
    };
    Some(match act {
        Act::Join => Ask::Join { room: room()?, data: data() },
        Act::Offer => Ask::Offer { id: id()?, data: data() },
        Act::GetAnswer => Ask::GetAnswer { id: id()? },
        Act::Answer => Ask::Answer { id: id()?, data: data() },
        // Always well: whoever leaves has nothing to do with our complaints.
        Act::Leave => Ask::Leave { id: id().unwrap_or_default(), room: room().unwrap_or_default() },
    })
}

/// The bodies, with their keys in the order of the original's documentation.
#[derive(Serialize)]
struct First {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Servers")]
    servers: Vec<IceServer>,
}

#[derive(Serialize)]
struct Second {
    #[serde(rename = "ID")]
    id: String,
    data: SessionDescription,
}

#[derive(Serialize)]
struct Answer {
    data: SessionDescription,
}

#[derive(Serialize)]
struct Again {
    again: &'static str,
}

#[derive(Serialize)]
struct Taken {}

fn written(reply: Reply, shared: &Shared) -> Response {
    match reply {
        Reply::First { id } => json(First { id, servers: shared.rtc_config.ice_servers() }),
        Reply::Second { id, offer } => json(Second { id, data: offer }),
        Reply::Answer(data) => json(Answer { data }),
        Reply::Again => json(Again { again: "again" }),
        Reply::Taken => json(Taken {}),
        Reply::Left => ([(CACHE_CONTROL, "no-store")], "").into_response(),
        Reply::RoomFull => json(ROOM_FULL),
        Reply::InvalidState => json(INVALID_STATE),
    }
}

fn json(body: impl Serialize) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
