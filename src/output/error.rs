//! Why an output does not work, in words that name the destination.

use std::path::PathBuf;
use std::time::Duration;

use super::spec::{Container, Stream};
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
    /// A stream that this output needs is not made.
    #[error("this output needs {0:?}, which is not encoded")]
    NoStream(Stream),
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
    /// An error of the file system at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
