//! The network of a process: the local addresses and ports that all its connections use, and how the world sees them.
//!
//! Opened once, before a room is joined, by the bridge and the test participant; each connection attaches to it. Without
//! fixed ports every connection opens sockets of its own.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::task::JoinSet;
use tracing::info;
use webrtc::runtime::{AsyncTcpListener, AsyncUdpSocket, Runtime, TokioRuntime};

use super::address_map::{AddressMap, Transport};
use super::ice;
use super::intake::PACKET_RATE;
use super::mux::{ConnectionId, Places, Port, SharedListener, SharedRuntime, SharedSocket, TcpPort};
use super::ports::{self, NetworkError, PortRange};

/// What a process's network is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Local addresses for media; chosen by the room's address when empty.
    pub addresses: Vec<IpAddr>,
    /// One UDP port for all connections, the first of these that is free. None: each has its own.
    pub udp_ports: Option<PortRange>,
    /// One TCP port for all connections whose network lets no UDP through. None: they cannot connect.
    pub tcp_ports: Option<PortRange>,
    /// The addresses by which the world reaches the local ones (1:1 NAT).
    pub public_ips: Vec<IpAddr>,
    /// Whether to leave connectivity checks to the other side (RFC 8445, section 2.5).
    pub ice_lite: bool,
    /// Packets a second that each connection takes; [`PACKET_RATE`] when `None`.
    pub packet_rate: Option<u32>,
}

/// Where connections send and receive. Clones are the same network.
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    addresses: Addresses,
    udp: Vec<Arc<Port>>,
    tcp: Vec<Arc<TcpPort>>,
    public_ips: Vec<IpAddr>,
    ice_lite: bool,
    packet_rate: u32,
    connections: AtomicU64,
    /// They end when the last connection and the last owner are gone.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
enum Addresses {
    Fixed(Vec<IpAddr>),
    /// Those that the machine has when a connection begins.
    Current {
        room_is_loopback: bool,
    },
}

/// How the shared ports are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortUsage {
    /// The shared UDP sockets.
    pub udp: Vec<SocketAddr>,
    /// The shared TCP listeners.
    pub tcp: Vec<SocketAddr>,
    /// Connections that have a place on them.
    pub connections: usize,
    /// Everything by which datagrams find a connection: names, remote addresses, open requests.
    pub routes: usize,
    /// Datagrams that belonged to nobody.
    pub strays: u64,
    /// Datagrams that connections were too slow for.
    pub dropped: u64,
}

impl Network {
    /// A network without fixed ports: each connection has its own on these addresses.
    pub fn on(addresses: Vec<IpAddr>) -> Self {
        Self::new(Addresses::Fixed(addresses), &NetworkConfig::default())
    }

    /// Takes the ports. Needs a Tokio runtime when there are any.
    ///
    /// # Errors
    /// When a port is taken, or an address is not of this machine.
    pub fn open(config: &NetworkConfig, room_is_loopback: bool) -> Result<Self, NetworkError> {
        let addresses = if config.addresses.is_empty() {
            ice::local_addresses(room_is_loopback)
        } else {
            ice::explicit(&config.addresses)
        };
        check_public(&config.public_ips, &addresses)?;
        if config.udp_ports.is_none() && config.tcp_ports.is_none() {
            let addresses = if config.addresses.is_empty() {
                Addresses::Current { room_is_loopback }
            } else {
                Addresses::Fixed(addresses)
            };
            return Ok(Self::new(addresses, config));
        }
        let udp = config.udp_ports.map(|range| ports::take::<UdpSocket>(range, &addresses)).transpose()?;
        let tcp = config.tcp_ports.map(|range| ports::take::<TcpListener>(range, &addresses)).transpose()?;
        let failed = |option, address: io::Result<SocketAddr>| {
            let address = address.unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
            move |cause| NetworkError::Socket { option, address, cause }
        };
        let mut network = Inner::new(Addresses::Fixed(addresses), config);
        for socket in udp.unwrap_or_default() {
            let failed = failed("--udp-port", socket.local_addr());
            let port = Arc::new(Port::new(socket).map_err(failed)?);
            info!(address = %port.address(), "one UDP port for media");
            port.run(&mut network._tasks);
            network.udp.push(port);
        }
        for listener in tcp.unwrap_or_default() {
            let failed = failed("--tcp-port", listener.local_addr());
            let port = Arc::new(TcpPort::new(listener).map_err(failed)?);
            info!(address = %port.address(), "one TCP port for media");
            port.run(&mut network._tasks);
            network.tcp.push(port);
        }
        Ok(Self { inner: Arc::new(network) })
    }

    fn new(addresses: Addresses, config: &NetworkConfig) -> Self {
        Self { inner: Arc::new(Inner::new(addresses, config)) }
    }

