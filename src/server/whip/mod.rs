//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): publish into a room and watch a participant, over HTTP.
//!
//! A POST of an offer opens a session and is answered completely; the session's URL takes PATCH for candidates and ICE
//! restarts and DELETE for its end. This is the HTTP side; [`super::relay`] does the rest.

mod access;
mod answers;
mod fuzzing;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use serde::Deserialize;

use self::answers::Refusal;
use super::Shared;
use super::relay::{Condition, ID_PREFIX, Role, Wish};
use crate::signaling::limits::{valid_id, valid_room};
use crate::signaling::sdpfrag::{self, SdpFragment};
use crate::terms::ParticipantId;

pub use access::{BadToken, WhipToken};
pub(super) use answers::ice_links;
pub(super) use fuzzing::fuzz_request;

/// The media type of offers and answers.
const SDP: &str = "application/sdp";
/// The largest body that is read: descriptions and fragments stay far below it.
const MAX_BODY: usize = 256 * 1024;

/// `/whip/{room}` and `/whep/{room}`.
pub(super) fn endpoint(role: Role) -> MethodRouter<Shared> {
    any(
        move |State(shared): State<Shared>, Path(room): Path<String>, query: Query<WhoQuery>, request: Request| async move {
            let allowed = match access::origin(&shared, request.headers()) {
                Ok(allowed) => allowed,
                Err(refusal) => return refusal.into_response(),
            };
            let answer = enter(&shared, role, &room, query.0, request).await;
            access::share(answer.unwrap_or_else(Refusal::into_response), allowed)
        },
    )
}

/// `/whip/{room}/{session}` and `/whep/{room}/{session}`.
pub(super) fn session(role: Role) -> MethodRouter<Shared> {
    any(move |State(shared): State<Shared>, Path((room, id)): Path<(String, String)>, request: Request| async move {
        let allowed = match access::origin(&shared, request.headers()) {
            Ok(allowed) => allowed,
            Err(refusal) => return refusal.into_response(),
        };
        let answer = change(&shared, role, &room, &id, request).await;
        access::share(answer.unwrap_or_else(Refusal::into_response), allowed)
    })
}

/// What a client may add to the endpoint's URL.
#[derive(Debug, Deserialize)]
struct WhoQuery {
    /// Whom to watch, or as whom to publish.
    participant: Option<String>,
}

async fn enter(
    shared: &Shared,
    role: Role,
    room: &str,
    query: WhoQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    match parts.method {
        Method::OPTIONS => return Ok(answers::options("POST, OPTIONS")),
        Method::POST => {}
        _ => return Err(Refusal::Method("POST, OPTIONS")),
    }
    access::authorize(shared, &parts.headers)?;
    let room = valid_room(room).ok_or(Refusal::Bad("invalid room name"))?.to_owned();
    let participant = match query.participant {
        Some(id) => Some(participant(role, &id).ok_or(Refusal::Bad("invalid participant"))?),
        None => None,
    };
    let offer = text(&parts.headers, SDP, body).await?;
    if shared.closing.is_cancelled() {
        return Err(Refusal::Closing);
    }
    let opened = shared.relays.open(Wish { role, room: room.clone(), offer, participant }).await?;
    Ok(answers::created(role, &room, opened, &shared.ice_links))
}

async fn change(shared: &Shared, role: Role, room: &str, id: &str, request: Request) -> Result<Response, Refusal> {
    const METHODS: &str = "PATCH, DELETE, OPTIONS";
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        return Ok(answers::options(METHODS));
    }
    if ![Method::PATCH, Method::DELETE].contains(&parts.method) {
        return Err(Refusal::Method(METHODS));
    }
    access::authorize(shared, &parts.headers)?;
    let session = shared.relays.find(role, room, id).await.ok_or(Refusal::NoSession)?;
    if parts.method == Method::DELETE {
        session.close().await?;
        return Ok(StatusCode::OK.into_response());
    }
    let fragment = text(&parts.headers, sdpfrag::CONTENT_TYPE, body).await?;
    let fragment = SdpFragment::parse(&fragment).map_err(|error| Refusal::BadFragment(error.to_string()))?;
    let condition = condition(&parts.headers).ok_or(Refusal::ConditionMissing)?;
    Ok(answers::patched(session.patch(condition, fragment).await?))
}

/// Whom to watch, or the id of a publisher of this name.
fn participant(role: Role, name: &str) -> Option<ParticipantId> {
    let id = match role {
        Role::Watch => name.to_owned(),
        Role::Publish => format!("{ID_PREFIX}{}", name.trim()),
    };
    valid_id(&id).map(ParticipantId::new)
}

/// The body, if it is what the header says it must be.
async fn text(headers: &HeaderMap, expected: &'static str, body: axum::body::Body) -> Result<String, Refusal> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(expected) {
        return Err(Refusal::MediaType(expected));
    }
    let bytes: Bytes = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| Refusal::TooLarge)?;
    String::from_utf8(bytes.into()).map_err(|_| Refusal::Bad("the body is not UTF-8"))
}

/// `If-Match` (RFC 9110, section 13.1.1); weak tags never match.
fn condition(headers: &HeaderMap) -> Option<Condition> {
    let mut tags = Vec::new();
    let mut lines = headers.get_all(IF_MATCH).iter().peekable();
    lines.peek()?;
    for item in lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')) {
        match item.trim() {
            "*" => return Some(Condition::Any),
            item => tags.extend(item.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).map(str::to_owned)),
        }
    }
    Some(Condition::OneOf(tags))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_condition_is_any_or_one_of_the_tags() {
        let read = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_MATCH, HeaderValue::from_str(line).unwrap());
            }
            condition(&headers)
        };
        let tags = |tags: &[&str]| Some(Condition::OneOf(tags.iter().map(|&tag| tag.to_owned()).collect()));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["*"]), Some(Condition::Any));
        assert_eq!(read(&["\"a\""]), tags(&["a"]));
        assert_eq!(read(&["\"a\", \"b\"", "\"c\""]), tags(&["a", "b", "c"]));
        assert_eq!(read(&["W/\"a\", b"]), tags(&[]));
    }
}
