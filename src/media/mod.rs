//! GStreamer: from RTP to pictures and sound (ingest), to one picture and one sound (mixer), to access units (encoder).
//!
//! Each stage is a pipeline of its own. All of them share one clock and base time, and are joined by producers, so that
//! stages start, stop and fail alone. This module knows nothing of rooms, peers or outputs.

pub mod bus;
pub mod clock;
pub mod elements;
pub mod encoder;
pub mod ingest;
pub mod layout;
pub mod mixer;
pub mod overload;
pub mod pipeline;
pub mod producer;
pub mod relay;
pub mod remux;
pub mod scaler;
pub mod template;

pub(crate) mod decode;
mod early;
pub(crate) mod effort;
pub(crate) mod payload_types;
mod phase;
pub(crate) mod relief;

pub use decode::can_decode;

/// What can go wrong in the media stages.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// GStreamer itself could not start.
    #[error("GStreamer could not start: {0}")]
    Init(String),
    /// An element is not installed or could not be made.
    #[error(
        "the GStreamer element `{element}` could not be made: {reason}; `roomcast doctor` names the package it is in"
    )]
    Element {
        /// The factory's name.
        element: String,
        /// Why, as GStreamer says it.
        reason: String,
    },
    /// Two pads would not link, or a pad is missing.
    #[error("{0}")]
    Link(String),
    /// A pipeline text is wrong.
    #[error(transparent)]
    Template(#[from] template::TemplateError),
    /// A pipeline refused to change its state.
    #[error("the pipeline `{pipeline}` did not reach {state}: {reason}")]
    State {
        /// The pipeline's name.
        pipeline: String,
        /// The state that was wanted.
        state: &'static str,
        /// What its bus said.
        reason: String,
    },
    /// No usable encoder.
    #[error("{0}")]
    Encoder(String),
}

impl MediaError {
    pub(crate) fn link(what: impl Into<String>) -> Self {
        Self::Link(what.into())
    }
}