    /// How the shared ports are used; `None` when there are none.
    pub fn usage(&self) -> Option<PortUsage> {
        let Inner { udp, tcp, .. } = &*self.inner;
        if udp.is_empty() && tcp.is_empty() {
            return None;
        }
        let mut usage = PortUsage {
            udp: udp.iter().map(|port| port.address()).collect(),
            tcp: tcp.iter().map(|port| port.address()).collect(),
            connections: tcp.iter().map(|port| port.connections()).max().unwrap_or(0),
            ..PortUsage::default()
        };
        for port in udp {
            let (routes, (strays, dropped)) = (port.routes_left(), port.losses());
            usage.connections = usage.connections.max(routes.connections);
            usage.routes += routes.ufrags + routes.remotes + routes.transactions;
            usage.strays += strays;
            usage.dropped += dropped;
        }
        Some(usage)
    }

    /// A place for one connection.
    pub(crate) fn attach(&self, uses_turn: bool) -> Arc<Attachment> {
        let id = ConnectionId(self.inner.connections.fetch_add(1, Ordering::Relaxed));
        let map = Mutex::new(AddressMap::to_public(&self.inner.public_ips));
        Arc::new(Attachment { id, network: self.clone(), map, uses_turn })
    }

    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        match &self.inner.addresses {
            Addresses::Fixed(addresses) => addresses.clone(),
            Addresses::Current { room_is_loopback } => ice::local_addresses(*room_is_loopback),
        }
    }

    pub(crate) fn takes_tcp(&self) -> bool {
        !self.inner.tcp.is_empty()
    }

    pub(crate) fn is_lite(&self) -> bool {
        self.inner.ice_lite
    }

    /// Packets a second that each connection takes.
    pub(crate) fn packet_rate(&self) -> u32 {
        self.inner.packet_rate
    }
}

impl Inner {
    fn new(addresses: Addresses, config: &NetworkConfig) -> Self {
        Self {
            addresses,
            udp: Vec::new(),
            tcp: Vec::new(),
            public_ips: config.public_ips.clone(),
            ice_lite: config.ice_lite,
            packet_rate: config.packet_rate.unwrap_or(PACKET_RATE),
            connections: AtomicU64::new(0),
            _tasks: JoinSet::new(),
        }
    }
}

/// Each public address needs a local one behind it, and there is one of each kind.
fn check_public(public: &[IpAddr], local: &[IpAddr]) -> Result<(), NetworkError> {
    for (index, ip) in public.iter().enumerate() {
        if public[..index].iter().any(|other| other.is_ipv4() == ip.is_ipv4()) {
            return Err(NetworkError::TwoPublic(*ip));
        }
        if !local.iter().any(|local| local.is_ipv4() == ip.is_ipv4() && !local.is_loopback()) {
            let local = local.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
            return Err(NetworkError::NothingBehind { public: *ip, local });
        }
    }
    Ok(())
}

/// What one connection has of the network.
#[derive(Debug)]
pub(crate) struct Attachment {
    id: ConnectionId,
    network: Network,
    map: Mutex<AddressMap>,
    uses_turn: bool,
}

impl Attachment {
    /// The runtime that the connection's engine gets its sockets from.
    pub(crate) fn runtime(self: &Arc<Self>) -> Arc<dyn Runtime> {
        Arc::new(SharedRuntime(Arc::clone(self) as Arc<dyn Places>))
    }

    /// Our description as the other side must see it. From now on its ufrag leads here: call this before it is sent.
    pub(crate) fn announce(&self, sdp: &str) -> String {
        for ufrag in sdp.lines().filter_map(|line| line.strip_prefix("a=ice-ufrag:")) {
            for port in &self.network.inner.udp {
                port.name(self.id, ufrag.trim());
            }
            for port in &self.network.inner.tcp {
                port.name(self.id, ufrag.trim());
            }
        }
        self.map().description(sdp)
    }

    /// Our candidate as the other side must see it.
    pub(crate) fn candidate(&self, candidate: &str) -> String {
        self.map().candidate(candidate)
    }

    /// The connection is over: nothing leads to it any more.
    pub(crate) fn leave(&self) {
        self.network.inner.udp.iter().for_each(|port| port.leave(self.id));
        self.network.inner.tcp.iter().for_each(|port| port.leave(self.id));
    }

    fn map(&self) -> MutexGuard<'_, AddressMap> {
        // Nothing panics while the lock is held.
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Places for Attachment {
    fn udp(&self, bound: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let local = bound.local_addr()?;
        let Some(port) = self.network.inner.udp.iter().find(|port| port.address().ip() == local.ip()) else {
            return TokioRuntime.wrap_udp_socket(bound);
        };
        let socket = SharedSocket::new(Arc::clone(port), self.id, bound, self.uses_turn)?;
        self.map().share(Transport::Udp, local, port.address().port());
        Ok(Arc::new(socket))
    }

    fn tcp(&self, bound: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        let local = bound.local_addr()?;
        let Some(port) = self.network.inner.tcp.iter().find(|port| port.address().ip() == local.ip()) else {
            return TokioRuntime.wrap_tcp_listener(bound);
        };
        let listener = SharedListener::new(port, self.id, &bound)?;
        self.map().share(Transport::Tcp, local, port.address().port());
        Ok(Arc::new(listener))
    }
}
