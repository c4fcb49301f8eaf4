//! The Simple Voice client against literal requests and replies. The numbers are those of the vectors in the protocol's
//! description.

use reqwest::header::HeaderMap;
use url::form_urlencoded;

use super::*;
use crate::terms::IceCandidate;

const FIRST: &str = r#"{"ID":"k3f09zq81mnb5t7a","Servers":[]}"#;
const SECOND: &str = r#"{"ID":"p0d8s6a4f2g1h3j5","data":{"type":"offer","sdp":"v=0\r\n"}}"#;
const AGAIN: &str = r#"{"again":"again"}"#;
const ANSWERED: &str = r#"{"data":{"type":"answer","sdp":"v=0\r\n"}}"#;
const FULL_ROOM: &str = r#"{"type":"RoomFull","msg":"The room you are trying to join is already full"}"#;
const INVALID_STATE: &str = r#"{"type":"InvalidState","msg":"State is invalid!"}"#;
const NOT_FOUND: &str = "<!DOCTYPE html><html><body>404 Not Found</body></html>";

const JOIN_WITH_OFFER: &str = r#"join room=r1 data={"type":"offer","sdp":"v=0\r\n"}"#;
const POLL: &str = "get_answer client_id=k3f09zq81mnb5t7a";
const LEAVE_FIRST: &str = "leave client_id=k3f09zq81mnb5t7a room=r1";
const NOTHING: [&str; 0] = [];

/// A client with a clock that only the test moves, and chance at one half.
struct Bench {
    client: SimpleVoiceClient,
    now: Instant,
}

impl Bench {
    fn new(offer_by: OfferBy) -> Self {
        Self {
            client: SimpleVoiceClient::new("http://h/sv".parse().unwrap(), "r1", offer_by, Box::new(|| 0.5)),
            now: Instant::now(),
        }
    }

    /// A client whose request to join, with an offer, is on its way.
    fn joining() -> Self {
        let mut bench = Self::new(OfferBy::Auto);
        assert_eq!(bench.start(), ["peer is here, WeOfferAhead"]);
        assert_eq!(bench.describe("peer", SdpType::Offer), NOTHING);
        assert_eq!(bench.end_of_candidates("peer"), [JOIN_WITH_OFFER]);
        bench
    }

    /// A client that is the first in the room and polls for the answer.
    fn polling() -> Self {
        let mut bench = Self::joining();
        assert_eq!(bench.reply(200, FIRST), ["joined, 0 ICE server(s)", POLL]);
        bench
    }

    fn start(&mut self) -> Vec<String> {
        self.client.start(self.now);
        self.said()
    }

    fn reply(&mut self, status: u16, body: &str) -> Vec<String> {
        let url = "http://h/sv".parse().unwrap();
        self.client.replied(Ok(Response { status, url, headers: HeaderMap::new(), body: body.to_owned() }), self.now);
        self.said()
    }

    fn fail(&mut self) -> Vec<String> {
        let error = SignalingError::Unreachable { host: "h".into(), reason: "refused".into() };
        self.client.replied(Err(error), self.now);
        self.said()
    }

    fn command(&mut self, command: Command) -> Vec<String> {
        self.client.command(command, self.now);
        self.said()
    }

    fn describe(&mut self, peer: &str, kind: SdpType) -> Vec<String> {
        let description = SessionDescription { kind, sdp: "v=0\r\n".into() };
        self.command(Command::Description { peer: ParticipantId::new(peer), description })
    }

    fn end_of_candidates(&mut self, peer: &str) -> Vec<String> {
        self.command(Command::Candidate { peer: ParticipantId::new(peer), candidate: None })
    }

    fn hang_up(&mut self, peer: &str) -> Vec<String> {
        self.command(Command::Hangup { peer: ParticipantId::new(peer) })
    }

    fn pass(&mut self, milliseconds: u64) -> Vec<String> {
        let end = self.now + Duration::from_millis(milliseconds);
        let mut said = Vec::new();
        while let Some(at) = self.client.wake_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.client.wake(self.now);
            said.extend(self.said());
        }
        self.now = end;
        said
    }

    /// What the client wants, in short.
    fn said(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.client.poll()).map(short).collect()
    }
}

