//! The WHEP client from literal replies.

use reqwest::header::{AUTHORIZATION, HeaderMap, IF_MATCH};

use super::super::sdpfrag;
use super::*;
use crate::terms::SessionDescription;

const OFFER: &str = "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:ours\r\na=ice-pwd:ourpasswordourpassword00\r\n";
const ANSWER: &str = "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:them\r\na=ice-pwd:theirpasswordtheirpass00\r\n\
                      a=candidate:9 1 udp 1 192.0.2.9 9 typ host\r\n";
const HOST: &str = "candidate:1 1 udp 1 192.0.2.7 9 typ host";

fn stream() -> ParticipantId {
    ParticipantId::new("whep")
}

fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Response {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    Response { status, url: "https://h/whep/r".parse().unwrap(), headers: map, body: body.to_owned() }
}

fn created() -> Response {
    response(201, &[("location", "/whep/r/1"), ("etag", "\"a\""), ("content-type", "application/sdp")], ANSWER)
}

fn candidate() -> Option<IceCandidate> {
    Some(IceCandidate { candidate: HOST.to_owned(), sdp_mid: Some("0".to_owned()), ..Default::default() })
}

/// A client, what it has said so far, and its clock.
struct Scene {
    client: WhepClient,
    now: Instant,
}

#[derive(Debug, Default)]
struct Said {
    events: Vec<Event>,
    requests: Vec<Request>,
    end: Option<Result<(), SignalingError>>,
}

impl Scene {
    fn new() -> Self {
        let endpoint = "https://h/whep/r".parse().unwrap();
        let client = WhepClient::new(endpoint, "whep+https://h/whep/r".to_owned(), Some("s3cret".to_owned()));
        let mut scene = Self { client, now: Instant::now() };
        scene.client.start(scene.now);
        scene
    }

    /// In the stream, with our offer on its way.
    fn offering() -> Self {
        let mut scene = Self::new();
        scene.said();
        scene.reply(response(405, &[], ""));
        scene.said();
        scene.command(Command::Description { peer: stream(), description: offer(OFFER) });
        scene.command(Command::Candidate { peer: stream(), candidate: None });
        assert_eq!(scene.said().requests[0].body, OFFER);
        scene
    }

