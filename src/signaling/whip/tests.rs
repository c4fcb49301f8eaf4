//! The WHIP client from literal replies. What it has in common with WHEP is tested there.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH};
use reqwest::{Method, Url};

use super::super::transport::http::{HttpCodec, Output, Request, Response};
use super::super::{Command, Event, OfferRole, SignalingError};
use super::client;
use crate::terms::{IceCandidate, IceServer, ParticipantId, SdpType, SessionDescription};

const OFFER: &str = "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:ours\r\na=ice-pwd:ourpasswordourpassword00\r\n";
const ANSWER: &str = "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:them\r\na=ice-pwd:theirpasswordtheirpass00\r\n";
const HOST: &str = "candidate:1 1 udp 1 192.0.2.7 9 typ host";
const ENDPOINT: &str = "https://h/live/whip/stage";

struct Scene {
    client: super::WhepClient,
    now: Instant,
}

#[derive(Debug, Default)]
struct Said {
    events: Vec<Event>,
    requests: Vec<Request>,
    end: Option<Result<(), SignalingError>>,
}

impl Scene {
    /// The endpoint was reached, and our offer waits for its candidates.
    fn gathering() -> Self {
        let shown = "whip+https://h/live/whip/stage".to_owned();
        let client = client(ENDPOINT.parse().unwrap(), shown, Some("s3cret".to_owned()));
        let mut scene = Self { client, now: Instant::now() };
        scene.client.start(scene.now);
        assert_eq!(scene.said().requests[0].method, Method::OPTIONS);
        scene.reply(204, &[("link", "<stun:s>; rel=\"ice-server\"")], "");
        let ice_servers = vec![IceServer { urls: vec!["stun:s".into()], username: None, credential: None }];
        let expected = [
            Event::Joined { me: ParticipantId::new("whip-sender"), ice_servers },
            Event::PeerJoined { peer: them(), offer: OfferRole::WeOffer },
        ];
        assert_eq!(scene.said().events, expected);
        let description = SessionDescription { kind: SdpType::Offer, sdp: OFFER.to_owned() };
        scene.command(Command::Description { peer: them(), description });
        scene
    }

    /// Our offer is on its way.
    fn offering() -> Self {
        let mut scene = Self::gathering();
        scene.command(Command::Candidate { peer: them(), candidate: None });
        assert_eq!(scene.said().requests[0].body, OFFER);
        scene
    }

    fn said(&mut self) -> Said {
        let mut said = Said::default();
        while let Some(output) = self.client.poll() {
            match output {
                Output::Event(event) => said.events.push(event),
                Output::Request(request) => said.requests.push(request),
                Output::Ended => said.end = Some(Ok(())),
                Output::Failed(error) => said.end = Some(Err(error)),
            }
        }
        said
    }

    /// A reply, after redirections, of this URL.
    fn reply_of(&mut self, url: &str, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let response = Response { status, url: url.parse().unwrap(), headers: map, body: body.to_owned() };
        self.client.replied(Ok(response), self.now);
    }

    fn reply(&mut self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        self.reply_of(ENDPOINT, status, headers, body);
    }

    fn command(&mut self, command: Command) {
        self.client.command(command, self.now);
    }
}

fn them() -> ParticipantId {
    ParticipantId::new("whip")
}

fn candidate() -> Option<IceCandidate> {
    Some(IceCandidate { candidate: HOST.to_owned(), sdp_mid: Some("0".to_owned()), ..Default::default() })
}

#[test]
fn the_offer_is_posted_whole_with_the_token_and_its_answer_opens_the_session() {
    let mut scene = Scene::gathering();
    scene.command(Command::Candidate { peer: them(), candidate: candidate() });
    assert!(scene.said().requests.is_empty(), "servers without PATCH never learn of later candidates");
    scene.command(Command::Candidate { peer: them(), candidate: None });
    let said = scene.said();
    let post = &said.requests[0];
    assert_eq!((&post.method, post.url.as_str()), (&Method::POST, ENDPOINT));
    assert_eq!(post.headers[AUTHORIZATION], "Bearer s3cret");
    assert_eq!(post.headers[CONTENT_TYPE], "application/sdp");
    assert_eq!(post.body, format!("{OFFER}a={HOST}\r\n"));
    scene.reply(201, &[("location", "sessions/7"), ("content-type", "application/sdp; charset=utf-8")], ANSWER);
    let description = SessionDescription { kind: SdpType::Answer, sdp: ANSWER.to_owned() };
    assert_eq!(scene.said().events, [Event::Description { peer: them(), description }]);
    // No ETag: this server takes no PATCH.
    scene.command(Command::Candidate { peer: them(), candidate: candidate() });
    assert!(scene.said().requests.is_empty());
    scene.command(Command::Leave);
    let said = scene.said();
    let delete = (&said.requests[0].method, said.requests[0].url.as_str());
    assert_eq!(delete, (&Method::DELETE, "https://h/live/whip/sessions/7"));
    scene.reply(200, &[], "");
    assert!(matches!(scene.said().end, Some(Ok(()))));
}