fn short(output: Output) -> String {
    match output {
        Output::Request(request) => {
            // The order of JSON keys is not fixed.
            let sorted = |value: &str| match serde_json::from_str::<SessionDescription>(value) {
                Ok(read) => serde_json::to_string(&read).unwrap(),
                Err(_) => value.to_owned(),
            };
            let form = form_urlencoded::parse(request.body.as_bytes());
            let form: Vec<_> = form.map(|(key, value)| format!(" {key}={}", sorted(&value))).collect();
            format!("{}{}", request.url.as_str().strip_prefix("http://h/sv/").unwrap(), form.concat())
        }
        Output::Event(Event::Joined { ice_servers, .. }) => format!("joined, {} ICE server(s)", ice_servers.len()),
        Output::Event(Event::PeerJoined { peer, offer }) => format!("{peer} is here, {offer:?}"),
        Output::Event(Event::PeerLeft { peer }) => format!("{peer} left"),
        Output::Event(Event::Description { peer, description }) => {
            format!("{} from {peer}", serde_json::to_value(description.kind).unwrap().as_str().unwrap())
        }
        Output::Event(Event::Reconnecting { attempt, retry_in, reason }) => {
            format!("attempt {attempt} in {retry_in:?}: {reason}")
        }
        Output::Event(other) => format!("{other:?}"),
        Output::Ended => "ended".into(),
        Output::Failed(error) => format!("failed: {error}"),
    }
}

#[test]
fn the_first_in_the_room_polls_until_the_answer_is_there() {
    // Vectors 1, 2 and 3.
    let mut bench = Bench::polling();
    for _ in 0..3 {
        bench.pass(10_000);
        assert_eq!(bench.reply(200, AGAIN), [POLL]);
    }
    bench.pass(3_000);
    assert_eq!(bench.reply(200, ANSWERED), ["answer from peer"]);
    assert_eq!(bench.pass(3_600_000), NOTHING, "polling stops");
}

#[test]
fn a_server_that_answers_polls_at_once_is_not_flooded() {
    let mut bench = Bench::polling();
    assert_eq!(bench.reply(200, AGAIN), NOTHING);
    assert_eq!(bench.pass(499), NOTHING);
    assert_eq!(bench.pass(1), [POLL]);
    bench.pass(200);
    assert_eq!(bench.reply(200, "{}"), NOTHING, "neither is one that answers with nothing");
    assert_eq!(bench.pass(300), [POLL]);
}