    fn live() -> Self {
        let mut scene = Self::offering();
        scene.reply(created());
        scene.said();
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

    fn reply(&mut self, response: Response) {
        self.client.replied(Ok(response), self.now);
    }

    fn command(&mut self, command: Command) {
        self.client.command(command, self.now);
    }

    fn sleep(&mut self) -> Duration {
        let at = self.client.wake_at().expect("something to wait for");
        let slept = at - self.now;
        self.now = at;
        self.client.wake(at);
        slept
    }
}

fn offer(sdp: &str) -> SessionDescription {
    SessionDescription { kind: SdpType::Offer, sdp: sdp.to_owned() }
}

#[test]
fn a_stream_is_announced_when_its_server_is_there_with_the_servers_ice_servers() {
    let mut scene = Scene::new();
    let said = scene.said();
    assert_eq!((&said.requests[0].method, said.requests[0].url.as_str()), (&Method::OPTIONS, "https://h/whep/r"));
    scene.reply(response(204, &[("link", "<stun:s>; rel=\"ice-server\"")], ""));
    let ice_servers = vec![IceServer { urls: vec!["stun:s".into()], username: None, credential: None }];
    let expected = [
        Event::Joined { me: ParticipantId::new("whep-viewer"), ice_servers },
        Event::PeerJoined { peer: stream(), offer: OfferRole::WeOffer },
    ];
    assert_eq!(scene.said().events, expected);

    let mut scene = Scene::new();
    scene.said();
    let error = SignalingError::Unreachable { host: "h".into(), reason: "refused".into() };
    scene.client.replied(Err(error), scene.now);
    assert!(matches!(scene.said().end, Some(Err(SignalingError::Unreachable { .. }))));
}

#[test]
fn an_offer_waits_for_its_candidates_and_is_posted_with_the_token() {
    let mut scene = Scene::new();
    scene.said();
    scene.reply(response(204, &[], ""));
    scene.said();
    scene.command(Command::Description { peer: stream(), description: offer(OFFER) });
    scene.command(Command::Candidate { peer: stream(), candidate: candidate() });
    assert!(scene.said().requests.is_empty());
    assert_eq!(scene.sleep(), GATHERING);
    let said = scene.said();
    assert_eq!(said.requests[0].method, Method::POST);
    assert_eq!(said.requests[0].headers[AUTHORIZATION], "Bearer s3cret");
    assert_eq!(said.requests[0].body, format!("{OFFER}a={HOST}\r\n"));
    scene.reply(created());
    let description = SessionDescription { kind: SdpType::Answer, sdp: ANSWER.to_owned() };
    assert_eq!(scene.said().events, [Event::Description { peer: stream(), description }]);
}

#[test]
fn later_candidates_are_patched_until_the_server_does_not_want_them() {
    let mut scene = Scene::offering();
    scene.command(Command::Candidate { peer: stream(), candidate: candidate() });
    assert!(scene.said().requests.is_empty(), "there is no session yet");
    scene.reply(created());
    let said = scene.said();
    let patch = &said.requests[0];
    assert_eq!((&patch.method, patch.url.as_str()), (&Method::PATCH, "https://h/whep/r/1"));
    assert_eq!(patch.headers[IF_MATCH], "\"a\"");
    let fragment = SdpFragment::parse(&patch.body).unwrap();
    assert_eq!(fragment.credentials, Some(("ours".into(), "ourpasswordourpassword00".into())));
    assert_eq!(fragment.candidates[0].candidate, HOST);
    scene.reply(response(405, &[], ""));
    scene.command(Command::Candidate { peer: stream(), candidate: candidate() });
    assert!(scene.said().requests.is_empty());
}

#[test]
fn an_ice_restart_is_a_patch_whose_fragment_becomes_an_answer() {
    let mut scene = Scene::live();
    let new = OFFER.replace("ours", "newo");
    scene.command(Command::Description { peer: stream(), description: offer(&new) });
    let said = scene.said();
    assert_eq!(
        (&said.requests[0].method, &said.requests[0].headers[IF_MATCH]),
        (&Method::PATCH, &HeaderValue::from_static("*"))
    );
    let body = "a=ice-ufrag:newt\r\na=ice-pwd:newpasswordnewpassword00\r\nm=audio 9 X 0\r\na=mid:0\r\n\
                a=candidate:3 1 udp 1 192.0.2.3 9 typ host\r\n";
    scene.reply(response(200, &[("etag", "\"b\""), ("content-type", sdpfrag::CONTENT_TYPE)], body));
    let said = scene.said();
    let [Event::Description { description, .. }] = said.events.as_slice() else { panic!("{said:?}") };
    let expected = "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:newt\r\na=ice-pwd:newpasswordnewpassword00\r\n\
                    a=candidate:3 1 udp 1 192.0.2.3 9 typ host\r\n";
    assert_eq!((description.kind, description.sdp.as_str()), (SdpType::Answer, expected));
    scene.command(Command::Candidate { peer: stream(), candidate: candidate() });
    assert_eq!(scene.said().requests[0].headers[IF_MATCH], "\"b\"");

    let mut scene = Scene::live();
    scene.command(Command::Description { peer: stream(), description: offer(&new) });
    scene.said();
    scene.reply(response(422, &[], ""));
    let said = scene.said();
    assert!(said.events.is_empty() && said.end.is_none(), "the session lives on: {said:?}");
}

#[test]
fn a_stream_that_is_not_live_is_asked_for_again_with_growing_pauses() {
    let mut scene = Scene::offering();
    for (attempt, pause) in [(1, 5), (2, 5), (3, 5), (4, 8), (5, 16), (6, 30), (7, 30)] {
        scene.reply(response(409, &[("retry-after", "5")], "nobody sends\n"));
        let pause = Duration::from_secs(pause);
        let expected = [
            Event::PeerLeft { peer: stream() },
            Event::Reconnecting { attempt, retry_in: pause, reason: "nobody sends".into() },
        ];
        assert_eq!(scene.said().events, expected);
        assert_eq!(scene.sleep(), pause);
        assert_eq!(scene.said().events.len(), 2, "announced again");
        scene.command(Command::Description { peer: stream(), description: offer(OFFER) });
        scene.command(Command::Candidate { peer: stream(), candidate: None });
        assert_eq!(scene.said().requests.len(), 1);
    }
    scene.reply(created());
    scene.said();
    scene.command(Command::Hangup { peer: stream() });
    scene.said();
    scene.reply(response(200, &[], ""));
    scene.command(Command::Description { peer: stream(), description: offer(OFFER) });
    scene.sleep();
    scene.said();
    // It was there once, so this is no mistake in the URL.
    scene.reply(response(404, &[], ""));
    let said = scene.said();
    assert!(matches!(said.events[1], Event::Reconnecting { attempt: 1, .. }), "{said:?}");
}

#[test]
fn what_a_person_must_mend_ends_the_session() {
    let sdp: &[_] = &[("content-type", "application/sdp")];
    for (status, headers, expected) in [
        (401, &[][..], "give its bearer token with token="),
        (403, &[][..], "give its bearer token with token="),
        (404, &[][..], "check the path, and that the stream is live"),
        (400, &[][..], "does this URL speak WHEP?"),
        (405, &[][..], "does this URL speak WHEP?"),
        (200, sdp, "does this URL speak WHEP?"),
        (500, &[][..], "does this URL speak WHEP?"),
        (201, &[][..], "does this URL speak WHEP?"),
        (406, sdp, "make the offer itself, which is not supported"),
    ] {
        let mut scene = Scene::offering();
        scene.reply(response(status, headers, ""));
        let error = scene.said().end.expect("an end").unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&format!("HTTP {status}")), "{status}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn leaving_deletes_the_session_and_waits_for_it_only_so_long() {
    let mut scene = Scene::live();
    scene.command(Command::Leave);
    let said = scene.said();
    assert_eq!((&said.requests[0].method, said.requests[0].url.as_str()), (&Method::DELETE, "https://h/whep/r/1"));
    assert!(said.end.is_none());
    scene.reply(response(200, &[], ""));
    assert!(matches!(scene.said().end, Some(Ok(()))));

    let mut scene = Scene::live();
    scene.command(Command::Leave);
    scene.said();
    assert_eq!(scene.sleep(), LEAVE);
    assert!(matches!(scene.said().end, Some(Ok(()))));

    let mut scene = Scene::offering();
    scene.command(Command::Leave);
    assert!(scene.said().end.is_none(), "the offer may open a session yet");
    scene.reply(created());
    assert_eq!(scene.said().requests[0].method, Method::DELETE);
}

#[test]
fn an_offer_that_was_withdrawn_on_its_way_leaves_no_session_behind() {
    let mut scene = Scene::offering();
    scene.command(Command::Hangup { peer: stream() });
    let again = OFFER.replace("ours", "more");
    scene.command(Command::Description { peer: stream(), description: offer(&again) });
    scene.command(Command::Candidate { peer: stream(), candidate: None });
    assert!(scene.said().requests.is_empty(), "one after the other");
    scene.reply(created());
    let said = scene.said();
    assert!(said.events.is_empty() && said.requests[0].body == again, "{said:?}");
    scene.reply(created());
    let said = scene.said();
    assert_eq!(said.requests[0].method, Method::DELETE);
    assert_eq!(said.events.len(), 1);
}

#[test]
fn the_token_goes_to_its_own_server_only() {
    let mut scene = Scene::offering();
    let headers = [("location", "https://other/1"), ("etag", "\"a\""), ("content-type", "application/sdp")];
    scene.reply(response(201, &headers, ANSWER));
    scene.command(Command::Leave);
    let said = scene.said();
    assert_eq!((said.requests[0].url.as_str(), said.requests[0].headers.get(AUTHORIZATION)), ("https://other/1", None));
}
