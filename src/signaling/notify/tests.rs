//! The notify client against literal frames. The numbers are those of the vectors in the protocol's description.

use super::*;
use crate::signaling::bench;
use crate::terms::IceCandidate;

const GET: &str = r#"{"method":"GET","msg_id":1,"resource":"/peerconnection"}"#;
const SUCCESS: &str = r#"{"code":"success","msg_id":1,"result":{"configuration":{"iceServers":[{"url":"stun:stun.l.google.com:19302"}]}}}"#;
const OFFER: &str = r#"{"method":"NOTIFY","data":{"type":"offer","sdp":"v=0\r\n"}}"#;
const ANSWER_FRAME: &str = r#"{"method":"NOTIFY","data":{"type":"answer","sdp":"v=0\r\n"}}"#;
const END: &str = r#"{"method":"NOTIFY","data":null}"#;

const JOINED: &str = "joined as gateway, 1 ICE server(s)";

type Bench = bench::Bench<NotifyClient>;

impl Bench {
    fn new(role: Role) -> Self {
        Self::of(NotifyClient::new(role, Box::new(|| 0.5)), short)
    }

    /// A client whose connection stands and which has the configuration.
    fn joined(role: Role) -> Self {
        let mut bench = Self::new(role);
        assert_eq!(bench.open(), [GET]);
        assert_eq!(bench.receive(SUCCESS)[0], JOINED);
        bench
    }

    /// A client in a call that the other side began.
    fn called() -> Self {
        let mut bench = Self::joined(Role::Auto);
        assert_eq!(bench.receive(OFFER), ["peer is here, WeWait", "offer from peer"]);
        assert_eq!(bench.describe("peer", SdpType::Answer).len(), 1);
        bench
    }

    fn describe(&mut self, peer: &str, kind: SdpType) -> Vec<String> {
        let description = SessionDescription { kind, sdp: "v=0\r\n".into() };
        self.command(Command::Description { peer: ParticipantId::new(peer), description })
    }

    fn hang_up(&mut self, peer: &str) -> Vec<String> {
        self.command(Command::Hangup { peer: ParticipantId::new(peer) })
    }

    fn lose(&mut self, error: SignalingError) -> Vec<String> {
        self.fail(error)
    }

    fn close(&mut self, code: Option<u16>) -> Vec<String> {
        self.lose(SignalingError::Closed { host: "h".into(), code, reason: String::new() })
    }

    fn refuse(&mut self, status: u16) -> Vec<String> {
        self.lose(SignalingError::NotAWebSocket { url: "ws://h/".into(), status })
    }

    fn pass(&mut self, milliseconds: u64) -> Vec<String> {
        self.wait(Duration::from_millis(milliseconds))
    }
}

fn short(output: Output) -> String {
    match output {
        Output::Frame(text) => text,
        Output::Event(Event::Joined { me, ice_servers }) => {
            format!("joined as {me}, {} ICE server(s)", ice_servers.len())
        }
        Output::Event(Event::PeerJoined { peer, offer }) => format!("{peer} is here, {offer:?}"),
        Output::Event(Event::PeerLeft { peer }) => format!("{peer} left"),
        Output::Event(Event::Description { peer, description }) => {
            format!("{} from {peer}", serde_json::to_value(description.kind).unwrap().as_str().unwrap())
        }
        Output::Event(Event::Candidate { peer, candidate: None }) => format!("end of candidates from {peer}"),
        Output::Event(Event::Candidate { peer, candidate: Some(candidate) }) => {
            format!("candidate from {peer}, mid {:?}, index {:?}", candidate.sdp_mid, candidate.sdp_m_line_index)
        }
        Output::Event(other) => format!("{other:?}"),
        Output::Disconnect(Next::Ended) => "ended".into(),
        Output::Disconnect(Next::Failed(error)) => format!("failed: {error}"),
        Output::Disconnect(Next::Reconnect { delay, reason }) => format!("again after {delay:?}: {reason}"),
    }
}

