//! The embedded server's mesh rooms, spoken to by a real WebSocket client.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use roomcast::server::{Limits, ListenAddress, Server, ServerConfig, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(10);

struct TestServer {
    server: Server,
    _end: DropGuard,
}

async fn start(config: ServerConfig) -> TestServer {
    let cancel = CancellationToken::new();
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let server = serve(ServerConfig { listen, ..config }, cancel.clone()).await.unwrap();
    TestServer { server, _end: cancel.drop_guard() }
}

async fn start_with(limits: Limits) -> TestServer {
    start(ServerConfig { limits, ..ServerConfig::default() }).await
}

impl TestServer {
    fn url(&self) -> String {
        format!("ws://{}/ws", self.server.addr())
    }

    async fn connect(&self) -> Client {
        Client(connect_async(self.url()).await.unwrap().0)
    }

    /// A client in a room that has read everything it got for joining.
    async fn join(&self, room: &str, id: &str) -> Client {
        let mut client = self.connect().await;
        client.say(&format!(r#"{{"type":"join","room":"{room}","from":"{id}"}}"#)).await;
        assert!(client.hear().await.starts_with(r#"{"type":"joined""#));
        assert!(client.hear().await.starts_with(r#"{"type":"room_members""#));
        client
    }

    /// Sends bytes and returns what comes back until the server stops to talk.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.server.addr()).await.unwrap();
        let request = request.replace("HOST", &self.server.addr().to_string());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer and its end").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text. Pings are answered underneath.
    async fn hear(&mut self) -> String {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a message").expect("an open connection").unwrap() {
                Message::Text(text) => {
                    return text.strip_suffix("\n").expect("frames end with a newline").to_owned();
                }
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// How the server closes; texts before that are skipped.
    async fn close_code(&mut self) -> Option<u16> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a close") {
                Some(Ok(Message::Close(Some(CloseFrame { code, .. })))) => return Some(code.into()),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Asserts that nothing is on its way: an answer to a ping would come after it.
    async fn hears_nothing(&mut self) {
        self.say(r#"{"type":"ping"}"#).await;
        assert_eq!(self.hear().await, PONG);
    }
}

const PONG: &str = r#"{"type":"pong","room":"","from":""}"#;

fn error(room: &str, code: &str, text: &str) -> String {
    format!(r#"{{"type":"error","room":"{room}","from":"","code":"{code}","error":"{text}"}}"#)
}

#[tokio::test]
async fn vector_1_a_join_is_trimmed_confirmed_and_listed_and_may_be_repeated() {
    let server = start(ServerConfig::default()).await;
    let mut a = server.connect().await;
    for _ in 0..2 {
        a.say(r#"{"type":"join","room":" r 1 ","from":" a "}"#).await;
        assert_eq!(a.hear().await, r#"{"type":"joined","room":"r 1","from":"a"}"#);
        assert_eq!(a.hear().await, r#"{"type":"room_members","room":"r 1","from":"","members":["a"]}"#);
    }
}

#[tokio::test]
async fn vectors_2_and_3_members_are_listed_and_messages_carry_who_really_sent_them() {
    let server = start(ServerConfig::default()).await;
    let mut a = server.join("r 1", "a").await;
    let mut b = server.join("r 1", "b").await;
    assert_eq!(a.hear().await, r#"{"type":"room_members","room":"r 1","from":"","members":["a","b"]}"#);
    for (sent, received) in [
        (
            r#"{"type":"offer","to":"a","room":"x","from":"x","extra":1,"sdp":{"type":"offer","sdp":"v=0"}}"#,
            r#"{"type":"offer","room":"r 1","from":"b","to":"a","sdp":{"type":"offer","sdp":"v=0"}}"#,
        ),
        (
            r#"{"type":"answer","to":"a","sdp":{"type":"answer","sdp":"v=0"}}"#,
            r#"{"type":"answer","room":"r 1","from":"b","to":"a","sdp":{"type":"answer","sdp":"v=0"}}"#,
        ),
        (
            r#"{"type":"candidate","to":"a","candidate":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}}"#,
            r#"{"type":"candidate","room":"r 1","from":"b","to":"a","candidate":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}}"#,
        ),
        (r#"{"type":"hangup","to":"a"}"#, r#"{"type":"hangup","room":"r 1","from":"b","to":"a"}"#),
    ] {
        b.say(sent).await;
        assert_eq!(a.hear().await, received);
    }
    drop(b);
    assert_eq!(a.hear().await, r#"{"type":"room_members","room":"r 1","from":"","members":["a"]}"#);
}

#[tokio::test]
async fn vectors_4_to_8_what_is_wrong_is_said_in_the_words_of_the_original() {
    let server = start(ServerConfig::default()).await;
    let mut a = server.connect().await;
    let offer = r#"{"type":"offer","to":"b","sdp":{"type":"offer","sdp":"v=0"}}"#;
    for (sent, answer) in [
        (offer, error("", "not_joined", "join a room first")),
        (r#"{"type":"ping"}"#, PONG.to_owned()),
        (r#"{"type":"chat"}"#, error("", "unknown_type", "unsupported message type")),
        (r#"{"type":"join","room":"r 1","from":"a b"}"#, error("", "invalid_id", "invalid client id")),
        (r#"{"type":"join","room":"","from":"a"}"#, error("", "invalid_room", "invalid room name")),
        (r#"{"type":"join","room":"r 1","from":"a"}"#, r#"{"type":"joined","room":"r 1","from":"a"}"#.to_owned()),
    ] {
        a.say(sent).await;
        assert_eq!(a.hear().await, answer, "{sent}");
    }
    a.hear().await;
    for (sent, answer) in [
        (offer, error("r 1", "target_not_found", "target client is not in the room")),
        (r#"{"type":"hangup"}"#, error("r 1", "invalid_target", "invalid target client")),
        (r#"{"type":"hangup","to":"a"}"#, error("r 1", "invalid_target", "invalid target client")),
        (
            r#"{"type":"join","room":"r 1","from":"z"}"#,
            error("r 1", "identity_locked", "connection identity is immutable"),
        ),
        (
            r#"{"type":"join","room":"other","from":"a"}"#,
            error("r 1", "already_joined", "leave the current room before joining another"),
        ),
    ] {
        a.say(sent).await;
        assert_eq!(a.hear().await, answer, "{sent}");
    }
}

#[tokio::test]
async fn a_refused_join_binds_nothing_and_a_left_room_keeps_the_id() {
    let server = start(ServerConfig::default()).await;
    let mut a = server.join("r", "a").await;
    let mut b = server.connect().await;
    b.say(r#"{"type":"join","room":"r","from":"a"}"#).await;
    assert_eq!(b.hear().await, error("", "duplicate_id", "client id already exists in room"));
    b.say(r#"{"type":"join","room":"r","from":"b"}"#).await;
    assert_eq!(b.hear().await, r#"{"type":"joined","room":"r","from":"b"}"#);
    b.hear().await;
    a.hear().await;
    b.say(r#"{"type":"leave"}"#).await;
    assert_eq!(a.hear().await, r#"{"type":"room_members","room":"r","from":"","members":["a"]}"#);
    b.hears_nothing().await;
    b.say(r#"{"type":"join","room":"r2","from":"c"}"#).await;
    assert_eq!(b.hear().await, error("", "identity_locked", "connection identity is immutable"));
    b.say(r#"{"type":"join","room":"r2","from":"b"}"#).await;
    assert_eq!(b.hear().await, r#"{"type":"joined","room":"r2","from":"b"}"#);
}

#[tokio::test]
async fn vector_9_the_51st_member_is_refused_and_gets_in_when_somebody_has_left() {
    let server = start(ServerConfig::default()).await;
    let mut members = Vec::new();
    for number in 0..50 {
        members.push(server.join("r", &format!("m{number}")).await);
    }
    let mut late = server.connect().await;
    late.say(r#"{"type":"join","room":"r","from":"late"}"#).await;
    assert_eq!(late.hear().await, error("", "room_full", "room is full"));
    members.pop();
    while {
        late.say(r#"{"type":"join","room":"r","from":"late"}"#).await;
        late.hear().await.contains("room_full")
    } {}
}

#[tokio::test]
async fn rooms_are_limited_and_empty_ones_vanish() {
    let server = start_with(Limits { rooms: 2, ..Limits::default() }).await;
    let mut first = server.join("r1", "a").await;
    let _second = server.join("r2", "a").await;
    let mut third = server.connect().await;
    third.say(r#"{"type":"join","room":"r3","from":"a"}"#).await;
    assert_eq!(third.hear().await, error("", "room_limit_reached", "room limit reached"));
    first.say(r#"{"type":"leave"}"#).await;
    first.hears_nothing().await;
    third.say(r#"{"type":"join","room":"r3","from":"a"}"#).await;
    assert_eq!(third.hear().await, r#"{"type":"joined","room":"r3","from":"a"}"#);
}

#[tokio::test]
async fn a_message_of_1_mib_passes_and_a_larger_one_closes_with_1009() {
    let server = start(ServerConfig::default()).await;
    let mut a = server.join("r", "a").await;
    let mut b = server.join("r", "b").await;
    a.hear().await;
    let frame = |bytes: usize| {
        let (head, tail) = (r#"{"type":"offer","to":"a","sdp":{"type":"offer","sdp":""#, r#""}}"#);
        format!("{head}{}{tail}", "x".repeat(bytes - head.len() - tail.len()))
    };
    b.say(&frame(1024 * 1024)).await;
    assert!(a.hear().await.len() > 1024 * 1024);
    b.say(&frame(1024 * 1024 + 1)).await;
    assert_eq!(b.close_code().await, Some(1009));
    assert_eq!(a.hear().await, r#"{"type":"room_members","room":"r","from":"","members":["a"]}"#);
}

#[tokio::test]
async fn three_bad_messages_close_with_1007() {
    let server = start(ServerConfig::default()).await;
    let mut a = server.connect().await;
    let bad = error("", "bad_message", "message is not valid JSON of this protocol");
    a.say("{").await;
    assert_eq!(a.hear().await, bad);
    a.hears_nothing().await;
    a.say(r#"{"type":7}"#).await;
    assert_eq!(a.hear().await, bad);
    a.say("[]").await;
    assert_eq!(a.hear().await, bad);
    assert_eq!(a.close_code().await, Some(1007));
}

#[tokio::test]
async fn binary_frames_are_read_as_text() {
    let server = start(ServerConfig::default()).await;
    let mut a = server.connect().await;
    a.0.send(Message::binary(&br#"{"type":"ping"}"#[..])).await.unwrap();
    assert_eq!(a.hear().await, PONG);
}

#[tokio::test]
async fn who_joins_no_room_is_closed_with_1008_even_while_talking() {
    let server = start_with(Limits { join: Duration::from_millis(300), ..Limits::default() }).await;
    let mut a = server.connect().await;
    a.say(r#"{"type":"ping"}"#).await;
    assert_eq!(a.close_code().await, Some(1008));
    let mut b = server.join("r", "b").await;
    assert!(timeout(Duration::from_millis(600), b.0.next()).await.is_err(), "a member stays");
}

#[tokio::test]
async fn a_ghost_that_answers_no_ping_loses_its_place_and_any_frame_counts_as_life() {
    let limits = Limits { ping: Duration::from_millis(100), silence: Duration::from_millis(400), ..Limits::default() };
    let server = start_with(limits).await;
    let mut alive = server.join("r", "alive").await;
    let ghost = server.join("r", "ghost").await;
    assert!(alive.hear().await.contains(r#""alive","ghost""#));
    // Not reading means not answering pings; `alive` answers them underneath while it waits.
    assert!(alive.hear().await.contains(r#""members":["alive"]"#));
    drop(ghost);
    assert!(timeout(Duration::from_millis(800), alive.0.next()).await.is_ok_and(|frame| frame.is_some()), "pinged");
}

#[tokio::test]
async fn a_receiver_that_stops_reading_is_closed_with_1013_and_the_sender_goes_on() {
    let limits = Limits { send_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = start_with(limits).await;
    let mut sender = server.join("r", "sender").await;
    let mut stuck = server.join("r", "stuck").await;
    sender.hear().await;
    let frame =
        format!(r#"{{"type":"offer","to":"stuck","sdp":{{"type":"offer","sdp":"{}"}}}}"#, "x".repeat(1_000_000));
    let mut sent = 0;
    loop {
        sender.say(&frame).await;
        sender.say(r#"{"type":"ping"}"#).await;
        sent += 1;
        assert!(sent < 400, "64 frames and what the sockets hold must fill up");
        if sender.hear().await != PONG {
            break;
        }
    }
    assert_eq!(stuck.close_code().await, Some(1013));
}

#[tokio::test]
async fn a_flood_is_slowed_and_nothing_of_it_is_lost() {
    let server = start(ServerConfig::default()).await;
    let mut a = server.join("r", "a").await;
    let mut b = server.join("r", "b").await;
    a.hear().await;
    let started = Instant::now();
    for number in 0..200 {
        b.say(&format!(r#"{{"type":"candidate","to":"a","candidate":{{"candidate":"candidate:{number}"}}}}"#)).await;
    }
    for number in 0..200 {
        assert!(a.hear().await.contains(&format!("candidate:{number}\"")), "in order");
    }
    assert!(started.elapsed() > Duration::from_millis(900), "the first hundred pass at once, the others in a second");
}

#[tokio::test]
async fn origins_are_checked() {
    for (allowed, origin, accepted) in [
        ("", None, true),
        ("", Some("http://HOST"), true),
        ("", Some("http://evil.example"), false),
        ("", Some("null"), false),
        ("app.example", Some("https://app.example"), true),
        ("*", Some("https://any.example"), true),
    ] {
        let server = start(ServerConfig { origins: allowed.parse().unwrap(), ..ServerConfig::default() }).await;
        let mut request = server.url().into_client_request().unwrap();
        if let Some(origin) = origin {
            let origin = origin.replace("HOST", &server.server.addr().to_string());
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        match connect_async(request).await {
            Ok(_) => assert!(accepted, "{origin:?}"),
            Err(tungstenite::Error::Http(answer)) => {
                assert_eq!((answer.status().as_u16(), accepted), (403, false), "{origin:?}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_websocket_gets_the_status_that_says_why() {
    let server = start(ServerConfig::default()).await;
    let upgrade = "Upgrade: websocket\r\nConnection: keep-alive, upgrade, close\r\n";
    for (request, status) in [
        ("GET /ws HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n".to_owned(), "426 "),
        ("POST /ws HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(), "405 "),
        (format!("GET /ws HTTP/1.1\r\nHost: HOST\r\n{upgrade}\r\n"), "400 "),
        (format!("GET /ws HTTP/1.1\r\nHost: HOST\r\n{upgrade}Sec-WebSocket-Version: 8\r\n\r\n"), "400 "),
        (format!("GET /ws HTTP/1.1\r\nHost: HOST\r\nOrigin: http://evil\r\n{upgrade}\r\n"), "403 "),
        ("GET /nothing HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n".to_owned(), "404 "),
        ("POST /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(), "405 "),
        ("HEAD /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n".to_owned(), "200 "),
    ] {
        let answer = server.raw(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}\n{answer}");
    }
    let answer = server.raw("GET /ws HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await.to_lowercase();
    assert!(answer.contains("upgrade: websocket"), "{answer}");
    let healthy = server.raw("GET /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
    assert!(healthy.ends_with("\r\n\r\nok\n"), "{healthy}");
}

#[tokio::test]
async fn the_page_gets_the_ice_servers_as_they_were_given() {
    let rtc_config = r#"{"iceServers":[{"urls":"turn:t","username":"u","credential":"c"}]}"#;
    let config = ServerConfig { rtc_config: rtc_config.parse().unwrap(), ..ServerConfig::default() };
    let server = start(config).await;
    let answer = server.raw("GET /config.js HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
    let expected = format!("\r\n\r\nwindow.__APP_CONFIG__ = {{\"rtcConfig\":{rtc_config}}};\n");
    assert!(answer.ends_with(&expected), "{answer}");
    assert!(answer.contains("content-type: text/javascript"), "{answer}");
    assert!(answer.contains("cache-control: no-store"), "{answer}");
}

#[tokio::test]
async fn pages_are_served_typed_guarded_and_not_sent_twice() {
    let server = start(ServerConfig::default()).await;
    let get =
        |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{header}\r\n");
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/watch/r%201", "text/html; charset=utf-8"),
        ("/styles.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/app.state.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = server.raw(&get(path, "")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        for header in
            [&format!("content-type: {content_type}"), "content-security-policy: default-src 'self'", "nosniff"]
        {
            assert!(answer.contains(header), "{path}: {header}");
        }
        let etag = answer.lines().find_map(|line| line.strip_prefix("etag: ")).expect("an etag");
        let again = server.raw(&get(path, &format!("If-None-Match: {etag}\r\n"))).await;
        assert!(again.starts_with("HTTP/1.1 304 ") && again.ends_with("\r\n\r\n"), "{path}: {again}");
    }
    for path in ["/app.nothing.js", "/watch/a%0ab", "/vendor", "/.."] {
        let answer = server.raw(&get(path, "")).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_shutdown_closes_everybody_with_1001_and_says_unavailable_meanwhile() {
    let cancel = CancellationToken::new();
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let server = serve(ServerConfig { listen, ..ServerConfig::default() }, cancel.clone()).await.unwrap();
    let test = TestServer { server, _end: CancellationToken::new().drop_guard() };
    let mut member = test.join("r", "a").await;
    let mut outside = test.connect().await;
    outside.hears_nothing().await;
    cancel.cancel();
    let closing = test.raw("GET /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
    assert!(closing.starts_with("HTTP/1.1 503 ") && closing.ends_with("unavailable\n"), "{closing}");
    assert_eq!(member.close_code().await, Some(1001));
    assert_eq!(outside.close_code().await, Some(1001));
    let addr = test.server.addr();
    timeout(PATIENCE, test.server.closed()).await.expect("a server that ends");
    assert!(TcpStream::connect(addr).await.is_err(), "the port is free");
}
