//! Joining rooms of existing systems.
//!
//! A protocol is a codec: a pure state machine without socket or clock ([`mesh`], [`gstreamer`], [`notify`],
//! [`simple_voice`]), tested from literal frames. Transports ([`transport`]) are shared drivers that move its text and keep its
//! time. [`join`] puts the two together, and the embedded server reads and writes the same wire types ([`mesh_wire`],
//! [`gstreamer_wire`], [`notify_wire`], [`simple_voice_wire`]).
//!
//! Used by `bridge` and `publish`, which see only [`Event`] and [`Command`]; nothing here knows of media or of WebRTC.

mod codec;
mod error;
mod event;
pub(crate) mod fuzzing;
mod gstreamer;
mod gstreamer_payload;
mod gstreamer_peers;
mod gstreamer_talk;
mod gstreamer_url;
pub(crate) mod gstreamer_wire;
mod gstrs;
mod gstrs_sessions;
mod gstrs_url;
pub(crate) mod gstrs_wire;
pub(crate) mod ice_servers;
mod mesh;
mod mesh_members;
mod mesh_order;
mod mesh_outgoing;
pub(crate) mod mesh_wire;
mod notify;
mod notify_talk;
pub(crate) mod notify_wire;
mod rmc;
mod rmc_peers;
mod rmc_url;
mod rmc_wire;
mod room_url;
pub(crate) mod sdp_candidates;
pub(crate) mod sdpfrag;
mod simple_voice;
mod simple_voice_gathering;
mod simple_voice_phase;
pub(crate) mod simple_voice_wire;
mod socketio;
mod transport;
mod whep;
pub(crate) mod whep_wire;

use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use error::SignalingError;
pub use event::{CallPolicy, Command, Event, JoinOptions, OfferRole};
pub use mesh_order::polite;
pub use mesh_wire::{GATEWAY_ID_PREFIX, is_gateway};
pub use room_url::{RoomUrl, RoomUrlError, Scheme};

/// Events that wait for the bridge before the driver stops reading the room.
const EVENTS: usize = 256;
/// Commands that wait for the driver.
const COMMANDS: usize = 64;

/// Our seat in a room.
///
/// It ends when `commands` or `events` is dropped, when [`Command::Leave`] is sent, when its token is cancelled (all of
/// them leave the room politely), or with an error that reconnecting cannot mend.
#[derive(Debug)]
pub struct Session {
    /// What happens in the room. `None` means that the session has ended: [`Session::closed`] says why.
    pub events: mpsc::Receiver<Event>,
    /// What we want from the room.
    pub commands: mpsc::Sender<Command>,
    driver: JoinHandle<Result<(), SignalingError>>,
}

impl Session {
    /// Leaves if that has not happened yet, and waits until the connection is closed.
    ///
    /// # Errors
    /// What ended the session, when it was not our own wish: the room refused us, or could not be reached at first.
    pub async fn closed(self) -> Result<(), SignalingError> {
        let Self { events, commands, driver } = self;
        drop(commands);
        drop(events);
        driver.await.unwrap_or_else(|ended| Err(SignalingError::Driver { reason: ended.to_string() }))
    }
}

/// Starts to join a room, and returns at once: [`Event::Joined`] or the end of the events tells how it went.
///
/// Must be called within a Tokio runtime.
pub fn join(url: RoomUrl, options: JoinOptions, cancel: CancellationToken) -> Session {
    let (events_in, events) = mpsc::channel(EVENTS);
    let (commands, commands_out) = mpsc::channel(COMMANDS);
    let dial = transport::websocket::Dial::new(&url, options.origin.as_deref());
    let ids = |gateways: &'static str| -> IdSource {
        let prefix = options.id_prefix.unwrap_or(gateways);
        Box::new(move || prefix.to_owned() + &random_hex())
    };
    let driver = match url.scheme() {
        Scheme::Mesh => {
            let policy = url.call().or(options.call).unwrap_or_default();
            let codec = mesh::MeshClient::new(url.room(), url.id().cloned(), policy, ids(GATEWAY_ID_PREFIX));
            tokio::spawn(transport::websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::GStreamer => {
            let goal = gstreamer_url::Goal::of(&url);
            let codec = gstreamer::GStreamerClient::new(goal, url.id().cloned(), ids(gstreamer_wire::GATEWAY_PREFIX));
            tokio::spawn(transport::websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::Notify => {
            // The URL was checked when it was read.
            let role = url.key("role").and_then(notify_talk::Role::parse).unwrap_or_default();
            let codec = notify::NotifyClient::new(role, Box::new(|| rand::rng().random::<f64>()));
            tokio::spawn(transport::websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::SimpleVoice => {
            let base = transport::http::Base::new(&url, options.origin.as_deref());
            let offer_by = url.key("offer").and_then(simple_voice_phase::OfferBy::parse).unwrap_or_default();
            let chance = Box::new(|| rand::rng().random::<f64>());
            let codec = simple_voice::SimpleVoiceClient::new(url.room(), offer_by, chance);
            tokio::spawn(transport::http::run(base, codec, events_in, commands_out, cancel))
        }
        Scheme::Rmc => {
            let manner = rmc::Manner { opens: url.key("open") != Some("no"), sends: options.sends };
            let new_id = move || rmc::user_id(options.id_prefix, &random_hex());
            let codec = rmc::RmcClient::new(&url, manner, Box::new(new_id));
            tokio::spawn(transport::websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::Gstrs => {
            let codec = gstrs::GstrsClient::new(&url, options.sends);
            tokio::spawn(transport::websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::Whep => {
            let token = url.key("token").map(str::to_owned);
            let codec = whep::WhepClient::new(url.dial().clone(), url.to_string(), token);
            tokio::spawn(transport::requests::run(codec, events_in, commands_out, cancel))
        }
    };
    Session { events, commands, driver }
}

/// Eight hexadecimal digits.
fn random_hex() -> String {
    format!("{:08x}", rand::rng().random::<u32>())
}

/// Makes new ids for ourselves.
type IdSource = Box<dyn Fn() -> String + Send + Sync>;

/// Numbers from 0 to 1, by chance.
type Random = Box<dyn Fn() -> f64 + Send + Sync>;
