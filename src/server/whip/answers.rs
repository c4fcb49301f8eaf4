//! What WHIP and WHEP clients are answered: status codes and headers.

use std::fmt::Write as _;

use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, LINK, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::relay::{Opened, Patched, RelayError, Role};
use super::SDP;
use crate::signaling::sdpfrag;
use crate::terms::IceServer;

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// When to try again.
const LATER: &str = "5";

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    Bad(&'static str),
    BadFragment(String),
    Unauthorized(&'static str),
    Origin,
    NoSession,
    Method(&'static str),
    TooLarge,
    MediaType(&'static str),
    ConditionMissing,
    Closing,
    Relay(RelayError),
}

impl From<RelayError> for Refusal {
    fn from(error: RelayError) -> Self {
        Self::Relay(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Bad(reason) => said(StatusCode::BAD_REQUEST, reason),
            Self::BadFragment(reason) => {
                said(StatusCode::BAD_REQUEST, format!("the fragment cannot be used: {reason}"))
            }
            Self::Unauthorized(challenge) => {
                let answer = said(StatusCode::UNAUTHORIZED, "a bearer token is needed, and this is not it");
                with(answer, WWW_AUTHENTICATE, challenge)
            }
            Self::Origin => said(StatusCode::FORBIDDEN, "origin not allowed"),
            Self::NoSession => said(StatusCode::NOT_FOUND, "there is no such session"),
            Self::Method(allowed) => with(said(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"), ALLOW, allowed),
            Self::TooLarge => said(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            Self::MediaType(expected) => {
                let answer = said(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("send {expected}"));
                with(answer, if expected == SDP { ACCEPT_POST } else { ACCEPT_PATCH }, expected)
            }
            Self::ConditionMissing => said(StatusCode::PRECONDITION_REQUIRED, "If-Match is missing"),
            Self::Closing => later(StatusCode::SERVICE_UNAVAILABLE, RelayError::Closing),
            Self::Relay(error) => refused(error),
        }
    }
}

fn refused(error: RelayError) -> Response {
    match &error {
        RelayError::BadOffer(_) | RelayError::BadFragment(_) => said(StatusCode::BAD_REQUEST, error),
        RelayError::NothingInCommon(_) => said(StatusCode::NOT_ACCEPTABLE, error),
        RelayError::NameTaken(_) => said(StatusCode::CONFLICT, error),
        RelayError::NobodySends(_) => later(StatusCode::CONFLICT, error),
        RelayError::OtherIceSession => said(StatusCode::PRECONDITION_FAILED, error),
        RelayError::Ended => said(StatusCode::NOT_FOUND, error),
        RelayError::RoomRefuses(_) | RelayError::TooManySessions(_) | RelayError::Closing => {
            later(StatusCode::SERVICE_UNAVAILABLE, error)
        }
        RelayError::Broken(_) => {
            tracing::error!(%error, "a WHIP or WHEP client cannot be served");
            said(StatusCode::INTERNAL_SERVER_ERROR, error)
        }
    }
}

/// 201: the session stands.
pub(super) fn created(role: Role, room: &str, opened: Opened, ice_links: &[HeaderValue]) -> Response {
    let kind = match role {
        Role::Publish => "whip",
        Role::Watch => "whep",
    };
    let location = format!("/{kind}/{}/{}", escaped(room), opened.id);
    let answer = (StatusCode::CREATED, [(CONTENT_TYPE, SDP), (CACHE_CONTROL, "no-store")], opened.answer);
    let mut answer = with(answer.into_response(), LOCATION, &location);
    answer = with(answer, ETAG, &format!("\"{}\"", opened.etag));
    answer = with(answer, ACCEPT_PATCH, sdpfrag::CONTENT_TYPE);
    for link in ice_links {
        answer.headers_mut().append(LINK, link.clone());
    }
    answer
}

pub(super) fn patched(patched: Patched) -> Response {
    match patched {
        Patched::Trickled => StatusCode::NO_CONTENT.into_response(),
        Patched::Restarted { etag, fragment } => {
            let answer = ([(CONTENT_TYPE, sdpfrag::CONTENT_TYPE)], fragment.write()).into_response();
            with(answer, ETAG, &format!("\"{etag}\""))
        }
    }
}

pub(super) fn options(methods: &'static str) -> Response {
    let headers = [(ALLOW, methods), (ACCEPT_POST, SDP), (ACCEPT_PATCH, sdpfrag::CONTENT_TYPE)];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// A `Link` header per ICE server (RFC 9725, section 4.6).
pub(in super::super) fn ice_links(servers: &[IceServer]) -> Vec<HeaderValue> {
    let mut links = Vec::new();
    for server in servers {
        for url in server.urls.iter().filter(|url| !url.contains(['<', '>'])) {
            let mut link = format!("<{url}>; rel=\"ice-server\"");
            if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
                let (username, credential) = (quoted(username), quoted(credential));
                write!(link, "; username={username}; credential={credential}; credential-type=\"password\"").ok();
            }
            match HeaderValue::from_str(&link) {
                Ok(link) => links.push(link),
                Err(_) => tracing::warn!(url, "an ICE server cannot be told to WHIP clients"),
            }
        }
    }
    links
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A path segment (RFC 3986, section 3.3).
pub(super) fn escaped(segment: &str) -> String {
    segment.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").ok();
        }
        text
    })
}

fn said(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}

fn later(status: StatusCode, text: impl std::fmt::Display) -> Response {
    with(said(status, text), RETRY_AFTER, LATER)
}

fn with(mut response: Response, name: HeaderName, value: &str) -> Response {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(response.headers_mut().insert(name, value)),
        Err(_) => tracing::error!(%name, "a header cannot be sent"),
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_are_links() {
        let server = |url: &str, login: Option<&str>| IceServer {
            urls: vec![url.to_owned()],
            username: login.map(str::to_owned),
            credential: login.map(str::to_owned),
        };
        let servers =
            [server("stun:s:3478", None), server("turn:t?transport=udp", Some("a\"b")), server("stun:\n", None)];
        let links: Vec<_> = ice_links(&servers).iter().map(|link| link.to_str().unwrap().to_owned()).collect();
        assert_eq!(
            links,
            [
                "<stun:s:3478>; rel=\"ice-server\"",
                "<turn:t?transport=udp>; rel=\"ice-server\"; username=\"a\\\"b\"; credential=\"a\\\"b\"; \
                 credential-type=\"password\"",
            ]
        );
    }

    #[test]
    fn a_room_of_any_name_is_one_segment_of_the_location() {
        assert_eq!(escaped("r 1/é"), "r%201%2F%C3%A9");
    }
}