#[test]
fn the_second_in_the_room_drops_its_offer_and_answers() {
    // Vectors 4 and 5.
    let labelled =
        r#"{"id":"p0d8s6a4f2g1h3j5","data":"{\"type\":\"answer\",\"sdp\":\"v=0\\r\\na=setup:actpass\\r\\n\"}"}"#;
    for reply in [SECOND, labelled] {
        let mut bench = Bench::joining();
        let said = bench.reply(200, reply);
        let expected = ["joined, 0 ICE server(s)", "peer left", "peer-2 is here, WeWait", "offer from peer-2"];
        assert_eq!(said, expected, "{reply}");
        assert_eq!(bench.end_of_candidates("peer"), NOTHING, "of the connection that was dropped");
        assert_eq!(bench.describe("peer-2", SdpType::Answer), NOTHING);
        let answer = r#"answer client_id=p0d8s6a4f2g1h3j5 data={"type":"answer","sdp":"v=0\r\n"}"#;
        assert_eq!(bench.end_of_candidates("peer-2"), [answer]);
        assert_eq!(bench.reply(200, r#"{"data":"whatever"}"#), NOTHING, "its body is ignored");
        assert_eq!(bench.pass(3_600_000), NOTHING);
    }
}

#[test]
fn candidates_are_written_into_the_description_within_5_s() {
    let mut bench = Bench::new(OfferBy::Join);
    bench.start();
    let peer = ParticipantId::new("peer");
    let candidate = |port: u32| {
        let candidate = format!("candidate:1 1 udp 1 192.0.2.7 {port} typ host");
        Some(IceCandidate { candidate, sdp_m_line_index: Some(0), ..IceCandidate::default() })
    };
    bench.command(Command::Candidate { peer: peer.clone(), candidate: candidate(1) });
    let sdp = "v=0\r\nm=audio 9 x 0\r\na=mid:0\r\n".to_owned();
    let description = SessionDescription { kind: SdpType::Offer, sdp };
    bench.command(Command::Description { peer: peer.clone(), description });
    bench.command(Command::Candidate { peer, candidate: candidate(2) });
    assert_eq!(bench.pass(4_999), NOTHING);
    let said = bench.pass(1);
    let lines = "a=candidate:1 1 udp 1 192.0.2.7 1 typ host\\r\\na=candidate:1 1 udp 1 192.0.2.7 2 typ host\\r\\n\
                 a=end-of-candidates\\r\\n";
    assert!(said[0].contains(lines), "{said:?}");
}

#[test]
fn a_full_room_is_tried_again_after_5_s() {
    // Vector 6.
    for status in [200, 409] {
        let mut bench = Bench::joining();
        for attempt in 1..4 {
            let peers = ["peer", "peer-2"];
            let (old, new) = (peers[(attempt + 1) % 2], peers[attempt % 2]);
            let said = bench.reply(status, FULL_ROOM);
            assert_eq!(said[0], format!("{old} left"));
            assert!(said[1].starts_with(&format!("attempt {attempt} in 5s: room \"r1\" is full")), "{said:?}");
            assert_eq!(bench.pass(4_999), NOTHING);
            assert_eq!(bench.pass(1), [format!("{new} is here, WeOfferAhead")]);
            bench.describe(new, SdpType::Offer);
            assert_eq!(bench.end_of_candidates(new), [JOIN_WITH_OFFER]);
        }
    }
}

#[test]
fn an_invalid_state_is_left_and_joined_anew_and_three_in_a_row_end_it() {
    // Vector 7.
    let mut bench = Bench::joining();
    let said = bench.reply(200, INVALID_STATE);
    assert!(said[1].starts_with("attempt 1 in 1s: room \"r1\" refuses us: State is invalid!"), "{said:?}");
    assert_eq!(bench.pass(1_000), ["peer-2 is here, WeOfferAhead"]);
    bench.describe("peer-2", SdpType::Offer);
    bench.end_of_candidates("peer-2");
    assert_eq!(bench.reply(200, FIRST).len(), 2);
    assert_eq!(bench.reply(200, INVALID_STATE), ["peer-2 left", LEAVE_FIRST]);
    let said = bench.reply(200, "");
    assert!(said[0].starts_with("attempt 1 in 2s"), "{said:?}");
    assert_eq!(bench.pass(2_000), ["peer is here, WeOfferAhead"]);
    bench.describe("peer", SdpType::Offer);
    bench.end_of_candidates("peer");
    let said = bench.reply(200, INVALID_STATE);
    assert!(said[1].starts_with("failed: room \"r1\" refuses us"), "{said:?}");
}

#[test]
fn progress_in_between_makes_an_invalid_state_the_first_again() {
    let mut bench = Bench::polling();
    for _ in 0..10 {
        bench.reply(200, AGAIN);
        bench.pass(1_000);
        assert_eq!(bench.reply(200, INVALID_STATE).len(), 2);
        assert!(bench.reply(200, "")[0].contains("in 1s"));
        let peer = bench.pass(1_000)[0].split(' ').next().unwrap().to_owned();
        bench.describe(&peer, SdpType::Offer);
        bench.end_of_candidates(&peer);
        bench.reply(200, FIRST);
    }
}

#[test]
fn a_server_that_takes_no_offer_with_the_join_gets_it_afterwards() {
    // Vector 8.
    for status in [400, 404] {
        let mut bench = Bench::joining();
        assert_eq!(bench.reply(status, NOT_FOUND), ["join room=r1"]);
        let joined = r#"{"ID":"k3f09zq81mnb5t7a","Servers":[{"url":"stun:a"}]}"#;
        let said = bench.reply(200, joined);
        assert_eq!(said, ["joined, 1 ICE server(s)", "peer left", "peer-2 is here, WeOfferAhead"]);
        bench.describe("peer-2", SdpType::Offer);
        let upload = r#"offer client_id=k3f09zq81mnb5t7a data={"type":"offer","sdp":"v=0\r\n"}"#;
        assert_eq!(bench.end_of_candidates("peer-2"), [upload]);
        assert_eq!(bench.reply(200, "{}"), [POLL]);
    }
    let mut bench = Bench::joining();
    bench.reply(404, NOT_FOUND);
    let said = bench.reply(404, NOT_FOUND);
    assert!(said[1].starts_with("failed: the server took the connection but did not answer"), "{said:?}");
}

#[test]
fn a_server_that_takes_the_offer_nowhere_ends_it() {
    let mut bench = Bench::new(OfferBy::Upload);
    assert_eq!(bench.start(), ["join room=r1"]);
    assert_eq!(bench.reply(200, FIRST), ["joined, 0 ICE server(s)", "peer is here, WeOfferAhead"]);
    bench.describe("peer", SdpType::Offer);
    bench.end_of_candidates("peer");
    assert_eq!(bench.reply(404, NOT_FOUND), ["peer left", LEAVE_FIRST]);
    let said = bench.reply(404, NOT_FOUND);
    assert!(said[0].contains("the server does not say where the offer goes"), "{said:?}");
}

#[test]
fn with_offer_join_a_refusal_is_not_worked_around() {
    let mut bench = Bench::new(OfferBy::Join);
    bench.start();
    bench.describe("peer", SdpType::Offer);
    bench.end_of_candidates("peer");
    assert!(bench.reply(404, NOT_FOUND)[1].starts_with("failed"));
}

#[test]
fn a_poll_that_fails_is_repeated_with_the_same_id() {
    // Vector 9.
    let mut bench = Bench::polling();
    for (number, wait) in [1, 2, 4, 8, 8].into_iter().enumerate() {
        let said = if number % 2 == 0 { bench.reply(502, "<html>") } else { bench.fail() };
        assert!(said[0].starts_with(&format!("attempt {} in {wait}s", number + 1)), "{said:?}");
        assert_eq!(bench.pass(wait * 1000 - 1), NOTHING);
        assert_eq!(bench.pass(1), [POLL]);
    }
    bench.pass(10_000);
    assert_eq!(bench.reply(200, AGAIN), ["joined, 0 ICE server(s)", POLL]);
    assert!(bench.reply(502, "")[0].starts_with("attempt 1 in 1s"));
}

#[test]
fn a_server_that_cannot_be_reached_is_final_at_first_and_waited_for_later() {
    assert!(Bench::joining().fail()[1].starts_with("failed: cannot reach h"));
    assert!(Bench::joining().reply(500, "")[1].starts_with("failed"));
    let mut bench = Bench::polling();
    bench.reply(200, ANSWERED);
    bench.hang_up("peer");
    bench.reply(200, "");
    bench.pass(1_000);
    bench.describe("peer-2", SdpType::Offer);
    bench.end_of_candidates("peer-2");
    assert!(bench.fail()[1].starts_with("attempt 2 in 2s: cannot reach h"));
}

#[test]
fn after_a_call_the_room_is_left_and_joined_again() {
    let mut bench = Bench::polling();
    bench.reply(200, ANSWERED);
    assert_eq!(bench.describe("peer", SdpType::Offer), NOTHING, "there is no renegotiation");
    bench.pass(60_000);
    assert_eq!(bench.hang_up("peer"), ["peer left", LEAVE_FIRST]);
    assert_eq!(bench.pass(1_999), NOTHING);
    assert_eq!(bench.pass(1), ["attempt 1 in 1s: the call has ended"], "the reply is not waited for longer");
    assert_eq!(bench.pass(1_000), ["peer-2 is here, WeOfferAhead"]);
}

#[test]
fn whoever_is_in_the_room_signs_off_in_every_state() {
    let mut bench = Bench::polling();
    assert_eq!(bench.command(Command::Leave), ["peer left", LEAVE_FIRST]);
    assert_eq!(bench.reply(500, ""), ["ended"]);

    let mut bench = Bench::polling();
    bench.reply(200, ANSWERED);
    assert_eq!(bench.command(Command::Leave), ["peer left", LEAVE_FIRST]);
    assert_eq!(bench.pass(2_000), ["ended"]);

    let mut bench = Bench::joining();
    assert_eq!(bench.command(Command::Leave), NOTHING, "whether we are in is not known yet");
    assert_eq!(bench.reply(200, FIRST), ["peer left", LEAVE_FIRST]);
    assert_eq!(bench.fail(), ["ended"]);

    let mut bench = Bench::joining();
    bench.command(Command::Leave);
    assert_eq!(bench.pass(2_000), ["ended"]);

    let mut bench = Bench::new(OfferBy::Auto);
    bench.start();
    assert_eq!(bench.command(Command::Leave), ["peer left", "ended"]);
    assert_eq!(bench.command(Command::Leave), NOTHING);

    let mut bench = Bench::joining();
    bench.reply(200, FULL_ROOM);
    assert_eq!(bench.command(Command::Leave), ["ended"]);
}

#[test]
fn a_connection_that_fails_early_is_made_anew() {
    let mut bench = Bench::joining();
    assert_eq!(bench.hang_up("peer"), ["peer left"]);
    assert_eq!(bench.reply(200, FIRST), ["joined, 0 ICE server(s)", LEAVE_FIRST]);
    assert_eq!(bench.reply(200, ""), ["attempt 1 in 1s: our connection failed"]);
    let mut bench = Bench::new(OfferBy::Auto);
    bench.start();
    let said = bench.pass(10_000);
    assert_eq!(said[1], "attempt 1 in 1s: our connection has no description");
}

#[test]
fn replies_of_any_kind_never_panic() {
    let bodies = [
        "",
        "7",
        "[]",
        "{}",
        r#"{"ID":""}"#,
        r#"{"data":7}"#,
        r#"{"type":7,"msg":7}"#,
        r#"{"again":null}"#,
        FIRST,
        SECOND,
        ANSWERED,
        AGAIN,
        INVALID_STATE,
    ];
    for status in [100, 200, 204, 302, 400, 404, 413, 429, 500] {
        for first in bodies {
            for second in bodies {
                for mut bench in [Bench::joining(), Bench::polling(), Bench::new(OfferBy::Upload)] {
                    bench.start();
                    bench.reply(status, first);
                    bench.reply(status, second);
                    bench.pass(20_000);
                }
            }
        }
    }
}
