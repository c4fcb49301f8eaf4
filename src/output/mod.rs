//! What leaves a bridge: RTP with an SDP file, HLS, recordings, MPEG-TS for many viewers.
//!
//! An output is a pipeline of its own on the bridge's clock, fed by the encoder's producers. It starts, fails, is tried
//! again and stops alone. It is called ready only after roomcast has decoded its result as a player would.

mod attached;
mod claims;
mod error;
mod file;
mod hls;
mod live_ts;
pub mod names;
pub mod players;
mod rtp;
mod rtp_ports;
mod sdp;
pub mod spec;
mod streams;
mod supervisor;
mod tail;

pub use claims::{check_file, path_claim};
pub use error::OutputError;
pub use players::Play;
pub use rtp_ports::{any_free_rtp_ports, free_rtp_ports};
pub use spec::{OutputSpec, SpecError, Stream};
pub use streams::Streams;
pub use supervisor::{OutputEvent, OutputSummary, Outputs};
pub use tail::Session;
