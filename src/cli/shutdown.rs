//! Signals: the first SIGINT or SIGTERM asks for a clean stop, the second ends the process at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal, as shells report an interrupt.
const INTERRUPTED: i32 = 130;

/// The process's wish to end.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    token: CancellationToken,
    /// What the next signal ends instead of the process.
    next: Arc<Mutex<Option<CancellationToken>>>,
}

impl Shutdown {
    /// Starts to listen for SIGINT and SIGTERM.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let shutdown = Self { token: CancellationToken::new(), next: Arc::default() };
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let Self { token, next } = shutdown.clone();
        // Lives as long as the process: the second signal must work even when everything else hangs.
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                let instead = next.lock().unwrap_or_else(PoisonError::into_inner).take();
                match instead {
                    Some(instead) => instead.cancel(),
                    None if token.is_cancelled() => std::process::exit(INTERRUPTED),
                    None => {}
                }
                token.cancel();
            }
        });
        Ok(shutdown)
    }

    /// Cancelled by the first signal.
    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// The next signal cancels `instead`, and does not end the process; the one after it does.
    pub(crate) fn next_signal_ends(&self, instead: CancellationToken) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(instead);
    }
}