#[test]
fn the_configuration_brings_the_ice_servers() {
    // Vector 1.
    let mut bench = Bench::new(Role::Callee);
    assert_eq!(bench.open(), [GET]);
    assert_eq!(bench.receive(SUCCESS), [JOINED]);
    assert_eq!(bench.receive(SUCCESS), [] as [&str; 0], "a second one changes nothing");
}

#[test]
fn without_a_configuration_we_go_on_with_our_own_servers() {
    let mut bench = Bench::new(Role::Auto);
    bench.open();
    assert_eq!(bench.pass(4999), [] as [&str; 0]);
    assert_eq!(bench.pass(1), ["joined as gateway, 0 ICE server(s)", "peer is here, WeOfferAhead"]);
}

#[test]
fn what_comes_before_the_configuration_waits_for_it() {
    // Vector 4.
    let mut bench = Bench::new(Role::Auto);
    bench.open();
    assert_eq!(bench.receive(OFFER), [] as [&str; 0]);
    assert_eq!(bench.receive(END), [] as [&str; 0]);
    let said = bench.receive(SUCCESS);
    assert_eq!(said, [JOINED, "peer is here, WeWait", "offer from peer", "end of candidates from peer"]);
    assert_eq!(bench.pass(60_000), [] as [&str; 0], "an offer was there: we never offer");
}

#[test]
fn too_much_before_the_configuration_is_not_kept() {
    let mut bench = Bench::new(Role::Callee);
    bench.open();
    for _ in 0..10_000 {
        bench.receive(END);
    }
    assert_eq!(bench.receive(SUCCESS).len(), 1 + EARLY);
}

