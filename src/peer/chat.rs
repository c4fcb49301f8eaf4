//! Text messages from a data channel, which is how the call pages carry chat.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::debug;
use webrtc::data_channel::{DataChannel, DataChannelEvent};

use super::engine::Notice;

/// Longer messages are not chat.
const MAX_BYTES: usize = 16 * 1024;

/// Reads until the channel closes. A flood waits in the channel and, through SCTP's window, at its sender.
pub(crate) async fn read(channel: Arc<dyn DataChannel>, notices: mpsc::Sender<Notice>) {
    while let Some(event) = channel.poll().await {
        match event {
            DataChannelEvent::OnMessage(message) if message.is_string && message.data.len() <= MAX_BYTES => {
                let text = String::from_utf8_lossy(&message.data).into_owned();
                if notices.send(Notice::Message(text)).await.is_err() {
                    return;
                }
            }
            DataChannelEvent::OnMessage(message) => debug!(bytes = message.data.len(), "ignores a message"),
            DataChannelEvent::OnClose => return,
            _ => {}
        }
    }
}
