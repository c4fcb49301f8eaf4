//! Signals: the first SIGINT or SIGTERM asks for a clean stop, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal, as shells report an interrupt.
const INTERRUPTED: i32 = 130;

/// The process's wish to end.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// Starts to listen for SIGINT and SIGTERM.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let token = CancellationToken::new();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let first = token.clone();
        // Lives as long as the process: the second signal must work even when everything else hangs.
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            next().await;
            first.cancel();
            next().await;
            std::process::exit(INTERRUPTED);
        });
        Ok(Self { token })
    }

    /// Cancelled by the first signal.
    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}
