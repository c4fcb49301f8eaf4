//! One room: the only place where signaling, peer and media meet.
//!
//! [`run`] joins the room, receives everybody, mixes them, encodes the mix once and feeds the outputs until it is told to
//! stop. What happens is told as [`Event`]s, which `roomcast bridge --json` prints as they are.

mod config;
mod disk;
mod error;
mod events;
mod mix;
mod participant;
mod reader;
mod redial;
mod room;
mod state;
mod talk;
mod uplink;
mod verify;

pub use config::BridgeConfig;
pub use disk::DiskState;
pub use error::BridgeError;
pub use events::{Event, Reason, Record, Summary};
pub use mix::EncoderState;
pub use room::{Control, run};
pub use state::{ParticipantState, Snapshot};
pub use verify::{Announced, Fault, Verdict, Verified, Verify, When};
