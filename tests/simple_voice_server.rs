//! The embedded server's Simple Voice rooms, asked over real HTTP in every way that is allowed. The numbers are those of
//! the vectors in the protocol's description.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::time::Duration;

use roomcast::server::{Limits, ListenAddress, RtcConfig, Server, ServerConfig, VoiceLimits, serve};
use roomcast::signaling::{Command, Event, JoinOptions, OfferRole, Session, join};
use roomcast::terms::{ParticipantId, SdpType, SessionDescription};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(15);
const OFFER: &str = r#"{"type":"offer","sdp":"v=0\r\n"}"#;
const ANSWER: &str = r#"{"type":"answer","sdp":"v=0\r\n"}"#;
const ROOM_FULL: &str = r#"{"type":"RoomFull","msg":"The room you are trying to join is already full"}"#;
const INVALID_STATE: &str = r#"{"type":"InvalidState","msg":"State is invalid!"}"#;

struct TestServer {
    server: Server,
    _end: DropGuard,
}

async fn start(voice: VoiceLimits) -> TestServer {
    let cancel = CancellationToken::new();
    let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
    let rtc_config: RtcConfig = r#"{"iceServers":[{"urls":"stun:a"}]}"#.parse().unwrap();
    let limits = Limits { voice, ..Limits::default() };
    let config = ServerConfig { listen, limits, rtc_config, ..ServerConfig::default() };
    TestServer { server: serve(config, cancel.clone()).await.unwrap(), _end: cancel.drop_guard() }
}

