//! The two transports without their sockets: the same calls in the same order.

use std::time::Instant;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::super::codec::{ClientCodec, Next, Output};
use super::super::transport::http;
use super::super::{Command, SignalingError};
use super::play::{Driver, Said};

/// `transport::websocket`.
pub(super) struct Socket<C> {
    codec: C,
    connected: bool,
}

impl<C> Socket<C> {
    pub(super) fn new(codec: C) -> Self {
        Self { codec, connected: false }
    }
}

impl<C: ClientCodec> Driver for Socket<C> {
    fn connect(&mut self, now: Instant) {
        if !self.connected {
            if let Ok(mut url) = Url::parse("ws://h/ws") {
                self.codec.dialing(&mut url);
            }
            self.codec.opened(now);
            self.connected = true;
        }
    }

    fn text(&mut self, text: &str, now: Instant) {
        if self.connected {
            self.codec.receive(text, now);
        }
    }

    fn fail(&mut self, error: SignalingError, now: Instant) {
        self.codec.lost(error, now);
        // A transport reads this as the end.
        self.connected = false;
    }

    fn command(&mut self, command: Command, now: Instant) {
        self.codec.command(command, now);
    }

    fn wake(&mut self, now: Instant) {
        self.codec.wake(now);
    }

    fn wake_at(&self) -> Option<Instant> {
        self.codec.wake_at().filter(|_| self.connected)
    }

    fn poll(&mut self, now: Instant) -> Option<Said> {
        Some(match self.codec.poll(now)? {
            Output::Event(event) => Said::Event(event),
            Output::Frame(text) => Said::Sent(text.len()),
            Output::Disconnect(next) => {
                self.connected = false;
                let rest = self.codec.poll(now);
                assert!(rest.is_none(), "what comes after the end of a connection would go to the next one: {rest:?}");
                match next {
                    Next::Ended | Next::Failed(_) => Said::Over,
                    Next::Reconnect { delay, .. } => Said::Pause(delay),
                }
            }
        })
    }
}

/// `transport::http`.
pub(super) struct Requests<C> {
    codec: C,
    started: bool,
    waits: bool,
    over: bool,
}

impl<C> Requests<C> {
    pub(super) fn new(codec: C) -> Self {
        Self { codec, started: false, waits: false, over: false }
    }
}

impl<C: http::HttpCodec> Driver for Requests<C> {
    fn connect(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.started, true) {
            self.codec.start(now);
        }
    }

    fn text(&mut self, text: &str, now: Instant) {
        if let Some(reply) = response(text).filter(|_| std::mem::take(&mut self.waits)) {
            self.codec.replied(Ok(reply), now);
        }
    }

    fn fail(&mut self, error: SignalingError, now: Instant) {
        if std::mem::take(&mut self.waits) {
            self.codec.replied(Err(error), now);
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        self.codec.command(command, now);
    }

    fn wake(&mut self, now: Instant) {
        self.codec.wake(now);
    }

    fn wake_at(&self) -> Option<Instant> {
        self.codec.wake_at()
    }

    fn poll(&mut self, _now: Instant) -> Option<Said> {
        if self.over {
            return None;
        }
        Some(match self.codec.poll()? {
            http::Output::Event(event) => Said::Event(event),
            http::Output::Request(request) => {
                // One that was still on its way is given up.
                self.waits = true;
                assert!(matches!(request.url.scheme(), "http" | "https"), "a request to {}", request.url);
                Said::Sent(request.body.len())
            }
            http::Output::Ended | http::Output::Failed(_) => {
                self.over = true;
                Said::Over
            }
        })
    }
}

/// `STATUS BODY`, or `STATUS|NAME: VALUE|..||BODY`, where `\r\n` in the body is a line break.
fn response(text: &str) -> Option<http::Response> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (head, body) = match text.split_at(digits) {
        (status, rest) if rest.starts_with(' ') => (status, &rest[1..]),
        _ => text.split_once("||").unwrap_or((text, "")),
    };
    let mut parts = head.split('|');
    let status = parts.next().and_then(|status| status.trim().parse().ok()).unwrap_or(200);
    let mut headers = HeaderMap::new();
    for (name, value) in parts.filter_map(|part| part.split_once(':')) {
        let (name, value) = (HeaderName::from_bytes(name.trim().as_bytes()), HeaderValue::from_str(value.trim()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let url = Url::parse("https://h/whep/r").ok()?;
    Some(http::Response { status, url, headers, body: body.replace("\\r\\n", "\r\n") })
}
