//! What WHEP (draft-ietf-wish-whep) and WHIP (RFC 9725) put into HTTP headers. Pure.

use std::time::Duration;

use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, LINK, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Url};

use super::super::sdpfrag;
use super::super::transport::http::{Request, Response};
use crate::terms::IceServer;

/// The media type of offers and answers.
const SDP: &str = "application/sdp";
/// How long a reply may take: a server may look for media before it answers an offer.
const REPLY: Duration = Duration::from_secs(30);
/// A server that names a longer pause is not believed.
const LONGEST_PAUSE: u64 = 60;

impl Request {
    /// A request with the bearer token, which is never shown.
    pub(super) fn new(method: Method, url: &Url, token: Option<&str>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(Ok(mut bearer)) = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))) {
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Self { method, url: url.clone(), headers, body: String::new(), patience: REPLY }
    }

    /// With an offer.
    pub(super) fn offer(mut self, sdp: String) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
        self.body = sdp;
        self
    }

    /// With a fragment, for the ICE session of a tag as it came, or `*`.
    pub(super) fn fragment(mut self, fragment: String, tag: &HeaderValue) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(sdpfrag::CONTENT_TYPE));
        self.headers.insert(IF_MATCH, tag.clone());
        self.body = fragment;
        self
    }
}

impl Response {
    /// The media type without its parameters.
    fn content_type(&self) -> &str {
        let value = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    /// Whether the body is a session description.
    pub(in super::super) fn has_description(&self) -> bool {
        self.content_type().eq_ignore_ascii_case(SDP)
    }

    /// The session's URL.
    pub(super) fn session(&self) -> Option<Url> {
        let location = self.headers.get(LOCATION)?.to_str().ok()?;
        self.url.join(location).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
    }

    pub(super) fn tag(&self) -> Option<HeaderValue> {
        self.headers.get(ETAG).cloned()
    }

    /// `Retry-After` in seconds.
    pub(in super::super) fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(LONGEST_PAUSE)))
    }

    /// The ICE servers of the `Link` headers (RFC 9725, section 4.6).
    pub(super) fn ice_servers(&self) -> Vec<IceServer> {
        let lines = self.headers.get_all(LINK).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(split_links).filter_map(ice_server).collect()
    }

    /// The server's words, if they are short enough to be some.
    pub(in super::super) fn words(&self) -> String {
        let line = self.body.lines().next().unwrap_or_default().trim();
        let words: String = line.chars().filter(|character| !character.is_control()).take(200).collect();
        if words.is_empty() { format!("HTTP {}", self.status) } else { words }
    }
}

/// Separates links at commas that are neither in a URL nor in quotes.
fn split_links(line: &str) -> Vec<&str> {
    let (mut links, mut start, mut in_url, mut quoted, mut escaped) = (Vec::new(), 0, false, false, false);
    for (at, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !in_url => quoted = !quoted,
            '<' if !quoted => in_url = true,
            '>' if !quoted => in_url = false,
            ',' if !quoted && !in_url => {
                links.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    links.push(&line[start..]);
    links
}

fn ice_server(link: &str) -> Option<IceServer> {
    let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let (mut is_ice_server, mut username, mut credential) = (false, None, None);
    for parameter in split_parameters(parameters) {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = unquoted(value.trim());
        match name.trim().to_ascii_lowercase().as_str() {
            "rel" => is_ice_server = value.split(' ').any(|relation| relation == "ice-server"),
            "username" => username = Some(value),
            "credential" => credential = Some(value),
            _ => {}
        }
    }
    is_ice_server.then(|| IceServer { urls: vec![url.to_owned()], username, credential })
}

fn split_parameters(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character: char| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        character == ';' && !quoted
    })
    .collect()
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(headers: &[(&'static str, &str)]) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Response { status: 201, url: "https://h/a/whep?x=1".parse().unwrap(), headers: map, body: String::new() }
    }

    #[test]
    fn the_sessions_url_may_be_relative() {
        for (location, expected) in [
            ("/whep/r/1", Some("https://h/whep/r/1")),
            ("1", Some("https://h/a/1")),
            ("http://other/1", Some("http://other/1")),
            ("ftp://other/1", None),
        ] {
            let session = response(&[("location", location)]).session();
            assert_eq!(session.as_ref().map(Url::as_str), expected, "{location}");
        }
        assert_eq!(response(&[]).session(), None);
    }

    #[test]
    fn ice_servers_are_read_from_links() {
        let turn = "<turn:t?transport=udp>; rel=\"ice-server\"; username=\"a;b\\\"c\"; credential=\"x,y\"; credential-type=\"password\"";
        let both = format!("<stun:s>; rel=\"ice-server\", {turn}");
        let stun = IceServer { urls: vec!["stun:s".into()], username: None, credential: None };
        let turn = IceServer {
            urls: vec!["turn:t?transport=udp".into()],
            username: Some("a;b\"c".into()),
            credential: Some("x,y".into()),
        };
        assert_eq!(response(&[("link", &both)]).ice_servers(), [stun.clone(), turn]);
        assert_eq!(response(&[("link", "<stun:s>;rel=ice-server"), ("link", "<x>; rel=next")]).ice_servers(), [stun]);
        for broken in ["", "<", "<stun:s", ",,;\"", "stun:s; rel=\"ice-server\"", "<a>; rel=\"\\"] {
            assert_eq!(response(&[("link", broken)]).ice_servers(), [], "{broken}");
        }
    }

    #[test]
    fn the_token_is_sent_and_not_shown() {
        let request = Request::new(Method::POST, &"http://h/".parse().unwrap(), Some("s3cret"));
        assert_eq!(request.headers[AUTHORIZATION], "Bearer s3cret");
        assert!(!format!("{request:?}").contains("s3cret"));
    }

    #[test]
    fn a_pause_has_a_limit() {
        for (value, expected) in [("5", Some(5)), ("86400", Some(60)), ("soon", None), ("-1", None)] {
            assert_eq!(response(&[("retry-after", value)]).retry_after(), expected.map(Duration::from_secs), "{value}");
        }
    }
}
