//! What a session left behind: the manifest `session.json` beside the files of its participants, and one film made of them.
//!
//! A bridge writes the manifest while it records ([`Chronicle`]); [`mix()`] reads it and puts everybody's files together again. The
//! form of the manifest is a contract: `docs/session.md`.

mod chronicle;
mod film;
pub(crate) mod fuzzing;
mod keeper;
mod manifest;
mod mix;
mod plan;
pub mod prune;

pub use chronicle::Chronicle;
pub use keeper::Keeper;
pub use manifest::{FORMAT, Loss, Manifest, ManifestError, MixPart, Part, Participant, Pause, Reconnect, Track, Visit};
pub use mix::{Form, LeftOut, MixError, MixOptions, MixReport, mix};
