//! HLS: a directory with playlists and segments.
//!
//! GStreamer muxes; the files and the playlists are ours, so that a playlist goes on where a bridge was killed. `serve` uses [`Playlist`] to
//! answer requests that wait for a part.

mod cutting;
mod directory;
mod earlier;
mod fragments;
mod fuzzing;
mod keyframes;
mod master;
mod playlist;
#[cfg(test)]
mod playlist_tests;
mod presentation;
mod reading;
mod rendition;
mod ts;
mod writing;

pub(super) use cutting::fuzz_cuts;
pub(super) use fragments::FragmentsTail;
pub(super) use fuzzing::fuzz_playlist;
pub use playlist::{Kind, Part, Playlist, Report, Segment};
pub use reading::{Awaited, Readiness};
pub(super) use ts::TsTail;