#[test]
fn candidates_and_their_end_are_read_in_every_spelling() {
    let mut bench = Bench::joined(Role::Callee);
    for (data, expected) in [
        // Vector 5.
        ("null", "end of candidates from peer"),
        (r#"{"candidate":"","sdpMid":"0"}"#, "end of candidates from peer"),
        (r#"{"candidate":null}"#, "end of candidates from peer"),
        // Vector 6.
        (
            r#"{"sdpMLineIndex":0,"candidate":"candidate:1 1 udp 1 192.0.2.7 9 typ host"}"#,
            "candidate from peer, mid None, index Some(0)",
        ),
    ] {
        assert_eq!(bench.receive(&format!(r#"{{"data":{data},"method":"NOTIFY"}}"#)), [expected], "{data}");
    }
    let offer = r#"{"type":"offer","sdp":"v=0\r\nm=audio 9 x 0\r\na=mid:a\r\nm=video 9 x 0\r\na=mid:v\r\n"}"#;
    bench.receive(&format!(r#"{{"method":"NOTIFY","data":{offer}}}"#));
    for (named, expected) in [
        (r#""sdpMLineIndex":1"#, "candidate from peer, mid Some(\"v\"), index Some(1)"),
        (r#""sdpMid":"v""#, "candidate from peer, mid Some(\"v\"), index Some(1)"),
        (r#""sdpMLineIndex":7"#, "candidate from peer, mid None, index Some(7)"),
    ] {
        let frame = format!(r#"{{"method":"NOTIFY","data":{{"candidate":"candidate:1",{named}}}}}"#);
        assert_eq!(bench.receive(&frame), [expected], "{named}");
    }
}

#[test]
fn nonsense_is_ignored() {
    // Vector 7, and more of it.
    let mut bench = Bench::joined(Role::Callee);
    for text in [
        r#"{"method":"NOTIFY","data":[1]}"#,
        "[1]",
        "not json",
        r#"{"method":"PUT"}"#,
        r#"{"method":"NOTIFY"}"#,
        r#"{"method":"NOTIFY","data":7}"#,
        r#"{"method":"NOTIFY","data":{"type":"banana","sdp":""}}"#,
        r#"{"method":"NOTIFY","data":{"type":7}}"#,
        r#"{"method":"NOTIFY","data":{"candidate":7}}"#,
        r#"{"method":"NOTIFY","data":{}}"#,
        r#"{"code":"failure"}"#,
        GET,
        ANSWER_FRAME,
    ] {
        assert_eq!(bench.receive(text), [] as [&str; 0], "{text}");
    }
}

#[test]
fn auto_answers_a_queued_offer_and_otherwise_offers() {
    // Vector 11, with chance at one half and at its end.
    let mut bench = Bench::joined(Role::Auto);
    assert_eq!(bench.pass(2499), [] as [&str; 0]);
    assert_eq!(bench.pass(1), ["peer is here, WeOfferAhead"]);
    assert_eq!(bench.pass(3_600_000), [] as [&str; 0], "nobody may be there yet: the offer waits in the queue");

    let mut bench = Bench::new(Role::Auto);
    bench.client.random = Box::new(|| 1.0);
    bench.open();
    bench.receive(SUCCESS);
    assert_eq!(bench.pass(2999), [] as [&str; 0]);
    assert_eq!(bench.pass(1), ["peer is here, WeOfferAhead"]);

    let mut bench = Bench::joined(Role::Auto);
    bench.pass(400);
    assert_eq!(bench.receive(OFFER), ["peer is here, WeWait", "offer from peer"]);
    assert_eq!(bench.pass(60_000), [] as [&str; 0]);
}

#[test]
fn roles_decide_who_offers() {
    let mut caller = Bench::new(Role::Caller);
    caller.open();
    assert_eq!(caller.receive(SUCCESS), [JOINED, "peer is here, WeOfferAhead"]);
    let mut callee = Bench::joined(Role::Callee);
    assert_eq!(callee.pass(3_600_000), [] as [&str; 0]);
    assert_eq!(callee.receive(OFFER), ["peer is here, WeWait", "offer from peer"]);
    // Two callers: the second one finds the first one's offer.
    let mut second = Bench::new(Role::Caller);
    second.open();
    second.receive(OFFER);
    assert_eq!(second.receive(SUCCESS), [JOINED, "peer is here, WeWait", "offer from peer"]);
}

#[test]
fn descriptions_candidates_and_their_end_are_sent_as_the_page_sends_them() {
    let mut bench = Bench::joined(Role::Caller);
    assert_eq!(
        bench.describe("peer", SdpType::Offer),
        [r#"{"method":"NOTIFY","data":{"sdp":"v=0\r\n","type":"offer"}}"#]
    );
    let candidate = IceCandidate {
        candidate: "candidate:1 1 udp 2122260223 192.0.2.7 40000 typ host".into(),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: Some("Ab1c".into()),
    };
    let peer = ParticipantId::new("peer");
    let sent = bench.command(Command::Candidate { peer: peer.clone(), candidate: Some(candidate) });
    let sent: serde_json::Value = serde_json::from_str(&sent[0]).unwrap();
    let expected = r#"{"method":"NOTIFY","data":{"candidate":"candidate:1 1 udp 2122260223 192.0.2.7 40000 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"Ab1c"}}"#;
    assert_eq!(sent, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    let sdp = "v=0\r\nm=audio 9 x 0\r\na=mid:a\r\n".to_owned();
    let description = SessionDescription { kind: SdpType::Offer, sdp };
    bench.command(Command::Description { peer: peer.clone(), description });
    let unnamed = IceCandidate {
        candidate: "candidate:1".into(),
        sdp_mid: Some(String::new()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    };
    let sent = bench.command(Command::Candidate { peer: peer.clone(), candidate: Some(unnamed) });
    assert!(sent[0].contains(r#""sdpMid":"a""#), "as the engine names its own: {sent:?}");
    assert_eq!(bench.command(Command::Candidate { peer: peer.clone(), candidate: None }), [END]);
    let empty = Some(IceCandidate::default());
    assert_eq!(bench.command(Command::Candidate { peer, candidate: empty }), [END]);
    assert_eq!(bench.describe("somebody", SdpType::Offer), [] as [&str; 0]);
}

#[test]
fn when_both_offer_ours_is_kept_and_without_an_answer_we_start_again() {
    let mut bench = Bench::joined(Role::Caller);
    bench.describe("peer", SdpType::Offer);
    assert_eq!(bench.receive(OFFER), [] as [&str; 0]);
    let candidate = r#"{"method":"NOTIFY","data":{"candidate":"candidate:1","sdpMid":"0"}}"#;
    assert_eq!(bench.receive(candidate), [] as [&str; 0], "it belongs to the offer that was ignored");
    assert_eq!(bench.receive(ANSWER_FRAME), ["answer from peer"]);
    assert_eq!(bench.receive(candidate).len(), 1);
    assert_eq!(bench.pass(60_000), [] as [&str; 0]);

    let mut bench = Bench::joined(Role::Caller);
    bench.describe("peer", SdpType::Offer);
    bench.receive(OFFER);
    assert_eq!(bench.pass(9999), [] as [&str; 0]);
    assert_eq!(bench.pass(1), ["peer left", "again after Some(2.5s): our offer was not answered"]);
    assert_eq!(bench.receive(ANSWER_FRAME), [] as [&str; 0], "too late");
    bench.lose(SignalingError::Driver { reason: "closed by us".into() });
    assert_eq!(bench.open(), [GET]);
}

#[test]
fn an_offer_during_a_call_renegotiates_it() {
    let mut bench = Bench::called();
    assert_eq!(bench.receive(OFFER), ["offer from peer"]);
    bench.describe("peer", SdpType::Offer);
    assert_eq!(bench.receive(OFFER), [] as [&str; 0], "glare");
    assert_eq!(bench.receive(ANSWER_FRAME), ["answer from peer"]);
}

#[test]
fn when_the_server_closes_the_other_side_has_left() {
    for code in [None, Some(1000)] {
        let mut bench = Bench::called();
        assert_eq!(bench.close(code), ["peer left", "again after Some(1.5s): the other side has left"]);
        assert_eq!(bench.open(), [GET]);
        assert_eq!(bench.receive(SUCCESS), [JOINED]);
        assert_eq!(bench.receive(OFFER), ["peer is here, WeWait", "offer from peer"]);
    }
}

#[test]
fn a_close_right_after_opening_is_no_call() {
    let mut bench = Bench::new(Role::Auto);
    bench.open();
    bench.pass(2900);
    assert_eq!(bench.close(None), ["again after Some(1.5s): the end of the call before was taken for ours"]);
    assert_eq!(bench.open(), [GET]);
}

#[test]
fn a_full_call_is_tried_again_ever_more_rarely() {
    let mut bench = Bench::new(Role::Auto);
    let full = || SignalingError::Full { host: "h".into(), reason: "HTTP 400 Space Full".into() };
    for wait in [5, 10, 20, 40, 60, 60] {
        let expected = format!("again after Some({wait}s): h lets nobody more into this call (HTTP 400 Space Full)");
        assert_eq!(bench.lose(full()), [expected]);
    }
    bench.open();
    bench.receive(SUCCESS);
    bench.close(None);
    assert!(bench.lose(full())[0].starts_with("again after Some(5s)"), "a call in between makes us hope again");
}

#[test]
fn other_refusals_are_final() {
    for status in [400, 403, 404, 405] {
        let mut bench = Bench::called();
        bench.close(None);
        let said = bench.refuse(status);
        assert!(said[0].starts_with("failed: ws://h/ answers HTTP"), "{said:?}");
    }
    let mut bench = Bench::new(Role::Auto);
    assert!(bench.refuse(503)[0].starts_with("failed"));
    let mut bench = Bench::called();
    bench.close(None);
    assert!(bench.refuse(503)[0].starts_with("again after None"), "a server that was there comes back");
}

#[test]
fn a_server_that_does_not_speak_our_protocol_ends_the_first_attempt() {
    let mut bench = Bench::new(Role::Auto);
    bench.open();
    let said = bench.lose(SignalingError::NoAnswer { host: "h".into(), reason: "bad frame".into() });
    assert!(said[0].starts_with("failed: h took the connection but did not answer"), "{said:?}");
}

/// Whoever was in a call on a connection that was lost.
fn interrupted(code: Option<u16>) -> Bench {
    let mut bench = Bench::called();
    let said = match code {
        Some(_) => bench.close(code),
        None => bench.lose(SignalingError::NoAnswer { host: "h".into(), reason: "nothing heard for 40 s".into() }),
    };
    assert_eq!(said.len(), 1, "nobody has left: {said:?}");
    assert!(said[0].starts_with("again after"), "{said:?}");
    assert_eq!(bench.open(), [GET]);
    assert_eq!(bench.receive(SUCCESS), [JOINED]);
    bench
}

#[test]
fn media_goes_on_when_the_connection_is_lost_until_somebody_talks_again() {
    for code in [None, Some(1001), Some(1012)] {
        let mut bench = interrupted(code);
        assert_eq!(bench.receive(OFFER), ["peer left", "peer-2 is here, WeWait", "offer from peer-2"]);
        let mut bench = interrupted(code);
        assert_eq!(bench.pass(3000), ["peer-2 is here, WeOfferAhead"]);
        assert_eq!(bench.describe("peer-2", SdpType::Offer).len(), 1);
        assert_eq!(bench.receive(ANSWER_FRAME), ["peer left", "answer from peer-2"]);
    }
}

#[test]
fn a_dead_side_of_a_lost_connection_is_forgotten_alone() {
    let mut bench = interrupted(None);
    assert_eq!(bench.hang_up("peer"), ["peer left"]);
    assert_eq!(bench.receive(OFFER), ["peer-2 is here, WeWait", "offer from peer-2"]);

    let mut bench = interrupted(None);
    assert_eq!(bench.describe("peer", SdpType::Offer), ["peer left"], "a new path cannot be asked for");
}

#[test]
fn a_side_that_does_not_answer_in_a_call_is_dead() {
    let mut bench = Bench::called();
    assert_eq!(bench.describe("peer", SdpType::Offer).len(), 1);
    bench.pass(4000);
    assert_eq!(bench.describe("peer", SdpType::Offer).len(), 1);
    assert_eq!(bench.pass(6000), ["peer left", "again after Some(2.5s): our offer was not answered"]);
}

#[test]
fn an_offer_that_waited_in_the_queue_is_made_anew_on_the_next_connection() {
    let mut bench = Bench::joined(Role::Caller);
    bench.describe("peer", SdpType::Offer);
    let said = bench.lose(SignalingError::NoAnswer { host: "h".into(), reason: "reset".into() });
    assert_eq!(said[0], "peer left");
    bench.open();
    assert_eq!(bench.receive(SUCCESS), [JOINED, "peer is here, WeOfferAhead"]);
}

#[test]
fn hanging_up_closes_the_connection_and_comes_back() {
    let mut bench = Bench::called();
    assert_eq!(bench.hang_up("peer"), ["peer left", "again after Some(1.5s): the call has ended"]);
    assert_eq!(bench.hang_up("peer"), [] as [&str; 0]);
}

#[test]
fn leaving_closes_the_connection() {
    let mut bench = Bench::called();
    assert_eq!(bench.command(Command::Leave), ["ended"]);
    assert_eq!(bench.command(Command::Leave), [] as [&str; 0]);
    assert_eq!(Bench::new(Role::Auto).command(Command::Leave), ["ended"], "also before there is one");
}
