//! A test participant: joins a room and sends a pattern whose flash and beep fall on each second, or a media file.
//!
//! Media is encoded and payloaded once ([`source`]) and fanned out to one connection per member ([`member`]); [`room`]
//! follows the room's signaling. What it receives is thrown away. Started by `roomcast publish` and `roomcast demo`.

mod beep;
mod flash;
mod launch;
mod looping;
mod member;
mod room;
mod source;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::media::MediaError;
use crate::media::layout::Size;
use crate::peer::{Network, NetworkConfig, NetworkError};
use crate::signaling::{RoomUrl, SignalingError};
use crate::terms::{Codec, IceServer, ParticipantId};

/// What ids made for test participants begin with; bridges sort after it and are polite.
pub const ID_PREFIX: &str = "test-";

/// What to send.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    /// Width and height in pixels.
    pub size: Size,
    /// Frames per second.
    pub fps: u32,
    /// The video codec: VP8, H.264 or VP9; `None` sends no video.
    pub video: Option<Codec>,
    /// Bits per second of the video; by default what suits its size.
    pub video_bitrate: Option<u32>,
    /// Whether to send sound.
    pub audio: bool,
    /// A media file to send in a loop instead of the pattern.
    pub file: Option<PathBuf>,
    /// When to leave by itself.
    pub duration: Option<Duration>,
    /// ICE servers besides those of the room.
    pub ice_servers: Vec<IceServer>,
    /// Local addresses and ports for media.
    pub network: NetworkConfig,
}

/// What happens, as JSON and as text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PublishEvent {
    /// The pattern is made from now on.
    Started {
        /// Its zero: flashes and beeps are whole seconds after it, as they leave here.
        zero: jiff::Timestamp,
    },
    /// We are in the room.
    Joined {
        /// Our id.
        participant: ParticipantId,
    },
    /// Somebody is there whom we call or who called us.
    ParticipantJoined {
        /// Who.
        participant: ParticipantId,
    },
    /// Media flows to this participant.
    Published {
        /// To whom.
        participant: ParticipantId,
    },
    /// The call with this participant is over.
    ParticipantLeft {
        /// Who.
        participant: ParticipantId,
        /// Why, when it is not that they left.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The room cannot be reached; media goes on meanwhile.
    Reconnecting {
        /// Counts from 1.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// The end.
    Stopped {
        /// Why.
        reason: String,
        /// RTP packets that members' queues dropped because their connections were too slow.
        packets_dropped: u64,
    },
}

/// Why nothing can be published any more.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The file cannot be read.
    #[error("cannot publish {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The pattern or the file cannot be turned into media.
    #[error("cannot make the media to publish: {0}")]
    Media(#[from] MediaError),
    /// The pipeline failed while it ran.
    #[error("the media to publish ended: {0}")]
    Ended(String),
    /// The ports or addresses asked for cannot be used; nothing was started.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The room.
    #[error(transparent)]
    Signaling(#[from] SignalingError),
}

/// Joins the room and sends until `cancel`, the duration, or a fault that cannot be mended.
pub async fn publish(
    url: RoomUrl,
    options: PublishOptions,
    events: mpsc::Sender<PublishEvent>,
    cancel: CancellationToken,
) -> Result<(), PublishError> {
    let network = Network::open(&options.network, url.is_loopback())?;
    let mut source = source::Source::start(&options).await?;
    if let Some(zero) = source.zero().filter(|_| options.file.is_none()) {
        // Nobody may be left to hear it.
        events.send(PublishEvent::Started { zero }).await.ok();
    }
    let outcome = room::attend(url, &options, network, &mut source, &events, &cancel).await;
    source.stop().await;
    outcome
}
