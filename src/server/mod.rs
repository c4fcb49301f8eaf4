//! The embedded server: rooms, pages, and the bridges that it starts for who watches.
//!
//! [`serve`] runs it. Each protocol is a directory with the owner of its rooms and the service of one connection: `mesh`,
//! `gstreamer`, `notify`, `voice` and `gstrs`. `connection` is what all WebSockets have in common, `http` has the pages and the
//! API, and `gateway` supervises one bridge process per watched room. `whip` lets clients publish and watch
//! over HTTP; `relay` forwards their packets. The server decodes nothing.

mod config;
mod connection;
pub(crate) mod fuzzing;
mod gateway;
mod gstreamer;
mod gstrs;
mod http;
mod listen;
mod mesh;
mod notify;
mod origin;
mod relay;
mod room_info;
mod voice;
mod whip;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::peer::Network;

pub use config::{BadListenAddress, BadRtcConfig, Limits, ListenAddress, RtcConfig, ServerConfig, VoiceLimits};
pub use gateway::{
    BridgePlan, BridgeState, BridgeStatus, Busy, Gateway, GatewayConfig, GatewayError, LiveFiles, LiveMedia,
    OutputState, Viewing, rtp_output,
};
pub use listen::ListenError;
pub use origin::{AllowedOrigins, BadOrigin};
pub use whip::{BadToken, WhipToken};

/// How long open responses may take to end after everything else has ended.
const LAST_RESPONSES: Duration = Duration::from_secs(1);

/// What all requests share.
#[derive(Clone, Debug)]
struct Shared {
    rooms: mesh::rooms::Rooms,
    gstreamer: gstreamer::peers::Peers,
    calls: notify::calls::Calls,
    voice: voice::Voice,
    spaces: gstrs::spaces::Spaces,
    limits: Arc<Limits>,
    origins: Arc<AllowedOrigins>,
    rtc_config: RtcConfig,
    gateway: Option<Gateway>,
    relays: relay::Sessions,
    whip_token: Option<WhipToken>,
    /// The ICE servers as WHIP clients are told them.
    ice_links: Arc<[HeaderValue]>,
    /// One permit per WebSocket.
    connections: Arc<Semaphore>,
    /// WebSockets and media streams, which outlive their requests.
    streams: TaskTracker,
    closing: CancellationToken,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    shown: String,
    gateway: Option<Gateway>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// The address it listens on; for a `unix:` address, the one on loopback which its own bridges use.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where browsers on this machine find it, like `http://127.0.0.1:8080`.
    pub fn base_url(&self) -> &str {
        &self.shown
    }

    /// Its bridges, if it runs any.
    pub fn gateway(&self) -> Option<&Gateway> {
        self.gateway.as_ref()
    }

    /// Waits until it has ended, which it does when its token is cancelled: members are sent away with 1001, bridges have
    /// finished their files.
    pub async fn closed(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the server ended unexpectedly");
        }
    }
}

/// Starts a server and returns when it accepts connections.
///
/// # Errors
/// When it cannot listen, or cannot make the private directory of its bridges.
pub async fn serve(config: ServerConfig, cancel: CancellationToken) -> Result<Server, ListenError> {
    let listening = listen::listen(&config.listen).await?;
    let (rooms, room_owner) = mesh::rooms::Rooms::new(&config.limits);
    let (gstreamer, peer_owner) = gstreamer::peers::Peers::new(&config.limits);
    let (calls, call_owner) = notify::calls::Calls::new(&config.limits);
    let (voice, voice_owner) = voice::Voice::new(&config.limits);
    let (spaces, space_owner) = gstrs::spaces::Spaces::new(&config.limits);
    let mut tasks = JoinSet::new();
    let gateway = match config.bridges {
        Some(bridges) => {
            let (gateway, run) =
                Gateway::new(bridges, listening.addr, rooms.clone(), cancel.clone()).map_err(ListenError::Directory)?;
            tasks.spawn(run);
            Some(gateway)
        }
        None => None,
    };
    let ice_servers = config.rtc_config.ice_servers();
    let ice_links = whip::ice_links(&ice_servers).into();
    let addr = listen::reachable(listening.addr);
    // A server that only this machine reaches has its clients there.
    let network = Network::open(&config.relay_network, addr.ip().is_loopback())?;
    let relay_config = relay::RelayConfig { addr, ice_servers, network, max_sessions: config.limits.relays };
    let (relays, run_relays) = relay::Sessions::new(relay_config, cancel.clone());
    tasks.spawn(run_relays);
    let shared = Shared {
        rooms,
        gstreamer,
        calls,
        voice,
        spaces,
        relays,
        whip_token: config.whip_token,
        ice_links,
        connections: Arc::new(Semaphore::new(config.limits.connections)),
        limits: Arc::new(config.limits),
        origins: Arc::new(config.origins),
        rtc_config: config.rtc_config,
        gateway: gateway.clone(),
        streams: TaskTracker::new(),
        closing: cancel.clone(),
    };
    let (addr, shown) = (listening.addr, listening.base_url());
    let router = http::router(shared.clone());
    let mut owners = JoinSet::new();
    owners.spawn(room_owner);
    owners.spawn(peer_owner);
    owners.spawn(call_owner);
    owners.spawn(voice_owner);
    owners.spawn(space_owner);
    let task = tokio::spawn(async move {
        run(listening, router, shared, tasks, cancel).await;
        owners.shutdown().await;
    });
    Ok(Server { addr, shown, gateway, task })
}

/// Serves until the token is cancelled, then ends in order: streams, bridges, listeners.
async fn run(
    listening: listen::Listening,
    router: Router,
    shared: Shared,
    mut owners: JoinSet<()>,
    cancel: CancellationToken,
) {
    // The listeners outlive the farewell, so that /healthz can say that we are closing.
    let stop_listening = CancellationToken::new();
    let mut listeners = listening.serve(&router, &stop_listening);
    cancel.cancelled().await;
    shared.streams.close();
    if timeout(shared.limits.close + LAST_RESPONSES, shared.streams.wait()).await.is_err() {
        tracing::warn!("some streams did not end in time");
    }
    while let Some(ended) = owners.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "the supervision of bridges or relays ended unexpectedly");
        }
    }
    stop_listening.cancel();
    let last = async { while listeners.join_next().await.is_some() {} };
    if timeout(LAST_RESPONSES, last).await.is_err() {
        tracing::debug!("some responses did not end in time");
    }
}
