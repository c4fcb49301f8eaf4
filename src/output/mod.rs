//! What leaves a bridge: RTP with an SDP file, RTSP, HLS, recordings, MPEG-TS for many viewers, over UDP and SRT, RTMP, WHIP.
//!
//! An output is a pipeline of its own on the bridge's clock, fed by the encoder's producers. It starts, fails, is tried
//! again and stops alone. It is called ready only after roomcast has decoded its result as a player would.

mod attached;
mod claims;
mod error;
mod events;
pub(crate) mod fuzzing;
pub mod hls;
mod live_ts;
pub mod names;
mod passthrough;
pub mod players;
mod recording;
mod rtmp;
mod rtp;
mod rtp_ports;
mod rtsp_player;
mod rtsp_push;
mod rtsp_serve;
mod rtsp_server;
mod sdp;
pub mod spec;
mod srt;
mod stall;
mod streams;
mod supervisor;
mod tail;
mod ts_udp;
pub mod uplink;
mod whip;

pub use claims::{check_file, path_claim};
pub use error::OutputError;
pub use events::{OutputEvent, OutputSummary};
pub use passthrough::{Interface, Multicast, Passthrough, PassthroughConfig};
pub use players::Play;
pub(crate) use recording::beside;
pub use rtp_ports::{any_free_rtp_ports, free_rtp_ports};
pub use sdp::SrtpKey;
pub use spec::{OutputSpec, SpecError, Stream};
pub use streams::Streams;
pub use supervisor::Outputs;
pub use tail::Session;
