//! The requests of WHIP and WHEP clients: what `server::fuzzing` calls for them.
//!
//! First line: the room, the participant and the session's id, with spaces in between; every other line is a header.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::super::relay::{Condition, Role};
use super::access::WhipToken;
use super::answers::escaped;
use super::{condition, participant};
use crate::signaling::limits::{valid_id, valid_room};

const TOKEN: &str = "s3cret";

pub(in super::super) fn fuzz_request(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let mut words = lines.next().unwrap_or_default().split(' ');
    let room = words.next().unwrap_or_default();
    let segment = escaped(room);
    assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{segment}");
    assert!(HeaderValue::from_str(&format!("/whip/{segment}/id")).is_ok());
    assert!(valid_room(room).is_none_or(|room| !room.contains(char::is_control)));
    for role in [Role::Publish, Role::Watch] {
        let id = participant(role, words.clone().next().unwrap_or_default());
        assert!(id.is_none_or(|id| valid_id(id.as_str()) == Some(id.as_str())));
    }
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    if let Some(Condition::OneOf(tags)) = condition(&headers) {
        assert!(tags.iter().all(|tag| !tag.contains(',')), "{tags:?}");
    }
    let Ok(token) = TOKEN.parse::<WhipToken>() else { unreachable!("it is a token") };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let has_it = given
        .and_then(|given| given.split_once(' '))
        .is_some_and(|(scheme, word)| scheme.eq_ignore_ascii_case("bearer") && word.trim() == TOKEN);
    assert_eq!(token.admits(&headers).is_ok(), has_it, "{given:?}");
}
