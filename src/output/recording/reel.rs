//! What of a recording outlives an attempt.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::OutputError;
use super::super::events::OutputEvent;
use super::super::supervisor::Output;
use super::naming::Naming;
use super::part::Finished;

/// The numbers of its files, and those that are being completed.
#[derive(Debug, Default)]
pub(in super::super) struct Reel {
    pub(super) naming: Option<Naming>,
    pub(super) finishing: JoinSet<Result<Finished, OutputError>>,
    pub(super) thumbs: u32,
    /// Why a file has no end.
    fault: Option<OutputError>,
}

impl Reel {
    /// Waits until every file is complete. Fails when one could not be completed.
    pub(in super::super) async fn complete(&mut self, output: &Output) -> Result<(), OutputError> {
        while let Some(finished) = self.finishing.join_next().await {
            self.finished(output, finished).await;
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    pub(super) async fn finished(
        &mut self,
        output: &Output,
        finished: Result<Result<Finished, OutputError>, tokio::task::JoinError>,
    ) {
        match finished {
            Ok(Ok(Finished { file, start, duration, until, bytes, placed })) => {
                let output_name = output.spec.to_string();
                if let Some(at) = placed {
                    tell_began(output, file.clone(), at).await;
                }
                let ended = OutputEvent::FileEnded { path: file.clone(), length: duration, until, complete: true };
                output.tell(ended).await;
                output.tell(OutputEvent::PartFinished { output: output_name, file, start, duration, bytes }).await;
            }
            Ok(Err(error)) => {
                tracing::warn!(output = %output.spec, %error, "a file of this recording has no end");
                self.fault.get_or_insert(error);
            }
            Err(error) => tracing::error!(%error, "completing a file failed"),
        }
    }
}

/// Says that a file has begun, or that another has taken its place.
pub(super) async fn tell_began(output: &Output, path: PathBuf, at: Duration) {
    output.tell(OutputEvent::FileBegan { output: output.spec.to_string(), path, at }).await;
}
