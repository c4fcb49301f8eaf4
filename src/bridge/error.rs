//! Why a bridge could not do its work.

use crate::media::MediaError;
use crate::output::SpecError;
use crate::peer::NetworkError;
use crate::signaling::SignalingError;

/// Why a bridge could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The configuration asks for something impossible; nothing was started.
    #[error("{0}")]
    Config(String),
    /// An output that cannot work.
    #[error(transparent)]
    Output(#[from] SpecError),
    /// The ports or addresses asked for cannot be used; nothing was started.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The room refused us or cannot be reached.
    #[error(transparent)]
    Room(#[from] SignalingError),
    /// The mixer or an encoder could not be built or started.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The mixer or an encoder failed while it ran.
    #[error("{stage} failed: {reason}")]
    Stage {
        /// Which pipeline.
        stage: String,
        /// What its bus said.
        reason: String,
    },
}
