//! The embedded server's producers and consumers at /gstrs, spoken to by a real WebSocket client, well-behaved and not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use roomcast::server::{Limits, ListenAddress, Server, ServerConfig, serve};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct TestServer {
    server: Server,
    _end: DropGuard,
}

async fn start(limits: Limits) -> TestServer {
    let cancel = CancellationToken::new();
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let config = ServerConfig { listen, limits, ..ServerConfig::default() };
    TestServer { server: serve(config, cancel.clone()).await.unwrap(), _end: cancel.drop_guard() }
}

impl TestServer {
    fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.server.addr())
    }

    async fn connect(&self, path: &str) -> Client {
        Client(connect_async(self.url(path)).await.unwrap().0)
    }

    /// A client with roles that has read everything it got for them, and its id.
    async fn enter(&self, path: &str, roles: Value) -> (Client, String) {
        let mut client = self.connect(path).await;
        let welcome = client.hear().await;
        client.say(&json!({ "type": "setPeerStatus", "roles": roles, "meta": { "name": "n" } })).await;
        client.hear_list().await;
        (client, welcome["peerId"].as_str().unwrap().to_owned())
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a message").expect("an open connection").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Asks for the producers, and skips what comes before the answer.
    async fn hear_list(&mut self) -> Value {
        self.say(&json!({ "type": "list" })).await;
        loop {
            let message = self.hear().await;
            if message["type"] == "list" {
                return message["producers"].clone();
            }
        }
    }

    /// How the server closes; messages before that are skipped.
    async fn close_code(&mut self) -> Option<u16> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a close") {
                Some(Ok(Message::Close(Some(frame)))) => return Some(frame.code.into()),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }
}

#[tokio::test]
async fn a_session_is_joined_relayed_and_ended_with_its_producer_and_spaces_are_apart() {
    let server = start(Limits::default()).await;
    let (mut producer, p) = server.enter("/gstrs", json!(["producer"])).await;
    let (mut consumer, c) = server.enter("/gstrs", json!(["listener"])).await;
    let (mut elsewhere, _) = server.enter("/gstrs/other", json!(["listener"])).await;
    assert_eq!(consumer.hear_list().await, json!([{ "id": p, "meta": { "name": "n" } }]));
    assert_eq!(elsewhere.hear_list().await, json!([]));
    elsewhere.say(&json!({ "type": "startSession", "peerId": p })).await;
    assert_eq!(elsewhere.hear().await["details"], format!("Peer with ID '{p}' not found"));

    consumer.say(&json!({ "type": "startSession", "peerId": p })).await;
    let started = consumer.hear().await;
    assert_eq!((&started["type"], &started["peerId"]), (&json!("sessionStarted"), &json!(p)));
    let session = started["sessionId"].clone();
    let start = json!({ "type": "startSession", "peerId": c, "sessionId": session, "offer": null });
    assert_eq!(producer.hear().await, start);
    let offer = json!({ "type": "peer", "sessionId": session, "sdp": { "type": "offer", "sdp": "v=0\r\n" } });
    producer.say(&offer).await;
    assert_eq!(consumer.hear().await, offer);
    consumer.say(&offer).await;
    let details = format!("cannot forward offer from \"{c}\" to \"{p}\" as \"{c}\" is not the producer");
    assert_eq!(consumer.hear().await, json!({ "type": "error", "details": details }));
    let ice =
        json!({ "type": "peer", "sessionId": session, "ice": { "candidate": "candidate:1", "sdpMLineIndex": 0 } });
    consumer.say(&ice).await;
    assert_eq!(producer.hear().await, ice);
    elsewhere.say(&ice).await;

    drop(producer);
    assert_eq!(consumer.hear().await, json!({ "type": "endSession", "sessionId": session }));
    assert_eq!(consumer.hear().await["roles"], json!([]));
    assert_eq!(elsewhere.hear_list().await, json!([]), "whoever is elsewhere has heard nothing of all this");
}

#[tokio::test]
async fn who_misbehaves_is_told_and_closed_and_nobody_else_notices() {
    let limits = Limits { message_bytes: 10_000, join: Duration::from_millis(300), members: 4, ..Limits::default() };
    let server = start(limits).await;
    let (mut good, _) = server.enter("/gstrs", json!(["listener"])).await;
    let deep = format!(r#"{{"type":"setPeerStatus","meta":{}}}"#, "[".repeat(5_000));
    for (texts, code) in [
        (vec!["nonsense", r#"{"type":"startSession"}"#, deep.as_str()], Some(1007)),
        (vec![r#"{"type":"list"}"#, &"x".repeat(20_000)], Some(1009)),
        // Of unknown types nothing is said, and nothing else either.
        (vec![], Some(1008)),
    ] {
        let mut bad = server.connect("/gstrs").await;
        for text in &texts {
            // It may be closed already for what came before.
            bad.0.send(Message::text(*text)).await.ok();
        }
        assert_eq!(bad.close_code().await, code, "{:?}", texts.first());
    }
    good.say(&json!({ "type": "of the future", "x": 1 })).await;
    assert_eq!(good.hear_list().await, json!([]));

    let mut others = Vec::new();
    while others.len() < 3 {
        // A connection that was closed above frees its place in a moment.
        let mut other = server.connect("/gstrs").await;
        if other.0.send(Message::text(r#"{"type":"list"}"#)).await.is_ok()
            && matches!(timeout(PATIENCE, other.0.next()).await, Ok(Some(Ok(Message::Text(_)))))
        {
            others.push(other);
        }
    }
    assert_eq!(server.connect("/gstrs").await.close_code().await, Some(1013), "the fifth");
    assert_eq!(good.hear_list().await, json!([]));
}

#[tokio::test]
async fn doors_are_those_of_every_websocket() {
    let server = start(Limits::default()).await;
    let refused = async |path: &str, origin: &str| {
        let mut request = server.url(path).into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        match connect_async(request).await {
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            other => panic!("{path} {origin}: {:?}", other.map(|_| "accepted")),
        }
    };
    assert_eq!(refused("/gstrs", "http://evil.example").await, 403);
    assert_eq!(refused("/gstrs/%0A", "http://evil.example").await, 404);
    let plain = status_of_get(&server, "/gstrs").await;
    assert_eq!(plain, 426);
}

/// The status of a plain GET.
async fn status_of_get(server: &TestServer, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(server.server.addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.server.addr());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    answer.split_whitespace().nth(1).unwrap().parse().unwrap()
}
