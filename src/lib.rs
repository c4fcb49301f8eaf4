//! roomcast joins a WebRTC room as a participant and turns the call into media that everything else can play: RTP with an
//! SDP file, HLS, MPEG-TS and recordings. GStreamer underneath, no browser inside.
//!
//! To bridge one room: [`bridge::run`] with a [`bridge::BridgeConfig`]; `examples/bridge_room.rs` is a whole program. To be a test
//! participant: [`publish::publish`]. To serve rooms and pages: [`server::serve`]. To measure a result: [`probe::run`] and
//! [`probe::judge`]. They want a multi-threaded Tokio runtime. The first three end, in order and with every file complete, when
//! their `CancellationToken` is cancelled; a measurement ends when its future is dropped. Errors name what was at fault and what
//! to do about it.
//!
//! Each module uses only what stands below it, and nothing points up or round in a circle:
//!
//! ```text
//! server                            embedded rooms, pages, supervision of bridge processes; its relay uses signaling and peer
//! bridge  publish                   one room: the only places where signaling, peer and media meet
//! session                           the manifest of a session's files, and one film of them; bridge writes it
//! output                            what leaves: RTP, HLS, files, MPEG-TS; sees media's producers and probe
//! signaling  media  peer  probe     know nothing of each other
//! rtp                               packets, the taps that hand them out, and their numbering
//! terms  telemetry  durable  machine  memory  pace   the words they share: Codec, SessionDescription, IceCandidate …; logging; what a power cut leaves; load
//! ```
//!
//! Data flows one way: `bridge` hands the RTP of each `peer` to a `media::ingest`, which decodes it for `media::mixer`, which
//! feeds `media::encoder`, whose access units go to every `output`. Only keyframe requests travel back.
//!
//! Pipelines share one clock and one base time and are joined by [`media::producer`], so each starts, stops and fails alone. What
//! happens is told as [`bridge::Event`]s; `ARCHITECTURE.md` says who owns what, and how a protocol or an output is added.

pub mod bridge;
mod durable;
#[doc(hidden)]
pub mod fuzzing;
pub mod machine;
pub mod media;
pub mod memory;
pub mod output;
mod pace;
pub mod peer;
pub mod probe;
pub mod publish;
pub mod repair;
pub mod rtp;
pub mod sandbox;
pub mod server;
pub mod session;
pub mod signaling;
pub mod telemetry;
pub mod terms;
mod writers;

/// Compiles the program in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
