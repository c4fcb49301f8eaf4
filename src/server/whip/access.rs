//! Who may use WHIP and WHEP: whoever has the bearer token; without one, the pages that may use the rooms too.

use std::fmt;
use std::str::FromStr;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, HOST, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use super::super::Shared;
use super::answers::Refusal;

/// The bearer token that WHIP and WHEP clients must have. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WhipToken(String);

/// Why a text is no token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has 1 or more visible ASCII characters and no spaces")]
pub struct BadToken;

impl FromStr for WhipToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let fine = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fine.then(|| Self(text.to_owned())).ok_or(BadToken)
    }
}

impl fmt::Debug for WhipToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WhipToken(..)")
    }
}

impl WhipToken {
    /// Compares in a time that depends only on the length of what was given: nobody finds the token letter by letter.
    fn is(&self, given: &str) -> bool {
        let token = self.0.as_bytes();
        let mut difference = usize::from(token.len() != given.len());
        for (byte, expected) in given.bytes().zip(token.iter().cycle()) {
            difference |= usize::from(byte ^ expected);
        }
        std::hint::black_box(difference) == 0
    }

    /// Whether a request has it.
    pub(super) fn admits(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given =
            given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match given {
            None => Err(Refusal::Unauthorized("Bearer realm=\"roomcast\"")),
            Some((_, given)) if self.is(given.trim()) => Ok(()),
            Some(_) => Err(Refusal::Unauthorized("Bearer realm=\"roomcast\", error=\"invalid_token\"")),
        }
    }
}

/// Whether the request has the token, if one is needed (RFC 6750, section 2.1).
pub(super) fn authorize(shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    shared.whip_token.as_ref().map_or(Ok(()), |token| token.admits(headers))
}

/// The origin that may read the answer; none for programs. With a token any page may ask: the token is what counts.
pub(super) fn origin(shared: &Shared, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
    if shared.whip_token.is_some() {
        return Ok(Some(HeaderValue::from_static("*")));
    }
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    // What cannot be read is an origin all the same.
    if shared.origins.allows(Some(origin.to_str().unwrap_or("null")), host) {
        Ok(Some(origin.clone()))
    } else {
        Err(Refusal::Origin)
    }
}

/// Lets pages of an origin read an answer (CORS).
pub(super) fn share(mut response: Response, origin: Option<HeaderValue>) -> Response {
    let Some(origin) = origin else { return response };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let fixed = [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE, OPTIONS"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "Location, ETag, Link, Accept-Patch, Accept-Post, Retry-After"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token: WhipToken = "s3cret".parse().unwrap();
        for (given, expected) in
            [("s3cret", true), ("s3cre", false), ("s3crets3cret", false), ("", false), ("S3cret", false)]
        {
            assert_eq!(token.is(given), expected, "{given}");
        }
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        for text in ["", "a b", "a\n", "é"] {
            assert_eq!(text.parse::<WhipToken>(), Err(BadToken), "{text:?}");
        }
    }
}
