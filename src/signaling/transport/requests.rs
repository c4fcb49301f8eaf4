//! Drives a codec that speaks in HTTP requests to URLs that it learns as it goes: one request at a time, in order.

use std::collections::VecDeque;
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::whep::wire::{Request, Response};
use super::super::{Command, Event, SignalingError};
use super::dial_error::install_crypto;
use super::websocket::{hand_over, next_command, now};

/// A longer reply is cut off, and then makes no sense to anybody.
const LARGEST: usize = 1 << 20;
/// How long connecting may take, TLS included.
const DIAL: Duration = Duration::from_secs(10);
/// How long a reply may take: a server may look for media before it answers an offer.
const REPLY: Duration = Duration::from_secs(30);
const REDIRECTS: usize = 5;

/// A client's side of a protocol that speaks in requests. It never waits, never fails on input, and holds no socket and
/// no clock.
pub(crate) trait RequestCodec: Send {
    /// The session begins.
    fn start(&mut self, now: std::time::Instant);
    /// The last request has its reply, or has failed.
    fn replied(&mut self, reply: Result<Response, SignalingError>, now: std::time::Instant);
    /// The user of the session wants something.
    fn command(&mut self, command: Command, now: std::time::Instant);
    /// The time of [`RequestCodec::wake_at`] has come; calling it too early is harmless.
    fn wake(&mut self, now: std::time::Instant);
    /// When to call [`RequestCodec::wake`] if nothing else happens before.
    fn wake_at(&self) -> Option<std::time::Instant>;
    /// The next thing to do; called until it gives `None`. No request comes before the last one has its reply.
    fn poll(&mut self) -> Option<Output>;
}

/// What the transport has to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Tell the user of the session.
    Event(Event),
    /// Make a request.
    Request(Request),
    /// We have left.
    Ended,
    /// It cannot work.
    Failed(SignalingError),
}

type Reply = Pin<Box<dyn Future<Output = Result<Response, SignalingError>> + Send>>;

/// Runs until the codec says that it is over.
pub(crate) async fn run(
    mut codec: impl RequestCodec,
    events: mpsc::Sender<Event>,
    mut commands: mpsc::Receiver<Command>,
    cancel: CancellationToken,
) -> Result<(), SignalingError> {
    install_crypto();
    let client = Client::builder().connect_timeout(DIAL).timeout(REPLY).redirect(Policy::limited(REDIRECTS)).no_proxy();
    let client = client.build().map_err(|error| SignalingError::Driver { reason: error.to_string() })?;
    let mut pending = VecDeque::new();
    let mut in_flight: Option<Reply> = None;
    let mut leaving = false;
    codec.start(now());
    loop {
        while let Some(output) = codec.poll() {
            match output {
                Output::Event(event) => pending.push_back(event),
                Output::Request(request) => in_flight = Some(Box::pin(send(client.clone(), request))),
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
                codec.replied(reply, now());
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

async fn send(client: Client, request: Request) -> Result<Response, SignalingError> {
    let Request { method, url, headers, body } = request;
    let host = host(&url);
    let exchange = async {
        let mut response = client.request(method, url).headers(headers).body(body).send().await?;
        let (status, url, headers) = (response.status().as_u16(), response.url().clone(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            let room = LARGEST - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if body.len() == LARGEST {
                break;
            }
        }
        Ok(Response { status, url, headers, body: String::from_utf8_lossy(&body).into_owned() })
    };
    exchange.await.map_err(|error: reqwest::Error| failed(host, &error))
}

/// `host:port`, as people write it.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

/// What is at fault is at the end of the chain; the beginning repeats the URL.
fn failed(host: String, error: &reqwest::Error) -> SignalingError {
    if error.is_timeout() {
        return SignalingError::Unreachable { host, reason: "no answer in time".to_owned() };
    }
    let (mut tls, mut reason, mut cause) = (false, error.to_string(), error.source());
    while let Some(deeper) = cause {
        // An I/O error carries it, and does not name it as its source.
        let inner = deeper.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        tls |= deeper.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>());
        reason = deeper.to_string();
        cause = deeper.source();
    }
    if tls { SignalingError::Tls { host, reason } } else { SignalingError::Unreachable { host, reason } }
}
