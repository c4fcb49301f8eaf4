//! Our mesh client in rooms of our own server, and at doors that stay shut.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::time::Duration;

use roomcast::server::{ListenAddress, Server, ServerConfig, serve};
use roomcast::signaling::{Command, Event, JoinOptions, OfferRole, RoomUrl, Session, join};
use roomcast::terms::{IceCandidate, ParticipantId, SdpType, SessionDescription};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(15);

async fn start(port: u16, cancel: &CancellationToken) -> Server {
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port };
    serve(ServerConfig { listen, ..ServerConfig::default() }, cancel.clone()).await.unwrap()
}

fn enter(url: &str) -> Session {
    join(url.parse().unwrap(), JoinOptions::default(), CancellationToken::new())
}

fn seat(server: &Server, rest: &str) -> Session {
    enter(&format!("mesh+ws://{}/ws?room=r{rest}", server.addr()))
}

async fn next(session: &mut Session) -> Event {
    timeout(PATIENCE, session.events.recv()).await.expect("an event in time").expect("a session that lives")
}

fn id(name: &str) -> ParticipantId {
    ParticipantId::new(name)
}

#[tokio::test]
async fn two_clients_meet_talk_and_part() {
    let cancel = CancellationToken::new();
    let server = start(0, &cancel).await;
    let mut a = seat(&server, "&id=a");
    assert_eq!(next(&mut a).await, Event::Joined { me: id("a"), ice_servers: vec![] });
    let mut b = seat(&server, "&id=b&call=none");
    assert_eq!(next(&mut b).await, Event::Joined { me: id("b"), ice_servers: vec![] });
    assert_eq!(next(&mut b).await, Event::PeerJoined { peer: id("a"), offer: OfferRole::WeWait });
    assert_eq!(next(&mut a).await, Event::PeerJoined { peer: id("b"), offer: OfferRole::WeOffer });

    let offer = SessionDescription { kind: SdpType::Offer, sdp: "v=0\r\n".into() };
    a.commands.send(Command::Description { peer: id("b"), description: offer.clone() }).await.unwrap();
    assert_eq!(next(&mut b).await, Event::Description { peer: id("a"), description: offer });
    let candidate = IceCandidate { candidate: "candidate:1".into(), sdp_mid: Some("0".into()), ..Default::default() };
    b.commands.send(Command::Candidate { peer: id("a"), candidate: Some(candidate.clone()) }).await.unwrap();
    assert_eq!(next(&mut a).await, Event::Candidate { peer: id("b"), candidate: Some(candidate) });

    timeout(PATIENCE, a.closed()).await.expect("a close in time").unwrap();
    assert_eq!(next(&mut b).await, Event::SessionEnded { peer: id("a") });
    assert_eq!(next(&mut b).await, Event::PeerLeft { peer: id("a") });
}

#[tokio::test]
async fn a_server_that_restarts_is_joined_again_under_the_same_id() {
    let first = CancellationToken::new();
    let server = start(0, &first).await;
    let port = server.addr().port();
    let mut session = seat(&server, "");
    let Event::Joined { me, .. } = next(&mut session).await else { panic!("not joined") };
    assert!(me.as_str().starts_with("zzz-gw-") && me.as_str().len() == 15, "{me}");
    first.cancel();
    server.closed().await;
    let Event::Reconnecting { attempt: 1, reason, .. } = next(&mut session).await else { panic!("no reconnect") };
    assert!(reason.contains("1001"), "{reason}");
    let second = CancellationToken::new();
    let _server = start(port, &second).await;
    loop {
        match next(&mut session).await {
            Event::Reconnecting { .. } => {}
            event => break assert_eq!(event, Event::Joined { me, ice_servers: vec![] }),
        }
    }
    timeout(PATIENCE, session.closed()).await.expect("a close in time").unwrap();
}

/// A listener that answers each connection with the same bytes.
async fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                stream.write_all(answer).await.ok();
            }
        }
    });
    addr.to_string()
}

#[tokio::test]
async fn a_door_that_stays_shut_ends_the_first_join_and_says_what_to_do() {
    let cancel = CancellationToken::new();
    let server = start(0, &cancel).await;
    let _holder = {
        let mut holder = seat(&server, "&id=taken");
        next(&mut holder).await;
        holder
    };
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let no_tls = answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let page = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    for (url, expected) in [
        (format!("mesh+ws://{unused}/ws?room=r"), "cannot reach 127.0.0.1:"),
        ("mesh+ws://no-such-host.invalid/ws?room=r".to_owned(), "cannot reach no-such-host.invalid"),
        (format!("mesh+wss://{no_tls}/ws?room=r"), "TLS with 127.0.0.1:"),
        (format!("mesh+ws://{page}/ws?room=r"), "answers HTTP 200 instead of a WebSocket; check the path"),
        (format!("mesh+ws://{}/other?room=r", server.addr()), "instead of a WebSocket; check the path"),
        (
            format!("mesh+ws://{}/ws?room=r&origin=http://evil", server.addr()),
            "refuses the origin http://evil (HTTP 403)",
        ),
        (
            format!("mesh+ws://{}/ws?room=r&id=taken", server.addr()),
            "the id \"taken\" is taken in room \"r\"; choose another",
        ),
    ] {
        let url: RoomUrl = url.parse().unwrap();
        let mut session = join(url.clone(), JoinOptions::default(), CancellationToken::new());
        assert_eq!(timeout(PATIENCE, session.events.recv()).await.expect("an end in time"), None, "{url}");
        let error = session.closed().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_cancelled_session_leaves_the_room() {
    let cancel = CancellationToken::new();
    let server = start(0, &cancel).await;
    let mut stays = seat(&server, "&id=stays");
    next(&mut stays).await;
    let leave = CancellationToken::new();
    let url = format!("mesh+ws://{}/ws?room=r&id=goes", server.addr()).parse().unwrap();
    let mut goes = join(url, JoinOptions::default(), leave.clone());
    next(&mut goes).await;
    assert_eq!(next(&mut stays).await, Event::PeerJoined { peer: id("goes"), offer: OfferRole::WeOffer });
    leave.cancel();
    assert_eq!(next(&mut stays).await, Event::PeerLeft { peer: id("goes") });
    timeout(PATIENCE, goes.closed()).await.expect("a close in time").unwrap();
}