#[test]
fn a_server_with_an_entity_tag_gets_later_candidates() {
    let mut scene = Scene::offering();
    let headers = [("location", "/s/7"), ("etag", "\"a\""), ("content-type", "application/sdp")];
    scene.reply(201, &headers, ANSWER);
    scene.said();
    scene.command(Command::Candidate { peer: them(), candidate: candidate() });
    let said = scene.said();
    let patch = &said.requests[0];
    assert_eq!((&patch.method, patch.url.as_str()), (&Method::PATCH, "https://h/s/7"));
    assert_eq!(patch.headers[IF_MATCH], "\"a\"");
    assert!(patch.body.contains(HOST), "{}", patch.body);
}

#[test]
fn after_a_redirection_the_session_is_where_it_led_to_and_the_token_stays_at_home() {
    let mut scene = Scene::offering();
    let headers = [("location", "/s/7"), ("content-type", "application/sdp")];
    scene.reply_of("https://node5.h/live", 201, &headers, ANSWER);
    scene.said();
    scene.command(Command::Leave);
    let said = scene.said();
    assert_eq!(said.requests[0].url, Url::parse("https://node5.h/s/7").unwrap());
    assert_eq!(said.requests[0].headers.get(AUTHORIZATION), None);
}

#[test]
fn every_refusal_ends_the_session_and_names_the_way_out() {
    for (status, headers, body, expected) in [
        (401, &[][..], "who are you?", "who are you? (HTTP 401); give the bearer token that it expects with token="),
        (403, &[], "", "give the bearer token that it expects with token="),
        (404, &[], "", "there is no such endpoint: check the path"),
        (405, &[], "", "no WHIP endpoint"),
        (409, &[], "", "somebody else sends there"),
        (406, &[], "", "perhaps it takes another video codec"),
        (415, &[], "", "perhaps it takes another video codec"),
        (503, &[("retry-after", "7")], "full", "full (HTTP 503); it is busy"),
        (500, &[], "", "its own log may say why"),
        (200, &[], "<html>", "does this URL speak WHIP?"),
        (201, &[], ANSWER, "does this URL speak WHIP?"),
        (302, &[("location", "/login")], "", "does this URL speak WHIP?"),
    ] {
        let mut scene = Scene::offering();
        scene.reply(status, headers, body);
        let error = scene.said().end.expect("an end").unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(&format!("HTTP {status}")), "{status}: {text}");
        assert!(text.starts_with("whip+https://h/live/whip/stage does not take") && !text.contains("s3cret"), "{text}");
        let SignalingError::NotTaken { retry_after, .. } = error else { panic!("{error:?}") };
        assert_eq!(retry_after, (status == 503).then(|| Duration::from_secs(7)));
    }
}

#[test]
fn a_server_that_is_gone_ends_the_session() {
    for live_before in [false, true] {
        let mut scene = Scene::offering();
        if live_before {
            scene.reply(201, &[("content-type", "application/sdp")], ANSWER);
            scene.command(Command::Hangup { peer: them() });
            let description = SessionDescription { kind: SdpType::Offer, sdp: OFFER.to_owned() };
            scene.command(Command::Description { peer: them(), description });
            scene.command(Command::Candidate { peer: them(), candidate: None });
            assert_eq!(scene.said().requests.len(), 1);
        }
        let error = SignalingError::Unreachable { host: "h".into(), reason: "refused".into() };
        scene.client.replied(Err(error), scene.now);
        assert!(matches!(scene.said().end, Some(Err(SignalingError::Unreachable { .. }))));
    }
}