impl TestServer {
    /// A request as it stands; the status line with the headers, and the body.
    async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.server.addr()).await.unwrap();
        let (host, length) = (self.server.addr(), body.len());
        let request = format!(
            "{method} /sv/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer and its end").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// The body of a reply with status 200.
    async fn post(&self, act: &str, parameters: &[(&str, &str)]) -> String {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let (head, body) =
            self.request("POST", act, "Content-Type: application/x-www-form-urlencoded\r\n", &form).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        assert!(!head.contains("access-control"), "{head}");
        body
    }

    /// Joins a room with an offer, and gives the id.
    async fn join(&self, room: &str) -> String {
        let reply: Value = serde_json::from_str(&self.post("join", &[("room", room), ("data", OFFER)]).await).unwrap();
        reply["ID"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
    }

    async fn status(&self, method: &str, path: &str, headers: &str, body: &str) -> u16 {
        let (head, _) = self.request(method, path, headers, body).await;
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn vectors_10_and_12_a_call_from_the_first_join_to_the_last_leave() {
    let server = start(VoiceLimits::default()).await;
    let reply = server.post("join", &[("room", "r"), ("data", OFFER)]).await;
    let first = serde_json::from_str::<Value>(&reply).unwrap()["ID"].as_str().unwrap().to_owned();
    assert_eq!(reply, format!(r#"{{"ID":"{first}","Servers":[{{"urls":["stun:a"]}}]}}"#));
    assert_eq!(first.len(), 16);
    let poll = async { server.post("get_answer", &[("client_id", &first)]).await };
    let call = async {
        let reply = server.post("join", &[("room", "r"), ("data", OFFER)]).await;
        let second = serde_json::from_str::<Value>(&reply).unwrap()["ID"].as_str().unwrap().to_owned();
        assert_eq!(reply, format!(r#"{{"ID":"{second}","data":{OFFER}}}"#));
        assert_eq!(server.post("join", &[("room", "r")]).await, ROOM_FULL);
        assert_eq!(server.post("answer", &[("client_id", &second), ("data", ANSWER)]).await, "{}");
        second
    };
    let (answer, second) = tokio::join!(poll, call);
    // The poll may come after the answer, or be held until then.
    assert_eq!(answer, format!(r#"{{"data":{ANSWER}}}"#));
    assert_eq!(server.post("leave", &[("client_id", &second), ("room", "r")]).await, "");
    assert_eq!(server.post("get_answer", &[("client_id", &first)]).await, INVALID_STATE);
    assert_eq!(server.post("leave", &[("client_id", &first), ("room", "r")]).await, "");
    server.join("r").await;
}

#[tokio::test]
async fn parameters_are_read_from_query_form_and_json() {
    let server = start(VoiceLimits { requests_per_second: 1000, ..VoiceLimits::default() }).await;
    let form =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs([("room", "r"), ("data", OFFER)]).finish();
    let offer: Value = serde_json::from_str(OFFER).unwrap();
    let json_type = "content-type: application/json; charset=utf-8\r\n";
    for (method, path, headers, body) in [
        ("GET", format!("join?{form}"), "", String::new()),
        ("POST", format!("join?{form}"), "", String::new()),
        ("POST", "join".to_owned(), "", form.clone()),
        ("POST", "join".to_owned(), json_type, json!({ "room": "r", "data": offer }).to_string()),
        ("POST", "join".to_owned(), json_type, json!({ "room": "r", "data": OFFER }).to_string()),
    ] {
        let (head, reply) = server.request(method, &path, headers, &body).await;
        let reply: Value = serde_json::from_str(&reply).unwrap_or_else(|_| panic!("{head}"));
        let id = reply["ID"].as_str().unwrap_or_else(|| panic!("{method} {path} {body}: {reply}"));
        let second = server.post("join", &[("room", "r")]).await;
        assert!(second.contains(r#""data":{"type":"offer""#), "{second}");
        assert_eq!(server.request("GET", &format!("leave?client_id={id}&room=r"), "", "").await.1, "");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_an_invalid_state() {
    let server = start(VoiceLimits { requests_per_second: 1000, ..VoiceLimits::default() }).await;
    let long = "x".repeat(65);
    for (act, parameters) in [
        ("join", vec![]),
        ("join", vec![("room", "")]),
        ("join", vec![("room", "a b")]),
        ("join", vec![("room", &*long)]),
        ("join", vec![("room", "r"), ("data", "nonsense")]),
        ("join", vec![("room", "r"), ("data", "[[[[[[")]),
        ("join", vec![("room", "r"), ("data", ANSWER)]),
        ("join", vec![("room", "r"), ("data", r#"{"type":"banana","sdp":""}"#)]),
        ("offer", vec![("client_id", "nobody"), ("data", OFFER)]),
        ("get_answer", vec![]),
        ("get_answer", vec![("client_id", "nobody")]),
        ("answer", vec![("client_id", "nobody"), ("data", ANSWER)]),
    ] {
        assert_eq!(server.post(act, &parameters).await, INVALID_STATE, "{act} {parameters:?}");
    }
    let json = "content-type: application/json\r\n";
    for body in ["", "[", "[1]", "7", r#"{"room":7}"#, &"[".repeat(10_000)] {
        let (_, reply) = server.request("POST", "join", json, body).await;
        assert_eq!(reply, INVALID_STATE, "{body}");
    }
    assert_eq!(server.post("leave", &[]).await, "");
}

#[tokio::test]
async fn http_itself_is_limited() {
    let limits =
        VoiceLimits { request_time: Duration::from_millis(200), requests_per_second: 5, ..VoiceLimits::default() };
    let server = start(limits).await;
    assert_eq!(server.status("GET", "other", "", "").await, 404);
    assert_eq!(server.status("PUT", "join", "", "").await, 405);
    assert_eq!(server.status("GET", "join?room=r", "Origin: http://evil.example\r\n", "").await, 403);
    assert_eq!(server.status("GET", "join?room=r", "Sec-Fetch-Site: cross-site\r\n", "").await, 403);
    let large = format!("room=r&data={}", "x".repeat(300_000));
    assert_eq!(server.status("POST", "join", "", &large).await, 413);
    // A body that never comes.
    let mut stream = TcpStream::connect(server.server.addr()).await.unwrap();
    let host = server.server.addr();
    stream
        .write_all(format!("POST /sv/join HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = vec![0; 64];
    let length = timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));

    let mut refused = 0;
    for _ in 0..50 {
        refused += u16::from(server.status("GET", "get_answer?client_id=x", "", "").await == 429);
    }
    assert!(refused > 0, "fifty requests at once are too many for five a second");
}

#[tokio::test]
async fn vector_11_rooms_of_clients_that_never_poll_and_of_those_that_hang_up_are_free_again() {
    let limits =
        VoiceLimits { idle: Duration::from_millis(300), poll: Duration::from_millis(300), ..VoiceLimits::default() };
    let server = start(limits).await;
    let first = server.join("r").await;
    // A poll that is given up.
    let mut stream = TcpStream::connect(server.server.addr()).await.unwrap();
    let poll = format!("GET /sv/get_answer?client_id={first} HTTP/1.1\r\nHost: {}\r\n\r\n", server.server.addr());
    stream.write_all(poll.as_bytes()).await.unwrap();
    drop(stream);
    let freed = async {
        while server.post("get_answer", &[("client_id", &first)]).await != INVALID_STATE {
            // Each poll keeps the room: wait until well after it would have ended.
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    };
    timeout(PATIENCE, freed).await.expect("the room ends");
    assert!(server.post("join", &[("room", "r"), ("data", OFFER)]).await.contains("Servers"), "first again");
}

async fn next(session: &mut Session) -> Event {
    timeout(PATIENCE, session.events.recv()).await.expect("an event in time").expect("a session that lives")
}

async fn describe(session: &Session, peer: &ParticipantId, kind: SdpType) {
    let description = SessionDescription { kind, sdp: "v=0\r\n".into() };
    session.commands.send(Command::Description { peer: peer.clone(), description }).await.unwrap();
    session.commands.send(Command::Candidate { peer: peer.clone(), candidate: None }).await.unwrap();
}

#[tokio::test]
async fn two_of_our_clients_meet_and_the_second_ones_offer_is_dropped() {
    let server = start(VoiceLimits { requests_per_second: 1000, ..VoiceLimits::default() }).await;
    for mode in ["auto", "join", "upload"] {
        let url = format!("simplevoice+http://{}/sv?room=r-{mode}&offer={mode}", server.server.addr());
        let enter = || join(url.parse().unwrap(), JoinOptions::default(), CancellationToken::new());
        let mut ada = enter();
        let offerer = loop {
            if let Event::PeerJoined { peer, offer: OfferRole::WeOfferAhead } = next(&mut ada).await {
                break peer;
            }
        };
        describe(&ada, &offerer, SdpType::Offer).await;
        if mode != "upload" {
            assert!(matches!(next(&mut ada).await, Event::Joined { .. }));
        }

        let mut ben = enter();
        let answerer = loop {
            match next(&mut ben).await {
                Event::PeerJoined { peer, offer: OfferRole::WeOfferAhead } => {
                    describe(&ben, &peer, SdpType::Offer).await
                }
                Event::Description { peer, description } => {
                    assert_eq!(description.kind, SdpType::Offer);
                    break peer;
                }
                _ => {}
            }
        };
        describe(&ben, &answerer, SdpType::Answer).await;
        let Event::Description { peer, description } = next(&mut ada).await else { panic!("no answer") };
        assert_eq!((peer, description.kind), (offerer, SdpType::Answer), "{mode}");
        timeout(PATIENCE, ben.closed()).await.expect("an end").unwrap();
        timeout(PATIENCE, ada.closed()).await.expect("an end").unwrap();
        assert_eq!(server.post("join", &[("room", &format!("r-{mode}"))]).await.matches("Servers").count(), 1);
    }
}
