//! The user of a session, as drivers see it: one who takes events when there is time, has wishes, and may be gone.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Command, Event};

/// Hands one event to the user of the session; never ends when there is none.
pub(super) async fn hand_over(events: &mpsc::Sender<Event>, pending: &mut VecDeque<Event>) {
    if pending.is_empty() {
        return std::future::pending().await;
    }
    match events.reserve().await {
        Ok(permit) => {
            if let Some(event) = pending.pop_front() {
                permit.send(event);
            }
        }
        // Nobody listens any more; the end of the events is also the wish to leave.
        Err(_) => pending.clear(),
    }
}

/// The next wish; a user of the session that is gone wants to leave.
pub(super) async fn next_command(
    commands: &mut mpsc::Receiver<Command>,
    events: &mpsc::Sender<Event>,
    cancel: &CancellationToken,
) -> Command {
    tokio::select! {
        command = commands.recv() => command.unwrap_or(Command::Leave),
        () = events.closed() => Command::Leave,
        () = cancel.cancelled() => Command::Leave,
    }
}

/// The codec's clock; follows Tokio's, which tests can pause.
pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
