//! Drives a codec that speaks in HTTP requests, one at a time, some of which the server answers late (long polling).

use std::collections::VecDeque;
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;

use reqwest::header::{HeaderMap, HeaderValue, ORIGIN};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::{Command, Event, RoomUrl, SignalingError};
use super::any_certificate;
use super::dial_error::install_crypto;
use super::user::{hand_over, next_command, now};

/// A longer reply is cut off, and then makes no sense to anybody.
const LARGEST: usize = 1 << 20;
/// How long connecting may take, TLS included.
const DIAL: Duration = Duration::from_secs(10);

/// A client's side of a protocol that speaks in requests. It never waits, never fails on input, and holds no socket and no
/// clock.
pub(crate) trait HttpCodec: Send {
    /// How many redirections are followed; beyond none, a redirection is the reply.
    const REDIRECTS: usize;

    /// The session begins.
    fn start(&mut self, now: std::time::Instant);
    /// The request that was made last has its reply, or has failed.
    fn replied(&mut self, reply: Result<Response, SignalingError>, now: std::time::Instant);
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

/// A request as it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// How long the whole reply may take.
    pub(crate) patience: Duration,
}

/// A reply as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Where it came from in the end, after redirections.
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Whom we trust, and the page we pretend to be.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    host: String,
    origin: Option<String>,
    any_certificate: bool,
}

impl Dial {
    pub(crate) fn new(room: &RoomUrl, origin: Option<&str>) -> Self {
        Self {
            host: host(room.dial()),
            origin: origin.or(room.key("origin")).map(str::to_owned),
            any_certificate: room.accepts_any_certificate(),
        }
    }

    fn client(&self, redirects: usize) -> Result<Client, SignalingError> {
        install_crypto();
        let redirect = if redirects == 0 { Policy::none() } else { Policy::limited(redirects) };
        // The other transports use no proxy either.
        let mut client = Client::builder().connect_timeout(DIAL).redirect(redirect).no_proxy();
        if self.any_certificate {
            client = client.tls_backend_preconfigured(any_certificate::client_config(&self.host)?);
        }
        if let Some(origin) = &self.origin {
            let origin = HeaderValue::from_str(origin).map_err(|_| SignalingError::Unreachable {
                host: self.host.clone(),
                reason: format!("\"{origin}\" cannot be sent as an origin"),
            })?;
            client = client.default_headers(HeaderMap::from_iter([(ORIGIN, origin)]));
        }
        client.build().map_err(|error| SignalingError::Driver { reason: error.to_string() })
    }
}

type Reply = Pin<Box<dyn Future<Output = Result<Response, SignalingError>> + Send>>;

/// Runs until the codec says that it is over.
pub(crate) async fn run<C: HttpCodec>(
    dial: Dial,
    mut codec: C,
    events: mpsc::Sender<Event>,
    mut commands: mpsc::Receiver<Command>,
    cancel: CancellationToken,
) -> Result<(), SignalingError> {
    let client = dial.client(C::REDIRECTS)?;
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
    let Request { method, url, headers, body, patience } = request;
    let host = host(&url);
    let exchange = async {
        let request = client.request(method, url).headers(headers).body(body).timeout(patience);
        let mut response = request.send().await?;
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
        tls |= is_tls(deeper);
        reason = deeper.to_string();
        cause = deeper.source();
    }
    if tls { SignalingError::Tls { host, reason } } else { SignalingError::Unreachable { host, reason } }
}

/// Whether TLS says it, perhaps inside I/O errors: those do not name what they carry as their source.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::process::Command;
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;

    /// Serves connections, as many as are said, under a certificate that it signed itself; replies with the origins it is told.
    fn self_signed(connections: usize) -> SocketAddr {
        let directory = tempfile::tempdir().unwrap();
        let (key, cert) = (directory.path().join("key.pem"), directory.path().join("cert.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=example.com"]);
        let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert).output().expect("apt-get install openssl");
        assert!(made.status.success(), "{made:?}");
        install_crypto();
        let (cert, key) = (CertificateDer::from_pem_file(cert).unwrap(), PrivateKeyDer::from_pem_file(key).unwrap());
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming().take(connections) {
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = BufReader::new(StreamOwned::new(tls, connection.unwrap()));
                // Who does not trust us says nothing.
                let head: Vec<String> =
                    stream.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let body: String = head.iter().filter_map(|line| line.strip_prefix("origin: ")).collect();
                let reply =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.get_mut().write_all(reply.as_bytes()).ok();
            }
        });
        address
    }

    async fn ask(room: &str) -> Result<String, SignalingError> {
        let room: RoomUrl = room.parse().unwrap();
        let (method, url, headers) = (Method::OPTIONS, room.dial().clone(), HeaderMap::new());
        let request = Request { method, url, headers, body: String::new(), patience: DIAL };
        Ok(send(Dial::new(&room, None).client(0)?, request).await?.body)
    }

    #[tokio::test]
    async fn insecure_takes_any_certificate_and_origin_is_sent_in_every_protocol_of_requests() {
        let address = self_signed(4);
        for room in [format!("simplevoice+https://{address}/sv?room=r"), format!("whep+https://{address}/cam?a=b")] {
            let refused = ask(&room).await;
            assert!(matches!(refused, Err(SignalingError::Tls { .. })), "{room}: {refused:?}");
            let said = ask(&format!("{room}&insecure=1&origin=https%3A%2F%2Fpage")).await;
            assert_eq!(said.unwrap(), "https://page", "{room}");
        }
    }
}
