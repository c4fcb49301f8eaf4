//! The control channel of a child process: commands on stdin, one JSON object per line.

use roomcast::bridge::Control;
use roomcast::output::OutputSpec;
use serde::Deserialize;
use tokio::io::AsyncBufReadExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A line of the control channel.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
enum Command {
    Stop,
    Attach { output: String },
    Detach { output: String },
}

const KNOWN: &str =
    r#"{"command":"stop"}, {"command":"attach","output":"URL"} and {"command":"detach","output":"URL"}"#;

/// Passes on what stdin says, and cancels `stop` when it says so or ends: a server that dies leaves no child behind.
pub(crate) async fn obey_stdin(controls: mpsc::Sender<Control>, stop: CancellationToken) {
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let control = match serde_json::from_str(&line) {
            Ok(Command::Stop) => break,
            Ok(Command::Attach { output }) => {
                output.parse::<OutputSpec>().map(Control::Attach).map_err(|error| error.to_string())
            }
            Ok(Command::Detach { output }) => Ok(Control::Detach(output)),
            Err(error) => Err(format!("not a command ({error}): known are {KNOWN}")),
        };
        match control {
            Ok(control) => {
                if controls.send(control).await.is_err() {
                    tracing::warn!("stdin: there are no outputs here, or no longer: {line}");
                }
            }
            Err(error) => tracing::error!("stdin: {error}"),
        }
    }
    stop.cancel();
}
