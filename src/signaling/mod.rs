//! Joining rooms of existing systems.
//!
//! A protocol is a directory with a codec: a pure state machine without socket or clock ([`mesh`], [`gstreamer`], [`notify`],
//! [`simple_voice`], [`rmc`], [`gstrs`], [`whep`], [`whip`]), tested from literal frames. Transports ([`transport`]) are shared drivers
//! that move its text and keep its time. [`join`] puts the two together, and the embedded server reads and writes the same
//! wire types: the `wire` of each.
//!
//! Used by `bridge` and `publish`, which see only [`Event`] and [`Command`]; nothing here knows of media or of WebRTC.

#[cfg(test)]
mod bench;
mod codec;
mod error;
mod event;
pub(crate) mod fuzzing;
pub(crate) mod gstreamer;
pub(crate) mod gstrs;
pub(crate) mod ice_servers;
pub(crate) mod json;
pub(crate) mod limits;
pub(crate) mod mesh;
pub(crate) mod notify;
mod rmc;
mod room_url;
pub(crate) mod sdp_candidates;
pub(crate) mod sdpfrag;
pub(crate) mod simple_voice;
mod transport;
pub(crate) mod whep;
pub(crate) mod whip;

use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::transport::{http, websocket};

pub use error::SignalingError;
pub use event::{CallPolicy, Command, Event, JoinOptions, OfferRole};
pub use mesh::order::polite;
pub use mesh::wire::{GATEWAY_ID_PREFIX, is_gateway};
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
    let origin = options.origin.as_deref();
    let (dial, requests) = (websocket::Dial::new(&url, origin), http::Dial::new(&url, origin));
    let ids = |gateways: &'static str| -> IdSource {
        let prefix = options.id_prefix.unwrap_or(gateways);
        Box::new(move || prefix.to_owned() + &random_hex())
    };
    let driver = match url.scheme() {
        Scheme::Mesh => {
            let policy = mesh::room_url::policy(&url).or(options.call).unwrap_or_default();
            let codec = mesh::MeshClient::new(url.room(), url.id().cloned(), policy, ids(GATEWAY_ID_PREFIX));
            tokio::spawn(websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::GStreamer => {
            let goal = gstreamer::room_url::Goal::of(&url);
            let codec = gstreamer::GStreamerClient::new(goal, url.id().cloned(), ids(gstreamer::wire::GATEWAY_PREFIX));
            tokio::spawn(websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::Notify => {
            // The URL was checked when it was read.
            let role = url.key("role").and_then(notify::talk::Role::parse).unwrap_or_default();
            let codec = notify::NotifyClient::new(role, Box::new(|| rand::rng().random::<f64>()));
            tokio::spawn(websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::SimpleVoice => {
            let offer_by = url.key("offer").and_then(simple_voice::phase::OfferBy::parse).unwrap_or_default();
            let chance = Box::new(|| rand::rng().random::<f64>());
            let codec = simple_voice::SimpleVoiceClient::new(url.dial().clone(), url.room(), offer_by, chance);
            tokio::spawn(http::run(requests, codec, events_in, commands_out, cancel))
        }
        Scheme::Rmc => {
            let manner = rmc::Manner { opens: url.key("open") != Some("no"), sends: options.sends };
            let new_id = move || rmc::user_id(options.id_prefix, &random_hex());
            let codec = rmc::RmcClient::new(&url, manner, Box::new(new_id));
            tokio::spawn(websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::Gstrs => {
            let codec = gstrs::GstrsClient::new(&url, options.sends);
            tokio::spawn(websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::Whep => {
            let token = url.key("token").map(str::to_owned);
            let codec = whep::WhepClient::new(url.dial().clone(), url.to_string(), token);
            tokio::spawn(http::run(requests, codec, events_in, commands_out, cancel))
        }
        Scheme::Whip => {
            let token = url.key("token").map(str::to_owned);
            let codec = whip::client(url.dial().clone(), url.to_string(), token);
            tokio::spawn(http::run(requests, codec, events_in, commands_out, cancel))
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
