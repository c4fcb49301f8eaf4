//! Opening the sockets a server listens on, and serving a router on them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::config::ListenAddress;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port or the socket is in use.
    #[error("cannot listen on {address}: it is in use; end the other server, or choose another with --listen")]
    InUse {
        /// What was asked for.
        address: ListenAddress,
    },
    /// Anything else that the system says.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Refused {
        /// What was asked for.
        address: ListenAddress,
        /// What the system says.
        source: io::Error,
    },
    /// No directory for what bridges write.
    #[error("cannot make a private directory for bridges: {0}; TMPDIR names where it goes")]
    Directory(io::Error),
    /// No network for WHIP and WHEP.
    #[error(transparent)]
    Network(#[from] crate::peer::NetworkError),
}

/// Open sockets.
pub(crate) struct Listening {
    /// An address on which bridges of this machine reach us.
    pub(crate) addr: SocketAddr,
    tcp: TcpListener,
    unix: Option<(UnixListener, PathBuf)>,
}

/// Opens what an address asks for. A Unix socket gets a loopback port beside it, for our own bridges.
pub(crate) async fn listen(address: &ListenAddress) -> Result<Listening, ListenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address: address.clone() },
        _ => ListenError::Refused { address: address.clone(), source },
    };
    let (tcp, unix) = match address {
        ListenAddress::Tcp { host, port } if host.is_empty() => {
            let all = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).await {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).await
                }
                bound => bound,
            };
            (all.map_err(failed)?, None)
        }
        ListenAddress::Tcp { host, port } => (TcpListener::bind((host.as_str(), *port)).await.map_err(failed)?, None),
        ListenAddress::Unix(path) => {
            let unix = listen_unix(path).await.map_err(failed)?;
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
            (tcp, Some((unix, path.clone())))
        }
    };
    let addr = tcp.local_addr().map_err(failed)?;
    Ok(Listening { addr, tcp, unix })
}

/// A socket file that a dead server left behind is replaced, a live one is not.
async fn listen_unix(path: &PathBuf) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path).await {
                Err(dead) if dead.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(error),
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

impl Listening {
    /// Where a browser on this machine finds us.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", reachable(self.addr))
    }

    /// Serves a router on every socket until told to stop.
    pub(crate) fn serve(self, router: &Router, stop: &CancellationToken) -> JoinSet<()> {
        let mut listeners = JoinSet::new();
        // Signaling and live media are small writes that must not wait for each other.
        let tcp = self.tcp.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY cannot be set");
            }
        });
        let service = router.clone().into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(tcp, service).with_graceful_shutdown(stop.clone().cancelled_owned());
        listeners.spawn(async move { report(serving.await) });
        if let Some((unix, path)) = self.unix {
            let serving = axum::serve(unix, router.clone()).with_graceful_shutdown(stop.clone().cancelled_owned());
            listeners.spawn(async move {
                report(serving.await);
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::debug!(%error, path = %path.display(), "the socket file stays behind");
                }
            });
        }
        listeners
    }
}

fn report(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a listener failed");
    }
}

/// An address that this machine can connect to: "all addresses" is none.
pub(crate) fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // Listens on IPv4 too, which more programs try first.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
