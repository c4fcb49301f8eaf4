//! A member of a mesh room that says whatever a test wants, well-formed or not.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A WebSocket in a room.
pub(crate) struct MeshMember {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl MeshMember {
    /// Joins a room of the server at `base` (`http://HOST:PORT`) under an id.
    pub(crate) async fn join(base: &str, room: &str, id: &str) -> Self {
        let url = format!("{}/ws", base.replace("http", "ws"));
        let (socket, _) = connect_async(url).await.expect("the server accepts WebSockets");
        let mut member = Self { socket };
        member.say(&json!({ "type": "join", "room": room, "from": id })).await;
        member.hear_type("joined").await;
        member
    }

    /// Sends a message.
    pub(crate) async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    /// Sends a text that need not be a message. The server may have closed the connection for what came before.
    pub(crate) async fn say_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.ok();
    }

    /// The next message, or `None` when the server has closed the connection.
    pub(crate) async fn hear(&mut self) -> Option<Value> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a message in time") {
                Some(Ok(Message::Text(text))) => {
                    return Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message of this type; others are skipped.
    pub(crate) async fn hear_type(&mut self, kind: &str) -> Value {
        loop {
            let message = self.hear().await.unwrap_or_else(|| panic!("closed before a message of type {kind}"));
            if message["type"] == kind {
                return message;
            }
        }
    }
}
