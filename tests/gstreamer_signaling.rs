//! GStreamer's text protocol over real sockets: the embedded server against a client that says anything, and our own client
//! in its rooms and sessions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use roomcast::server::{Limits, ListenAddress, Server, ServerConfig, serve};
use roomcast::signaling::{Command, Event, JoinOptions, OfferRole, Session, join};
use roomcast::terms::{IceCandidate, ParticipantId, SdpType, SessionDescription};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(15);

async fn start(port: u16, limits: Limits, cancel: &CancellationToken) -> Server {
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port };
    serve(ServerConfig { listen, limits, ..ServerConfig::default() }, cancel.clone()).await.unwrap()
}

async fn server() -> (Server, tokio_util::sync::DropGuard) {
    let cancel = CancellationToken::new();
    (start(0, Limits::default(), &cancel).await, cancel.drop_guard())
}

/// A peer that says whatever a test wants.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn dial(server: &Server, path: &str) -> Self {
        Self(connect_async(format!("ws://{}{path}", server.addr())).await.unwrap().0)
    }

    async fn hello(server: &Server, uid: &str) -> Self {
        let mut client = Self::dial(server, "/gst").await;
        assert_eq!(client.ask(&format!("HELLO {uid}")).await, "HELLO");
        client
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn ask(&mut self, text: &str) -> String {
        self.say(text).await;
        self.hear().await
    }

    async fn next(&mut self) -> Message {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a message").expect("an open connection").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    async fn hear(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.as_str().to_owned(),
            other => panic!("{other:?} is no text"),
        }
    }

    /// How the server closes; what comes before is skipped.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.next().await {
                let CloseFrame { code, reason } = frame.expect("a code");
                return (code.into(), reason.as_str().to_owned());
            }
        }
    }
}

