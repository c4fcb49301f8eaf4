//! The HTTP contract of WHIP (RFC 9725) and WHEP: every status code that a client may have to deal with.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use roomcast::server::{Limits, ListenAddress, RtcConfig, Server, ServerConfig, serve};
use tokio_util::sync::CancellationToken;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What OBS 30 offers.
const OFFER: &str = "v=0\r\no=rtc 3767197920 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    a=group:LS 0 1\r\na=msid-semantic:WMS *\r\na=setup:actpass\r\na=ice-ufrag:jzFp\r\na=ice-pwd:mGDGNhvWEwzlxmBlYxUeEn\r\n\
    a=ice-options:ice2,trickle\r\na=fingerprint:sha-256 26:16:AA:1F:0E:15:C8:C4:6E:3F:0F:D5:D2:D6:6A:44:62:D9:C8:3C:1E:8F:46:3F:\
    D4:1A:0F:2C:D7:43:2D:5C\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\n\
    a=ssrc:1001 cname:c\r\na=ssrc:1001 msid:s s-audio\r\na=msid:s s-audio\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
    a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sendonly\r\na=ssrc:1002 cname:c\r\n\
    a=ssrc:1002 msid:s s-video\r\na=msid:s s-video\r\na=rtcp-mux\r\na=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack\r\n\
    a=rtcp-fb:96 nack pli\r\na=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n";

const CANDIDATE: &str = "a=ice-ufrag:jzFp\r\na=ice-pwd:mGDGNhvWEwzlxmBlYxUeEn\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1 1 UDP 2114977791 127.0.0.1 9 typ host\r\n";

struct Scene {
    server: Server,
    cancel: CancellationToken,
    http: Client,
    base: String,
}

