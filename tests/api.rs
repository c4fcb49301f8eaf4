//! `/api/v1/rooms`: who is in the rooms of every protocol that the embedded server speaks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use roomcast::server::{ListenAddress, ServerConfig, serve};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(url: &str, says: &[&str]) -> Socket {
    let mut socket = connect_async(url).await.unwrap().0;
    for text in says {
        socket.send(Message::text(*text)).await.unwrap();
    }
    socket
}

async fn hear(socket: &mut Socket) -> String {
    loop {
        if let Message::Text(text) = timeout(PATIENCE, socket.next()).await.expect("a message").unwrap().unwrap() {
            return text.to_string();
        }
    }
}

#[tokio::test]
async fn rooms_of_every_protocol_are_listed_with_their_members() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let server = serve(ServerConfig { listen, ..ServerConfig::default() }, end).await.unwrap();
    let (http, address) = (reqwest::Client::new(), server.addr());
    let get = async |path: &str| {
        let answer = http.get(format!("http://{address}{path}")).timeout(PATIENCE).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    };
    let json = async |path: &str| serde_json::from_str::<Value>(&get(path).await.1).unwrap();
    let room = |protocol: &str, room: &str, members: &[&str]| json!({ "room": room, "protocol": protocol, "members": members, "bridge": null });
    assert_eq!(json("/api/v1/rooms").await, json!({ "rooms": [] }));

    // One name for all of them: their rooms are apart.
    let mut mesh = connect(&format!("ws://{address}/ws"), &[r#"{"type":"join","room":"one","from":"ada"}"#]).await;
    hear(&mut mesh).await;
    let mut gst = connect(&format!("ws://{address}/gst"), &["HELLO ben", "ROOM one"]).await;
    assert_eq!((hear(&mut gst).await, hear(&mut gst).await), ("HELLO".to_owned(), "ROOM_OK ".to_owned()));
    let mut gstrs = connect(&format!("ws://{address}/gstrs/one"), &[]).await;
    let welcome: Value = serde_json::from_str(&hear(&mut gstrs).await).unwrap();
    let cleo = welcome["peerId"].as_str().unwrap();
    let _first = connect(&format!("ws://{address}/call/one"), &[]).await;
    let joined = json("/sv/join?room=one").await;
    let id = joined["ID"].as_str().unwrap();

    let mesh_room = room("mesh", "one", &["ada"]);
    let (gst_room, gstrs_room) = (room("gst", "one", &["ben"]), room("gstrs", "one", &[cleo]));
    // Whoever knows an id of Simple Voice can hang up for its owner.
    let (notify_room, voice_room) = (room("notify", "one", &["1"]), room("simplevoice", "one", &["1"]));
    let all = json!({ "rooms": [mesh_room, gst_room, gstrs_room, notify_room, voice_room] });
    // A WebSocket stands for its client before the server has read about it.
    timeout(PATIENCE, async { while json("/api/v1/rooms").await != all {} }).await.expect("all rooms");
    assert_eq!(json("/api/v1/rooms/one").await, mesh_room);
    assert_eq!(json("/api/v1/rooms/one?protocol=gstrs").await, gstrs_room);
    assert_eq!(get("/api/v1/rooms/one?protocol=rmc").await.0, 404);

    let _second = connect(&format!("ws://{address}/call/one"), &[]).await;
    let both = room("notify", "one", &["1", "2"]);
    timeout(PATIENCE, async { while json("/api/v1/rooms/one?protocol=notify").await != both {} }).await.expect("both");
    assert_eq!(get(&format!("/sv/leave?room=one&client_id={id}")).await.0, 200);
    assert_eq!(get("/api/v1/rooms/one?protocol=simplevoice").await.0, 404);
    drop(gst);
    timeout(PATIENCE, async { while get("/api/v1/rooms/one?protocol=gst").await.0 != 404 {} }).await.expect("gone");
}
