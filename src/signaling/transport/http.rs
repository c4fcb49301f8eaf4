//! Drives a codec that speaks in HTTP requests, one at a time, some of which the server answers late (long polling).

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use reqwest::header::{CONTENT_TYPE, ORIGIN};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::simple_voice::wire::{Request, Response};
use super::super::{Command, Event, RoomUrl, SignalingError};
use super::dial_error::install_crypto;
use super::websocket::{hand_over, next_command, now};

/// A longer reply is cut off, and then makes no sense to anybody.
const LARGEST: usize = 1 << 20;
/// How long connecting may take, TLS included.
const DIAL: Duration = Duration::from_secs(10);

/// A client's side of a protocol that speaks in requests. It never waits, never fails on input, and holds no socket and no
/// clock.
pub(crate) trait HttpCodec: Send {
    /// The session begins.
    fn start(&mut self, now: std::time::Instant);
    /// The request that was made last has its reply, or has failed.
    fn response(&mut self, reply: Result<Response, SignalingError>, now: std::time::Instant);
    /// The user of the session wants something.
    fn command(&mut self, command: Command, now: std::time::Instant);
    /// The time of [`HttpCodec::wake_at`] has come; calling it too early is harmless.
    fn wake(&mut self, now: std::time::Instant);
    /// When to call [`HttpCodec::wake`] if nothing else happens before.
    fn wake_at(&self) -> Option<std::time::Instant>;
    /// The next thing to do; called until it gives `None`.
    fn poll(&mut self) -> Option<Output>;
}

/// What the transport has to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Tell the user of the session.
    Event(Event),
    /// Make a request. One that is still on its way is given up.
    Request(Request),
    /// We have left.
    Ended,
    /// It cannot work.
    Failed(SignalingError),
}

/// Where the requests go.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    url: Url,
    host: String,
    origin: Option<String>,
}

impl Base {
    pub(crate) fn new(room: &RoomUrl, origin: Option<&str>) -> Self {
        let url = room.dial().clone();
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let origin = origin.or(room.key("origin")).map(str::to_owned);
        Self { url, host, origin }
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        // Cannot fail: a URL with a host has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(path);
        }
        url
    }
}

type Reply = Pin<Box<dyn Future<Output = Result<Response, SignalingError>> + Send>>;

/// Runs until the codec says that it is over.
pub(crate) async fn run(
    base: Base,
    mut codec: impl HttpCodec,
    events: mpsc::Sender<Event>,
    mut commands: mpsc::Receiver<Command>,
    cancel: CancellationToken,
) -> Result<(), SignalingError> {
    install_crypto();
    // The other transports use no proxy either, and a redirected form would lose its parameters.
    let client = Client::builder().connect_timeout(DIAL).redirect(Policy::none()).no_proxy().build();
    let client = client.map_err(|error| SignalingError::Driver { reason: error.to_string() })?;
    let mut pending = VecDeque::new();
    let mut in_flight: Option<Reply> = None;
    let mut leaving = false;
    codec.start(now());
    loop {
        while let Some(output) = codec.poll() {
            match output {
                Output::Event(event) => pending.push_back(event),
                Output::Request(request) => in_flight = Some(Box::pin(send(client.clone(), base.clone(), request))),
                Output::Ended => return Ok(()),
                Output::Failed(error) => return Err(error),
            }
        }
        let wake_at = codec.wake_at().map(Instant::from_std);
        tokio::select! {
            () = hand_over(&events, &mut pending) => {}
            command = next_command(&mut commands, &events, &cancel), if !leaving => {
                leaving = command == Command::Leave;
                codec.command(command, now());
            }
            reply = arrived(&mut in_flight) => {
                in_flight = None;
                codec.response(reply, now());
            }
            () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => codec.wake(now()),
        }
    }
}

async fn arrived(in_flight: &mut Option<Reply>) -> Result<Response, SignalingError> {
    match in_flight {
        Some(reply) => reply.await,
        None => std::future::pending().await,
    }
}

async fn send(client: Client, base: Base, request: Request) -> Result<Response, SignalingError> {
    let Request { act, form } = request;
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
    let mut post = client.post(base.at(act.path())).timeout(act.patience()).body(form);
    post = post.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(origin) = &base.origin {
        post = post.header(ORIGIN, origin);
    }
    read(post).await.map_err(|error| failed(&base, &error))
}

async fn read(post: reqwest::RequestBuilder) -> Result<Response, reqwest::Error> {
    let mut response = post.send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = LARGEST - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() == LARGEST {
            break;
        }
    }
    Ok(Response { status: response.status().as_u16(), body: String::from_utf8_lossy(&body).into_owned() })
}

/// What is at fault is at the end of the chain; the beginning repeats the URL.
fn failed(base: &Base, error: &reqwest::Error) -> SignalingError {
    let (mut cause, mut tls): (&dyn std::error::Error, bool) = (error, false);
    while let Some(deeper) = cause.source() {
        cause = deeper;
        // An I/O error carries it, and does not name it as its source.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        tls |= cause.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>());
    }
    let (host, reason) = (base.host.clone(), cause.to_string());
    match tls {
        true => SignalingError::Tls { host, reason },
        false if error.is_timeout() => SignalingError::Unreachable { host, reason: "no answer in time".to_owned() },
        false => SignalingError::Unreachable { host, reason },
    }
}
