//! Builds the webrtc crate's connection and turns its callbacks into notices for the connection's task.
//!
//! Callbacks run on the crate's driver, which carries the media: each one forwards a notice and returns. It never waits.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::mdns::MulticastSocket;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::transport::RTCIceServer;
use rtc::shared::error::Error;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState,
};

use super::departures::CaptureTime;
use super::intake::Intake;
use super::network::Attachment;
use super::rtcp_tap::Feedback;
use super::stats::Counts;
use super::track::InboundTrack;
use super::{PeerConfig, PeerError, codecs};
use crate::terms::IceCandidate;

/// No answer for this long: disconnected. Browsers that leave without a word are noticed by it.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(5);
/// Disconnected for this long: failed.
const FAILED_AFTER: Duration = Duration::from_secs(15);
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// What the driver and the tasks of a connection report.
pub(crate) enum Notice {
    Candidate(IceCandidate),
    GatheringComplete,
    State(RTCPeerConnectionState),
    Track(Arc<dyn TrackRemote>),
    Opened(InboundTrack),
    DataChannel(Arc<dyn DataChannel>),
    Message(String),
}

struct Callbacks {
    notices: mpsc::Sender<Notice>,
}

impl Callbacks {
    fn notify(&self, notice: Notice) {
        if self.notices.try_send(notice).is_err() {
            warn!("a connection's owner is too slow: lost a notice of the WebRTC engine");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Callbacks {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let Ok(candidate) = event.candidate.to_json() else { return };
        self.notify(Notice::Candidate(IceCandidate {
            candidate: candidate.candidate,
            sdp_mid: candidate.sdp_mid,
            sdp_m_line_index: candidate.sdp_mline_index,
            username_fragment: candidate.username_fragment,
        }));
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.notify(Notice::GatheringComplete);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.notify(Notice::State(state));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.notify(Notice::DataChannel(channel));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.notify(Notice::Track(track));
    }
}

/// Opens the sockets and starts the driver of one connection.
pub(crate) async fn build(
    config: &PeerConfig,
    ice_servers: Vec<RTCIceServer>,
    attachment: &Arc<Attachment>,
    notices: mpsc::Sender<Notice>,
    feedback: mpsc::Sender<Feedback>,
    captures: Option<mpsc::Receiver<CaptureTime>>,
    counts: &Counts,
) -> Result<Arc<dyn PeerConnection>, PeerError> {
    if config.codecs.is_empty() {
        return Err(PeerError::NoCodecs);
    }
    let addresses = config.network.addresses();
    if addresses.is_empty() {
        return Err(PeerError::NoAddresses);
    }
    let setup = |cause: Error| PeerError::Setup {
        addresses: addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
        cause: cause.to_string(),
    };
    let mut media = codecs::media_engine(&config.codecs, config.sends).map_err(setup)?;
    let intake = Intake::new(config.network.packet_rate(), Arc::clone(&counts.refused), feedback.clone());
    let rebuilt = Arc::clone(&counts.rebuilt);
    let registry = codecs::interceptors(&mut media, feedback, captures, intake, rebuilt).map_err(setup)?;
    let is_lite = config.network.is_lite();
    let settings = SettingEngineBuilder::new()
        .with_ice_timeouts(Some(DISCONNECTED_AFTER), Some(FAILED_AFTER), Some(KEEP_ALIVE))
        .with_include_loopback_candidate(addresses.iter().any(IpAddr::is_loopback))
        .with_lite(is_lite)
        .with_multicast_dns_mode(multicast_dns())
        .build();
    // A port of its own on each address: shared ports are put in their place by the runtime.
    let sockets: Vec<SocketAddr> = addresses.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
    // Who is reachable by definition has host candidates only (RFC 8445, section 5.2).
    let ice_servers = if is_lite { Vec::new() } else { ice_servers };
    let connection = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().with_ice_servers(ice_servers).build())
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings)
        .with_handler(Arc::new(Callbacks { notices }))
        .with_runtime(attachment.runtime())
        .with_tcp_addrs(if config.network.takes_tcp() { sockets.clone() } else { Vec::new() })
        .with_udp_addrs(sockets)
        .build()
        .await
        .map_err(setup)?;
    Ok(Arc::new(connection))
}

/// Names that browsers give in the place of their addresses are looked up where the network has multicast. Where it has
/// none, as with IPv6 alone, the engine would refuse the whole connection; browsers are found by their checks then.
fn multicast_dns() -> MulticastDnsMode {
    match MulticastSocket::new().into_std() {
        Ok(_closed_again) => MulticastDnsMode::QueryOnly,
        Err(error) => {
            debug!(%error, "no multicast DNS");
            MulticastDnsMode::Disabled
        }
    }
}
