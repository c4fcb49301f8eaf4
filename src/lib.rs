//! roomcast joins a WebRTC room as a participant and turns the call into media that everything else can play: RTP with an
//! SDP file, HLS, MPEG-TS and recordings. GStreamer underneath, no browser inside.
//!
//! Each module uses only what stands below it, and nothing points up or round in a circle:
//!
//! ```text
//! server                            embedded rooms, pages, supervision of bridge processes
//! bridge  publish                   one room: the only places where signaling, peer and media meet
//! output                            what leaves: RTP, HLS, files, MPEG-TS; sees media's producers and probe
//! signaling  media  peer  probe     know nothing of each other
//! terms                             the words they share: Codec, SessionDescription, IceCandidate …
//! ```
//!
//! Data flows one way: `peer` hands RTP to `media::ingest`, which decodes it for `media::mixer`, which feeds
//! `media::encoder`, whose access units go to every `output`. Only keyframe requests travel back.

pub mod bridge;
pub mod media;
pub mod output;
pub mod peer;
pub mod probe;
pub mod publish;
pub mod server;
pub mod signaling;
pub mod telemetry;
pub mod terms;
