//! Joining rooms of existing systems.
//!
//! A protocol is a codec: a pure state machine without socket or clock ([`mesh`]), tested from literal frames. Transports
//! ([`transport`]) are shared drivers that move its text and keep its time. [`join`] puts the two together, and the
//! embedded server reads and writes the same wire types ([`mesh_wire`]).
//!
//! Used by `bridge` and `publish`, which see only [`Event`] and [`Command`]; nothing here knows of media or of WebRTC.

mod codec;
mod error;
mod event;
mod mesh;
mod mesh_members;
mod mesh_order;
mod mesh_outgoing;
pub(crate) mod mesh_wire;
mod room_url;
pub(crate) mod sdp_candidates;
pub(crate) mod sdpfrag;
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
    let prefix = options.id_prefix.unwrap_or(GATEWAY_ID_PREFIX);
    let driver = match url.scheme() {
        Scheme::Mesh => {
            let codec = mesh::MeshClient::new(
                url.room(),
                url.id().cloned(),
                options.call.or(url.call()).unwrap_or_default(),
                Box::new(move || prefix.to_owned() + &random_hex()),
            );
            tokio::spawn(transport::websocket::run(dial, codec, events_in, commands_out, cancel))
        }
        Scheme::Whep => {
            let token = url.token().map(str::to_owned);
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