#[tokio::test]
async fn any_path_below_gst_and_the_root_speak_the_protocol_and_a_plain_get_does_not() {
    let (server, _guard) = server().await;
    for (n, path) in ["", "/", "/gst", "/gst/", "/gst/any/thing"].into_iter().enumerate() {
        let mut client = Client::dial(&server, path).await;
        assert_eq!(client.ask(&format!("HELLO a{n}")).await, "HELLO", "{path}");
    }
    let http = |path: &str| reqwest::get(format!("http://{}{path}", server.addr()));
    rustls::crypto::ring::default_provider().install_default().ok();
    let page = http("/").await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<html"), "the call page");
    assert_eq!(http("/gst").await.unwrap().status(), 426);
    for path in ["/", "/gst"] {
        let mut foreign = format!("ws://{}{path}", server.addr()).into_client_request().unwrap();
        foreign.headers_mut().insert("Origin", "http://evil.example".parse().unwrap());
        match connect_async(foreign).await {
            Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 403, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn rooms_relay_between_their_members() {
    let (server, _guard) = server().await;
    let mut a = Client::hello(&server, "a").await;
    assert_eq!(a.ask("ROOM r").await, "ROOM_OK ");
    let mut b = Client::hello(&server, "b").await;
    assert_eq!(b.ask("ROOM r").await, "ROOM_OK a");
    assert_eq!(a.hear().await, "ROOM_PEER_JOINED b");
    b.say("ROOM_PEER_MSG a  two  words ").await;
    assert_eq!(a.hear().await, "ROOM_PEER_MSG b two  words ");
    assert_eq!(b.ask("ROOM_PEER_LIST").await, "ROOM_PEER_LIST a");
    assert_eq!(b.ask("ROOM_PEER_MSG a").await, "ERROR invalid msg");
    assert_eq!(b.ask("HELLO b").await, "ERROR invalid msg, already in room");
    drop(b);
    assert_eq!(a.hear().await, "ROOM_PEER_LEFT b");
}

#[tokio::test]
async fn a_session_relays_text_and_bytes_and_ends_for_both() {
    let (server, _guard) = server().await;
    let (mut a, mut b) = (Client::hello(&server, "a").await, Client::hello(&server, "b").await);
    assert_eq!(a.ask("HELLO a").await, "ERROR invalid msg", "said twice");
    assert_eq!(a.ask("SESSION b").await, "SESSION_OK");
    a.say("ROOM  x ").await;
    assert_eq!(b.hear().await, "ROOM  x ");
    b.0.send(Message::binary(vec![0, 255, 7])).await.unwrap();
    assert_eq!(a.next().await, Message::binary(vec![0, 255, 7]));
    a.0.close(None).await.unwrap();
    assert_eq!(b.closed().await, (1000, String::new()));
    let mut again = Client::hello(&server, "b").await;
    assert_eq!(again.ask("SESSION a").await, "ERROR peer 'a' not found");
}

#[tokio::test]
async fn whoever_does_not_begin_with_a_good_hello_is_closed_in_the_words_of_the_original() {
    let (server, _guard) = server().await;
    let _a = Client::hello(&server, "a").await;
    for (first, reason) in [
        (Message::text("HELLO a"), "invalid peer uid"),
        (Message::text("HELLO"), "invalid peer uid"),
        (Message::text("HELLO b "), "invalid peer uid"),
        (Message::text("HELLO b\0"), "invalid peer uid"),
        (Message::text(format!("HELLO {}", "x".repeat(65))), "invalid peer uid"),
        (Message::text("FOO x"), "invalid protocol"),
        (Message::text(""), "invalid protocol"),
        (Message::binary(b"HELLO b".to_vec()), "invalid protocol"),
    ] {
        let mut client = Client::dial(&server, "/gst").await;
        client.0.send(first.clone()).await.unwrap();
        assert_eq!(client.closed().await, (1002, reason.to_owned()), "{first:?}");
    }
}

#[tokio::test]
async fn too_much_too_many_and_too_late_are_refused_and_the_room_goes_on() {
    let cancel = CancellationToken::new();
    let soon = Duration::from_millis(300);
    let server = start(0, Limits { hello: soon, registered: 2 * soon, ..Limits::default() }, &cancel).await;
    let mut silent = Client::dial(&server, "/gst").await;
    assert_eq!(silent.closed().await, (1002, "invalid protocol".to_owned()));
    let (mut a, mut b) = (Client::hello(&server, "a").await, Client::hello(&server, "b").await);
    assert_eq!(a.ask("SESSION b").await, "SESSION_OK");
    let mut idle = Client::hello(&server, "idle").await;
    assert_eq!(idle.closed().await, (1000, "idle for too long".to_owned()));
    a.say("still here").await;
    assert_eq!(b.hear().await, "still here", "nobody in a session is idle");

    let mut members = Vec::new();
    for n in 0..50 {
        let mut member = Client::hello(&server, &format!("m{n}")).await;
        assert!(member.ask("ROOM r").await.starts_with("ROOM_OK "));
        members.push(member);
    }
    let mut late = Client::hello(&server, "late").await;
    assert_eq!(late.ask("ROOM r").await, "ERROR room is full");
    assert_eq!(late.ask("ROOM other").await, "ROOM_OK ");
    for n in 1..50 {
        assert_eq!(members[0].hear().await, format!("ROOM_PEER_JOINED m{n}"));
    }
    let mut big = members.remove(49);
    assert_eq!(big.ask("\0").await, "ERROR invalid msg, already in room");
    big.0.send(Message::binary(vec![255; 100])).await.unwrap();
    assert_eq!(big.hear().await, "ERROR invalid msg, already in room");
    // It may be closed before it has sent everything.
    big.0.send(Message::text("x".repeat(1024 * 1024 + 1))).await.ok();
    assert_eq!(big.closed().await.0, 1009);
    assert_eq!(members[0].hear().await, "ROOM_PEER_LEFT m49");
    drop(late);
    let mut late = Client::hello(&server, "later").await;
    assert!(late.ask("ROOM r").await.ends_with(" m48"));
    cancel.cancel();
    assert_eq!(late.closed().await.0, 1001);
}

fn enter(server: &Server, rest: &str) -> Session {
    let url = format!("gst+ws://{}{rest}", server.addr());
    join(url.parse().unwrap(), JoinOptions::default(), CancellationToken::new())
}

async fn next(session: &mut Session) -> Event {
    timeout(PATIENCE, session.events.recv()).await.expect("an event in time").expect("a session that lives")
}

fn id(name: &str) -> ParticipantId {
    ParticipantId::new(name)
}

fn joined(name: &str) -> Event {
    Event::Joined { me: id(name), ice_servers: vec![] }
}

fn offer() -> SessionDescription {
    SessionDescription { kind: SdpType::Offer, sdp: "v=0\r\nm=audio 9 x 0\r\na=mid:0\r\n".into() }
}

#[tokio::test]
async fn two_of_our_clients_meet_in_a_room_talk_and_part() {
    let (server, _guard) = server().await;
    let mut a = enter(&server, "/gst/r?id=a");
    assert_eq!(next(&mut a).await, joined("a"));
    let mut b = enter(&server, "/r?id=b");
    assert_eq!(next(&mut b).await, joined("b"));
    assert_eq!(next(&mut b).await, Event::PeerJoined { peer: id("a"), offer: OfferRole::WeOffer });
    assert_eq!(next(&mut a).await, Event::PeerJoined { peer: id("b"), offer: OfferRole::WeWait });
    b.commands.send(Command::Description { peer: id("a"), description: offer() }).await.unwrap();
    assert_eq!(next(&mut a).await, Event::Description { peer: id("b"), description: offer() });
    let candidate = IceCandidate { candidate: "candidate:1".into(), sdp_mid: Some("0".into()), ..Default::default() };
    b.commands.send(Command::Candidate { peer: id("a"), candidate: Some(candidate.clone()) }).await.unwrap();
    let candidate = Some(IceCandidate { sdp_m_line_index: Some(0), ..candidate });
    assert_eq!(next(&mut a).await, Event::Candidate { peer: id("b"), candidate });
    timeout(PATIENCE, b.closed()).await.expect("a close in time").unwrap();
    assert_eq!(next(&mut a).await, Event::PeerLeft { peer: id("b") });
}

#[tokio::test]
async fn one_of_our_clients_calls_another_who_waits_and_waits_again_after_the_end() {
    let (server, _guard) = server().await;
    let mut waiting = enter(&server, "/gst/?id=b");
    assert_eq!(next(&mut waiting).await, joined("b"));
    for _ in 0..2 {
        let mut calling = enter(&server, "/gst?call=b&id=a");
        assert_eq!(next(&mut calling).await, joined("a"));
        assert_eq!(next(&mut calling).await, Event::PeerJoined { peer: id("b"), offer: OfferRole::WeWait });
        // We ask for an offer first.
        let caller = id("caller");
        let asked = Event::PeerJoined { peer: caller.clone(), offer: OfferRole::WeOffer };
        assert_eq!(next(&mut waiting).await, asked);
        let command = Command::Description { peer: caller.clone(), description: offer() };
        waiting.commands.send(command).await.unwrap();
        assert_eq!(next(&mut calling).await, Event::Description { peer: id("b"), description: offer() });
        timeout(PATIENCE, calling.closed()).await.expect("a close in time").unwrap();
        assert_eq!(next(&mut waiting).await, Event::PeerLeft { peer: caller });
        assert!(matches!(next(&mut waiting).await, Event::Reconnecting { .. }));
        assert_eq!(next(&mut waiting).await, joined("b"));
    }
}

#[tokio::test]
async fn who_is_not_there_cannot_be_called_and_a_server_that_restarts_is_joined_again() {
    let first = CancellationToken::new();
    let server = start(0, Limits::default(), &first).await;
    let mut nobody = enter(&server, "/gst?call=nobody");
    assert_eq!(timeout(PATIENCE, nobody.events.recv()).await.expect("an end in time"), None);
    let error = nobody.closed().await.unwrap_err().to_string();
    assert!(error.contains("nobody cannot be called: peer 'nobody' not found; it has to be connected"), "{error}");

    let mut session = enter(&server, "/gst/r");
    let Event::Joined { me, .. } = next(&mut session).await else { panic!("not joined") };
    assert!(me.as_str().starts_with("rc-") && me.as_str().len() == 11, "{me}");
    let port = server.addr().port();
    first.cancel();
    server.closed().await;
    let Event::Reconnecting { attempt: 1, reason, .. } = next(&mut session).await else { panic!("no reconnect") };
    assert!(reason.contains("1001"), "{reason}");
    let second = CancellationToken::new();
    let _server = start(port, Limits::default(), &second).await;
    loop {
        match next(&mut session).await {
            Event::Reconnecting { .. } => {}
            event => break assert_eq!(event, Event::Joined { me, ice_servers: vec![] }),
        }
    }
    timeout(PATIENCE, session.closed()).await.expect("a close in time").unwrap();
}
