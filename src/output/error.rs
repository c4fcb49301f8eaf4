//! Why an output does not work, in words that name the destination.

use std::path::PathBuf;
use std::time::Duration;

use super::spec::{Container, Stream};
use super::uplink::UplinkError;
use crate::media::MediaError;
use crate::media::bus::ElementFault;
use crate::probe::ProbeError;

/// Why an output does not work.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A file or directory cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The pipeline could not be built or started.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The pipeline failed while it ran.
    #[error("{0}")]
    Pipeline(ElementFault),
    /// The pipeline ended by itself.
    #[error("the output's pipeline ended by itself")]
    Ended,
    /// roomcast decoded its own result as a player would, and could not.
    #[error("the result does not play: {0}")]
    DoesNotPlay(#[from] ProbeError),
    /// Nothing that a player could open appeared in time.
    #[error("nothing to play after {waited:?}: {what}")]
    NotReady {
        /// What is missing.
        what: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// What goes out by WebRTC does not arrive.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// Somebody elsewhere, to whom the output sends, cannot be reached or refuses it.
    #[error("{place}: {reason}")]
    Remote {
        /// Whom it is sent to, without secrets.
        place: String,
        /// What they said, or did not say.
        reason: String,
    },
    /// It was fed and took nothing.
    #[error("nothing was taken for {0:?}: whoever reads it, or the disk, has stopped")]
    Stalled(Duration),
    /// A stream that this output needs is not made.
    #[error("this output needs {0:?}, which is not encoded")]
    NoStream(Stream),
    /// A participant's codec does not fit into this output.
    #[error("the participant sends {codec}, which {container} cannot carry: {remedy}, or leave out {setting}=copy")]
    WrongCodec {
        /// What the participant sends.
        codec: String,
        /// What the output is.
        container: &'static str,
        /// What else would do.
        remedy: &'static str,
        /// `video` or `audio`.
        setting: &'static str,
    },
    /// A participant sends something that this kind of file may not hold.
    #[error("a participant's {codec} does not fit into {container}: {way_out}")]
    DoesNotFit {
        /// The codec.
        codec: String,
        /// The kind of file.
        container: Container,
        /// What to do.
        way_out: String,
    },
    /// A participant sends something that no output carries.
    #[error("a stream of the form {0} cannot be passed on: leave out copy")]
    UnknownForm(String),
}

impl OutputError {
    /// The pause that the destination itself asks for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Uplink(UplinkError::Refused { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }

    /// An error of the file system at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