impl Scene {
    async fn start(config: ServerConfig) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let cancel = CancellationToken::new();
        let listen = ListenAddress::Tcp { host: "127.0.0.1".into(), port: 0 };
        let rtc_config =
            if config.rtc_config == RtcConfig::default() { RtcConfig::without_servers() } else { config.rtc_config };
        let server = serve(ServerConfig { listen, rtc_config, ..config }, cancel.clone()).await.unwrap();
        let base = format!("http://{}", server.addr());
        Self { server, cancel, http: Client::new(), base }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.base)).headers(map).body(body);
        request.timeout(Duration::from_secs(30)).send().await.unwrap()
    }

    async fn publish(&self, room: &str) -> Response {
        self.ask("POST", &format!("/whip/{room}"), &[("content-type", SDP)], OFFER).await
    }

    async fn members(&self) -> String {
        self.ask("GET", "/api/v1/rooms", &[], "").await.text().await.unwrap()
    }

    async fn end(self) {
        self.cancel.cancel();
        self.server.closed().await;
    }
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn an_endpoint_answers_every_mistake_with_its_own_status() {
    let whip_token = Some("t0ken".parse().unwrap());
    let scene = Scene::start(ServerConfig { whip_token, ..ServerConfig::default() }).await;
    let huge = "x".repeat(256 * 1024 + 1);
    let long = format!("/whip/{}", "r".repeat(65));
    let recvonly = OFFER.replace("a=sendonly", "a=recvonly");
    let good = ("authorization", "Bearer t0ken");
    let (sdp, json) = (("content-type", "application/sdp; charset=utf-8"), ("content-type", "application/json"));
    let wrong = ("authorization", "Bearer t0keN");
    let basic = ("authorization", "Basic t0ken");
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str, &'a str);
    let cases: &[Case<'_>] = &[
        ("OPTIONS", "/whip/r", &[], "", 204, "accept-post", "application/sdp"),
        ("OPTIONS", "/whep/r", &[], "", 204, "accept-patch", FRAGMENT),
        ("OPTIONS", "/whip/r/0", &[], "", 204, "allow", "PATCH, DELETE, OPTIONS"),
        ("GET", "/whip/r", &[good], "", 405, "allow", "POST, OPTIONS"),
        ("PUT", "/whep/r", &[good], "", 405, "allow", "POST, OPTIONS"),
        ("GET", "/whip/r/0", &[good], "", 405, "allow", "PATCH, DELETE, OPTIONS"),
        ("POST", "/whip/r", &[sdp], OFFER, 401, "www-authenticate", "Bearer realm=\"roomcast\""),
        ("POST", "/whip/r", &[sdp, basic], OFFER, 401, "www-authenticate", "Bearer realm=\"roomcast\""),
        (
            "POST",
            "/whep/r",
            &[sdp, wrong],
            OFFER,
            401,
            "www-authenticate",
            "Bearer realm=\"roomcast\", error=\"invalid_token\"",
        ),
        ("DELETE", "/whip/r/0", &[], "", 401, "www-authenticate", "Bearer realm=\"roomcast\""),
        ("POST", "/whip/r", &[json, good], OFFER, 415, "accept-post", "application/sdp"),
        ("POST", "/whip/r", &[good], OFFER, 415, "accept-post", "application/sdp"),
        ("POST", "/whip/r", &[sdp, good], &huge, 413, "", ""),
        ("POST", "/whip/r", &[sdp, good], "", 400, "", ""),
        ("POST", "/whip/r", &[sdp, good], "garbage\r\nm=video", 400, "", ""),
        (
            "POST",
            "/whip/r",
            &[sdp, good],
            "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\n",
            400,
            "",
            "",
        ),
        ("POST", "/whip/r", &[sdp, good], &recvonly, 400, "", ""),
        ("POST", &long, &[sdp, good], OFFER, 400, "", ""),
        ("POST", "/whep/r?participant=a%20b", &[sdp, good], OFFER, 400, "", ""),
        ("POST", "/whep/r", &[sdp, good], &recvonly, 409, "retry-after", "5"),
        ("POST", "/whep/r?participant=nobody", &[sdp, good], &recvonly, 409, "retry-after", "5"),
        ("PATCH", "/whip/r/0", &[("content-type", FRAGMENT), good], CANDIDATE, 404, "", ""),
        ("DELETE", "/whip/r/0", &[good], "", 404, "", ""),
    ];
    for (method, path, headers, body, status, name, value) in cases {
        let answer = scene.ask(method, path, headers, (*body).to_owned()).await;
        let shown = &body[..body.len().min(40)];
        assert_eq!(answer.status(), *status, "{method} {path} {headers:?} {shown:?}");
        assert_eq!(&header(&answer, name), value, "{method} {path}: {name}");
        assert!(!answer.text().await.unwrap().contains("t0ken"));
    }
    assert_eq!(scene.members().await, r#"{"rooms":[]}"#);
    scene.end().await;
}

#[tokio::test]
async fn a_session_takes_candidates_restarts_and_one_end() {
    let rtc_config: RtcConfig =
        r#"{"iceServers":[{"urls":["stun:127.0.0.1:9"]},{"urls":"turn:127.0.0.1:9","username":"u","credential":"p"}]}"#
            .parse()
            .unwrap();
    let scene = Scene::start(ServerConfig { rtc_config, ..ServerConfig::default() }).await;
    let made = scene.publish("a%20room").await;
    assert_eq!(made.status(), 201);
    let (location, etag) = (header(&made, "location"), header(&made, "etag"));
    assert!(location.starts_with("/whip/a%20room/") && location.len() == "/whip/a%20room/".len() + 32, "{location}");
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10, "{etag}");
    assert_eq!((header(&made, "content-type"), header(&made, "accept-patch")), (SDP.into(), FRAGMENT.into()));
    let links: Vec<_> = made.headers().get_all("link").iter().map(|link| link.to_str().unwrap().to_owned()).collect();
    assert_eq!(
        links,
        [
            "<stun:127.0.0.1:9>; rel=\"ice-server\"",
            "<turn:127.0.0.1:9>; rel=\"ice-server\"; username=\"u\"; credential=\"p\"; credential-type=\"password\""
        ]
    );
    let answer = made.text().await.unwrap();
    // Whole: a client that never sends or takes a candidate must do with it.
    for expected in ["a=candidate:", "H264/90000", "opus/48000", "a=recvonly", "a=end-of-candidates"] {
        assert!(answer.contains(expected), "{expected} is missing:\n{answer}");
    }
    assert!(!answer.contains("a=sendrecv"), "{answer}");
    assert!(scene.members().await.contains("\"whip-"));

    let restart = CANDIDATE.replace("jzFp", "neww").replace("mGDG", "nnnn");
    let (kind, tag) = (("content-type", FRAGMENT), ("if-match", etag.as_str()));
    for (headers, body, status) in [
        (vec![kind], CANDIDATE, 428),
        (vec![kind, ("if-match", "\"other\"")], CANDIDATE, 412),
        (vec![kind, ("if-match", "\"other\"")], &restart, 412),
        (vec![kind, tag], &restart, 412),
        (vec![("content-type", SDP), tag], CANDIDATE, 415),
        (vec![kind, tag], "garbage", 400),
        (vec![kind, ("if-match", "*")], "a=ice-ufrag:x\r\na=ice-pwd:y\r\n", 400),
        (vec![kind, tag], CANDIDATE, 204),
        (vec![kind, ("if-match", "\"x\", \"y\"")], CANDIDATE, 412),
        (
            vec![kind, tag],
            "a=ice-ufrag:jzFp\r\na=ice-pwd:mGDGNhvWEwzlxmBlYxUeEn\r\nm=audio 9 X 0\r\na=mid:0\r\na=end-of-candidates\r\n",
            204,
        ),
    ] {
        let answer = scene.ask("PATCH", &location, &headers, body.to_owned()).await;
        assert_eq!(answer.status(), status, "{headers:?} {body}");
    }
    let restarted = scene.ask("PATCH", &location, &[kind, ("if-match", "*")], restart.clone()).await;
    assert_eq!((restarted.status().as_u16(), header(&restarted, "content-type")), (200, FRAGMENT.to_owned()));
    let new_tag = header(&restarted, "etag");
    assert!(new_tag != etag && new_tag.len() == etag.len(), "{new_tag}");
    let fragment = restarted.text().await.unwrap();
    for expected in ["a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"] {
        assert!(fragment.contains(expected), "{fragment}");
        let line = fragment.lines().find(|line| line.starts_with(expected)).unwrap();
        assert!(expected == "a=candidate:" || !answer.contains(line), "{line} is not new");
    }
    assert_eq!(scene.ask("PATCH", &location, &[kind, tag], CANDIDATE).await.status(), 412, "the old ICE session");
    let new_candidate = restart.clone();
    assert_eq!(scene.ask("PATCH", &location, &[kind, ("if-match", &new_tag)], new_candidate).await.status(), 204);

    let elsewhere = location.replace("a%20room", "b");
    assert_eq!(scene.ask("DELETE", &elsewhere, &[], "").await.status(), 404, "the session is not of that room");
    assert_eq!(scene.ask("DELETE", &location.replace("whip", "whep"), &[], "").await.status(), 404);
    assert_eq!(scene.ask("DELETE", &location, &[], "").await.status(), 200);
    assert_eq!(scene.members().await, r#"{"rooms":[]}"#, "its participant has left");
    assert_eq!(scene.ask("DELETE", &location, &[], "").await.status(), 404, "only once");
    assert_eq!(scene.ask("PATCH", &location, &[kind, ("if-match", &new_tag)], CANDIDATE).await.status(), 404);
    scene.end().await;
}

#[tokio::test]
async fn limits_are_answered_with_503_until_somebody_leaves() {
    let limits = Limits { relays: 2, members: 1, ..Limits::default() };
    let scene = Scene::start(ServerConfig { limits, ..ServerConfig::default() }).await;
    let first = scene.publish("a").await;
    assert_eq!(first.status(), 201);
    let full = scene.publish("a").await;
    assert_eq!((full.status().as_u16(), header(&full, "retry-after")), (503, "5".into()));
    assert!(full.text().await.unwrap().contains("room is full"));
    assert_eq!(scene.publish("b").await.status(), 201);
    let too_many = scene.publish("c").await;
    assert_eq!((too_many.status().as_u16(), header(&too_many, "retry-after")), (503, "5".into()));
    assert!(too_many.text().await.unwrap().contains("2 sessions"));
    assert_eq!(scene.ask("DELETE", &header(&first, "location"), &[], "").await.status(), 200);
    assert_eq!(scene.publish("c").await.status(), 201);
    // Sessions that nobody has ended do not hold the server up.
    scene.end().await;
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_by_the_token_or_by_the_list() {
    let token = || Some("t0ken".parse().unwrap());
    let list = |list: &str| list.parse().unwrap();
    for (whip_token, origins, origin, status, allowed) in [
        (token(), list(""), "https://studio.example", 204, "*"),
        (token(), list(""), "null", 204, "*"),
        (None, list(""), "https://studio.example", 403, ""),
        (None, list("studio.example"), "https://studio.example", 204, "https://studio.example"),
        (None, list(""), "http://OWN", 204, "http://OWN"),
        (None, list(""), "", 204, ""),
    ] {
        let scene = Scene::start(ServerConfig { whip_token, origins, ..ServerConfig::default() }).await;
        let own = scene.base.clone();
        let (origin, allowed) = (origin.replace("http://OWN", &own), allowed.replace("http://OWN", &own));
        let headers: &[_] = if origin.is_empty() { &[] } else { &[("origin", origin.as_str())] };
        let answer = scene.ask("OPTIONS", "/whip/r", headers, "").await;
        assert_eq!(answer.status(), status, "{origin:?}");
        assert_eq!(header(&answer, "access-control-allow-origin"), allowed);
        if status == 204 && !origin.is_empty() {
            assert!(header(&answer, "access-control-allow-headers").contains("If-Match"));
            assert!(header(&answer, "access-control-expose-headers").contains("Location"));
        }
        scene.end().await;
    }
}
