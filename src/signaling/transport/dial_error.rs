//! Whom to dial, and what it means when that fails.

use std::sync::{Arc, Once};

use tokio_tungstenite::Connector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::ORIGIN;
use tokio_tungstenite::tungstenite::{self, Error};
use url::Url;

use super::super::{RoomUrl, SignalingError};
use super::any_certificate;

/// A WebSocket's address and the page we pretend to be.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    url: Url,
    host: String,
    origin: String,
    any_certificate: bool,
}

impl Dial {
    pub(crate) fn new(room: &RoomUrl, origin: Option<&str>) -> Self {
        let url = room.dial().clone();
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let same_host = format!("{}://{host}", if url.scheme() == "wss" { "https" } else { "http" });
        let origin = origin.or(room.key("origin")).map_or(same_host, str::to_owned);
        Self { url, host, origin, any_certificate: room.accepts_any_certificate() }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "wss"
    }

    /// Where to connect to.
    pub(crate) fn address(&self) -> (String, u16) {
        let port = self.url.port_or_known_default().unwrap_or_default();
        // A name, or an IPv6 address without its brackets.
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        (host.to_owned(), port)
    }

    /// `host:port`, as people write it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The address, for what a codec adds to it.
    pub(crate) fn url_mut(&mut self) -> &mut Url {
        &mut self.url
    }

    /// How TLS is spoken; `None` leaves it to the default, which trusts whom this machine trusts.
    pub(crate) fn connector(&self) -> Result<Option<Connector>, SignalingError> {
        if !self.any_certificate {
            return Ok(None);
        }
        Ok(Some(Connector::Rustls(Arc::new(any_certificate::client_config(&self.host)?))))
    }

    pub(crate) fn request(&self) -> Result<Request, SignalingError> {
        install_crypto();
        let unreachable = |reason: String| SignalingError::Unreachable { host: self.host.clone(), reason };
        let mut request = self.url.as_str().into_client_request().map_err(|error| unreachable(error.to_string()))?;
        let origin = HeaderValue::from_str(&self.origin)
            .map_err(|_| unreachable(format!("\"{}\" cannot be sent as an origin", self.origin)))?;
        request.headers_mut().insert(ORIGIN, origin);
        Ok(request)
    }
}

/// rustls needs to be told once per process which cryptography it uses.
pub(crate) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("another part has chosen the cryptography of TLS before");
        }
    });
}

/// What a failed dial means; `status_line` is the server's first line, where it could be read.
pub(crate) fn dial_error(dial: &Dial, status_line: Option<&str>, error: Error) -> SignalingError {
    let host = dial.host.clone();
    match error {
        Error::Http(response) if is_full(&response, status_line) => {
            SignalingError::Full { host, reason: "HTTP 400 Space Full".to_owned() }
        }
        Error::Http(response) if response.status() == tungstenite::http::StatusCode::FORBIDDEN => {
            SignalingError::OriginRefused { host, origin: dial.origin.clone() }
        }
        Error::Http(response) => {
            let mut shown = dial.url.clone();
            shown.set_query(None);
            SignalingError::NotAWebSocket { url: shown.to_string(), status: response.status().as_u16() }
        }
        Error::Tls(error) => SignalingError::Tls { host, reason: error.to_string() },
        // tokio-rustls wraps what TLS says into an I/O error.
        Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            SignalingError::Tls { host, reason: error.to_string() }
        }
        Error::Io(error) => SignalingError::Unreachable { host, reason: error.to_string() },
        other => SignalingError::NoAnswer { host, reason: other.to_string() },
    }
}

/// Whether an answer is the "Space Full" of a notify server. It is told from other faults by the reason phrase; inside
/// TLS, which hides that from us, by its empty body.
fn is_full(response: &tungstenite::http::Response<Option<Vec<u8>>>, status_line: Option<&str>) -> bool {
    response.status() == tungstenite::http::StatusCode::BAD_REQUEST
        && match status_line {
            Some(line) => line.contains("Space Full"),
            None => response.body().as_deref().unwrap_or_default().is_empty(),
        }
}
