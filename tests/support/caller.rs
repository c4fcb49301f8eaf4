//! Somebody in a browser who joins a room through the call page.

use std::time::Duration;

use serde_json::Value;

use super::{Browser, BrowserOptions, FlashAndBeep, flash_and_beep_js};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// One person in a room.
pub(crate) struct Caller {
    /// The page.
    pub(crate) page: Browser,
}

impl Caller {
    /// Opens the call page with a flashing and beeping camera, and joins.
    pub(crate) async fn join(base: &str, room: &str, source: FlashAndBeep) -> Self {
        Self::join_with(base, room, source, &[]).await
    }

    /// The same in a browser with further command-line flags.
    pub(crate) async fn join_with(base: &str, room: &str, source: FlashAndBeep, flags: &[&str]) -> Self {
        let before_load = flash_and_beep_js(source);
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let page = Browser::start_with(BrowserOptions { before_load, flags, ..BrowserOptions::default() }).await;
        page.goto(&format!("{base}/?room={room}")).await;
        let caller = Self { page };
        caller.enter().await;
        caller
    }

    /// Joins from the card, after a reload for example.
    pub(crate) async fn enter(&self) {
        self.page.wait_for("typeof connect === 'function'", SOON).await;
        self.page.eval("document.getElementById('join').click()").await;
        self.until("['joined', 'calling'].includes(state.roomState)").await;
    }

    /// Waits until something is true in the page.
    pub(crate) async fn until(&self, condition: &str) -> Value {
        self.page.wait_for(condition, SOON).await
    }

    /// The id in the room.
    pub(crate) async fn id(&self) -> String {
        self.page.eval("state.myId").await.as_str().unwrap_or_default().to_owned()
    }

    /// Presses one of the buttons below the picture.
    pub(crate) async fn click(&self, act: &str) {
        self.page.eval(&format!("document.querySelector('.bar [data-act=\"{act}\"]').click()")).await;
    }
}
