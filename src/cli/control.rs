//! The control channel of a child process: commands on stdin, one JSON object per line.

use tokio::io::AsyncBufReadExt;
use tokio_util::sync::CancellationToken;

/// Cancels `stop` when stdin says so or ends: a server that dies leaves no child behind.
pub(crate) async fn obey_stdin(stop: CancellationToken) {
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let command = serde_json::from_str::<serde_json::Value>(&line).ok();
        match command.as_ref().and_then(|command| command.get("command")?.as_str()) {
            Some("stop") => break,
            _ => tracing::warn!(line, "unknown command on stdin: known is {{\"command\":\"stop\"}}"),
        }
    }
    stop.cancel();
}
