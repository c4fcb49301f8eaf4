//! The GStreamer client against literal frames: what it sends, what it is sent, and what it makes of it.

use super::*;
use crate::signaling::bench;
use crate::terms::{IceCandidate, SdpType, SessionDescription};

const OFFER_1: &str = r#"{"sdp":{"type":"offer","sdp":"a=fingerprint:one"}}"#;
const OFFER_2: &str = r#"{"sdp":{"type":"offer","sdp":"a=fingerprint:two"}}"#;

type Bench = bench::Bench<GStreamerClient>;

impl Bench {
    fn new(goal: Goal, id: Option<&str>) -> Self {
        let client = GStreamerClient::new(goal, id.map(ParticipantId::new), bench::ids("rc-0000000"));
        Self::of(client, short)
    }

    fn room(id: Option<&str>) -> Self {
        Self::new(Goal::Room("r1".into()), id)
    }

    fn calling() -> Self {
        Self::new(Goal::Call(ParticipantId::new("b")), Some("a"))
    }

    fn waiting() -> Self {
        let mut bench = Self::new(Goal::Wait, Some("a"));
        bench.open();
        bench.receive("HELLO");
        bench
    }

    /// A client `a` in a room with these.
    fn in_room(with: &str) -> Self {
        let mut bench = Self::room(Some("a"));
        bench.enter(with);
        bench
    }

    fn enter(&mut self, with: &str) -> Vec<String> {
        self.open();
        self.receive("HELLO");
        self.receive(&format!("ROOM_OK {with}"))
    }

    /// Calls `b`, who takes the call.
    fn call(&mut self) -> Vec<String> {
        self.open();
        self.receive("HELLO");
        self.receive("SESSION_OK")
    }

    fn describe(&mut self, peer: &str, kind: SdpType) -> Vec<String> {
        let description = SessionDescription { kind, sdp: "m=a\r\na=mid:x\r\nm=v\r\na=mid:y\r\n".into() };
        self.command(Command::Description { peer: ParticipantId::new(peer), description })
    }

    fn offer(&mut self, peer: &str) -> Vec<String> {
        self.describe(peer, SdpType::Offer)
    }

    fn close(&mut self, code: u16, reason: &str) -> Vec<String> {
        let error = SignalingError::Closed { host: "h".into(), code: Some(code), reason: reason.into() };
        self.fail(error)
    }

    fn pass(&mut self, seconds: u64) -> Vec<String> {
        self.wait(Duration::from_secs(seconds))
    }
}

/// Frames are marked: they are words like everything else.
fn short(output: Output) -> String {
    match output {
        Output::Frame(text) => format!("> {text}"),
        other => bench::short_with_sdp(other),
    }
}

fn candidate(candidate: &str, mid: Option<&str>) -> Command {
    let candidate = IceCandidate { candidate: candidate.into(), sdp_mid: mid.map(Into::into), ..Default::default() };
    Command::Candidate { peer: ParticipantId::new("b"), candidate: Some(candidate) }
}

#[test]
fn vector_1_it_registers_under_its_id() {
    let mut bench = Bench::new(Goal::Wait, Some("a"));
    assert_eq!(bench.open(), ["> HELLO a"]);
    assert_eq!(bench.receive("HELLO"), ["joined as a"]);
}

#[test]
fn vector_2_an_id_that_is_taken_is_changed_unless_the_user_chose_it() {
    let mut bench = Bench::room(None);
    assert_eq!(bench.open(), ["> HELLO rc-00000001"]);
    assert_eq!(bench.close(1002, "invalid peer uid"), ["reconnect in 0 s"]);
    assert_eq!(bench.open(), ["> HELLO rc-00000002"]);
    assert_eq!(bench.close(1002, "invalid peer uid"), ["reconnect"], "who refuses every id is not asked in a hurry");

    let mut bench = Bench::room(Some("a"));
    for _ in 0..5 {
        assert_eq!(bench.open(), ["> HELLO a"]);
        assert_eq!(bench.close(1002, "invalid peer uid"), ["reconnect in 6 s"]);
    }
    bench.open();
    assert!(bench.close(1002, "invalid peer uid")[0].starts_with("failed: the id \"a\" is taken in room \"r1\""));

    let mut bench = Bench::room(Some("a"));
    bench.open();
    assert_eq!(bench.close(1002, "invalid protocol"), ["failed: h closed the connection (1002 invalid protocol)"]);
}

#[test]
fn vector_3_a_newcomer_offers_to_everybody_who_is_there() {
    let mut bench = Bench::room(Some("a"));
    bench.open();
    assert_eq!(bench.receive("HELLO"), ["> ROOM r1"]);
    assert_eq!(bench.receive("ROOM_OK "), ["joined as a"]);
    let mut bench = Bench::room(Some("a"));
    assert_eq!(bench.enter("b c"), ["joined as a", "b is here, WeOffer", "c is here, WeOffer"]);
}

#[test]
fn vectors_4_and_5_who_comes_later_offers_and_who_leaves_is_gone_at_once() {
    let mut bench = Bench::in_room("");
    assert_eq!(bench.receive("ROOM_PEER_JOINED d"), ["d is here, WeWait"]);
    assert!(bench.receive("ROOM_PEER_JOINED d").is_empty());
    assert_eq!(bench.receive("ROOM_PEER_LEFT d"), ["d left"]);
    assert!(bench.receive("ROOM_PEER_LEFT d").is_empty());
}

#[test]
fn vectors_6_to_8_messages_of_a_member_are_read_or_ignored() {
    let mut bench = Bench::in_room("b");
    for (message, expected) in [
        (r#"{"sdp":{"type":"answer","sdp":"v=0\r\n"}}"#, "Answer of b: v=0\r\n"),
        (
            r#"{"ice":{"candidate":"candidate:1 1 TCP 1015021823 192.0.2.9 9 typ host tcptype active","sdpMLineIndex":1}}"#,
            "b: candidate:1 1 TCP 1015021823 192.0.2.9 9 typ host tcptype active None Some(1)",
        ),
        (r#"{"ice":{"candidate":""}}"#, "b: end of candidates"),
        (r#"{"ice":null}"#, "b: end of candidates"),
        (r#"{"sdp":{"type":"offer","sdp":"m=audio\r\na=mid:audio0\r\n"}}"#, "Offer of b: m=audio\r\na=mid:audio0\r\n"),
        (r#"{"ice":{"candidate":"candidate:2","sdpMLineIndex":0}}"#, r#"b: candidate:2 Some("audio0") Some(0)"#),
    ] {
        assert_eq!(bench.receive(&format!("ROOM_PEER_MSG b {message}")), [expected]);
    }
    assert!(bench.receive(r#"ROOM_PEER_MSG b {"sdp":"initial sdp"}"#).is_empty());
}

#[test]
fn vectors_9_and_10_who_is_busy_is_called_later_and_who_is_not_there_at_first_never() {
    let mut bench = Bench::calling();
    for wait in [5, 10, 20, 40, 60, 60] {
        bench.open();
        assert_eq!(bench.receive("HELLO"), ["> SESSION b"]);
        assert_eq!(bench.receive("ERROR peer 'b' busy"), [format!("reconnect in {wait} s")]);
    }
    bench.open();
    bench.receive("HELLO");
    assert!(
        bench.receive(r#"ERROR peer "it's" not found"#)[0]
            .starts_with("failed: it's cannot be called: peer \"it's\" not found;")
    );

    let mut bench = Bench::calling();
    bench.call();
    bench.receive(OFFER_1);
    assert_eq!(bench.close(1000, ""), ["b left", "reconnect"]);
    bench.open();
    bench.receive("HELLO");
    assert_eq!(bench.receive("ERROR peer 'b' not found"), ["reconnect"], "whoever was there comes back");
}

#[test]
fn vector_11_who_is_called_is_asked_to_offer_and_after_10_s_we_do() {
    let mut bench = Bench::calling();
    assert_eq!(bench.call(), ["joined as a", "b is here, WeWait", "> OFFER_REQUEST"]);
    assert!(bench.pass(9).is_empty());
    assert_eq!(bench.pass(1), ["b is here, WeOffer"]);
    assert_eq!(bench.offer("b").len(), 1);

    let mut bench = Bench::calling();
    bench.call();
    assert_eq!(bench.receive(OFFER_1), ["Offer of b: a=fingerprint:one"]);
    assert!(bench.pass(60).is_empty(), "their offer is what we waited for");
}

#[test]
fn a_page_that_drops_who_asks_for_an_offer_is_called_again_with_one() {
    let mut bench = Bench::calling();
    bench.call();
    assert_eq!(bench.close(1000, ""), ["b left", "reconnect"]);
    assert_eq!(bench.call(), ["joined as a", "b is here, WeOffer"]);
}

#[test]
fn the_first_frame_of_a_caller_starts_the_call_and_an_offer_request_is_answered_with_an_offer() {
    let mut bench = Bench::waiting();
    assert_eq!(bench.receive(OFFER_1), ["caller is here, WeWait", "Offer of caller: a=fingerprint:one"]);
    assert!(bench.describe("caller", SdpType::Answer)[0].starts_with(r#"> {"sdp":{"type":"answer""#));
    assert!(bench.receive("OFFER_REQUEST").is_empty(), "the call stands already");

    let mut bench = Bench::waiting();
    assert_eq!(bench.receive("OFFER_REQUEST"), ["caller is here, WeOffer"]);
    assert!(bench.offer("caller")[0].starts_with(r#"> {"sdp":{"type":"offer""#));

    let mut bench = Bench::waiting();
    assert_eq!(bench.receive(r#"{"sdp":"initial sdp"}"#), ["caller is here, WeWait"]);
}

#[test]
fn a_page_may_offer_a_data_channel_alone_and_then_everything() {
    let mut bench = Bench::waiting();
    bench.receive(OFFER_1);
    bench.describe("caller", SdpType::Answer);
    assert_eq!(bench.receive(OFFER_1), ["Offer of caller: a=fingerprint:one"], "a renegotiation of the same call");
    assert_eq!(bench.describe("caller", SdpType::Answer).len(), 1);
    assert_eq!(bench.offer("caller").len(), 1, "in a session we may offer again too");
}

#[test]
fn an_offer_of_another_connection_begins_another_call() {
    let mut bench = Bench::in_room("");
    bench.receive("ROOM_PEER_JOINED b");
    bench.receive(&format!("ROOM_PEER_MSG b {OFFER_1}"));
    let offer = bench.receive(&format!("ROOM_PEER_MSG b {OFFER_2}"));
    assert_eq!(offer, ["call with b ended", "Offer of b: a=fingerprint:two"]);
}

#[test]
fn a_closed_session_with_1000_was_hung_up_and_anything_else_keeps_the_call_until_the_next_one() {
    let mut bench = Bench::waiting();
    bench.receive(OFFER_1);
    assert_eq!(bench.close(1000, ""), ["caller left", "reconnect"]);
    bench.open();
    assert_eq!(bench.receive("HELLO"), ["joined as a"]);
    bench.receive(OFFER_1);
    assert_eq!(bench.close(1006, ""), ["reconnect"]);
    bench.open();
    assert_eq!(bench.receive("HELLO"), ["joined as a"]);
    let next = bench.receive(OFFER_2);
    assert_eq!(next, ["caller left", "caller is here, WeWait", "Offer of caller: a=fingerprint:two"]);
}

#[test]
fn an_error_inside_a_session_is_never_fatal() {
    let mut bench = Bench::calling();
    bench.call();
    assert!(bench.receive("ERROR invalid msg").is_empty());
    assert_eq!(bench.receive(OFFER_1).len(), 1);
    let mut bench = Bench::waiting();
    assert!(bench.receive("ERROR invalid msg").is_empty(), "and it is no call");
    assert_eq!(bench.receive(OFFER_1).len(), 2);
}

#[test]
fn candidates_follow_their_description_and_always_carry_an_index() {
    let mut bench = Bench::in_room("b");
    assert!(bench.command(candidate("candidate:1", Some("y"))).is_empty(), "their element does not exist yet");
    let said = bench.offer("b");
    assert!(said[0].starts_with(r#"> ROOM_PEER_MSG b {"sdp":{"type":"offer""#), "{said:?}");
    assert_eq!(said[1], r#"> ROOM_PEER_MSG b {"ice":{"candidate":"candidate:1","sdpMid":"y","sdpMLineIndex":1}}"#);
    let late = bench.command(candidate("candidate:2", None));
    assert_eq!(late, [r#"> ROOM_PEER_MSG b {"ice":{"candidate":"candidate:2","sdpMLineIndex":0}}"#]);
    assert!(bench.command(candidate("", Some("x"))).is_empty(), "their end has no message");
    assert!(bench.command(Command::Candidate { peer: ParticipantId::new("b"), candidate: None }).is_empty());
}

#[test]
fn in_a_room_a_second_offer_is_a_new_join_and_at_most_one_a_minute() {
    let mut bench = Bench::in_room("b c");
    assert_eq!(bench.offer("b").len(), 1);
    assert_eq!(bench.offer("b"), ["b left", "c left", "reconnect in 0 s"]);
    assert_eq!(bench.enter("b c"), ["joined as a", "b is here, WeOffer", "c is here, WeOffer"]);
    bench.offer("b");
    bench.receive(r#"ROOM_PEER_MSG b {"sdp":{"type":"answer","sdp":"v=0"}}"#);
    assert_eq!(bench.offer("b"), ["call with b ended"]);
    assert!(bench.pass(59).is_empty());
    assert_eq!(bench.pass(1), ["b left", "c left", "reconnect in 0 s"]);
}

#[test]
fn an_offer_nobody_answers_ends_after_30_s() {
    let mut bench = Bench::in_room("b");
    bench.offer("b");
    assert!(bench.pass(29).is_empty());
    assert_eq!(bench.pass(1), ["call with b ended"]);
    let mut bench = Bench::calling();
    bench.call();
    bench.pass(10);
    bench.offer("b");
    assert_eq!(bench.pass(30), ["b left", "reconnect in 5 s"]);
}

#[test]
fn calls_outlive_the_server_and_are_compared_with_the_room_after_it_came_back() {
    let mut bench = Bench::in_room("b c d");
    for peer in ["b", "c"] {
        bench.offer(peer);
        bench.receive(&format!(r#"ROOM_PEER_MSG {peer} {{"sdp":{{"type":"answer","sdp":"a=fingerprint:{peer}"}}}}"#));
    }
    assert_eq!(bench.close(1001, ""), ["reconnect"]);
    assert_eq!(bench.enter("b d e"), ["joined as a", "d is here, WeOffer", "e is here, WeOffer"], "b's call stands");
    assert!(bench.receive("ROOM_PEER_JOINED c").is_empty(), "and so does c's, who was slower");
    assert!(bench.pass(10).is_empty());
    assert_eq!(bench.offer("b").len(), 1, "a newcomer may offer once");

    assert_eq!(bench.close(1001, ""), ["reconnect"]);
    assert_eq!(bench.enter("b"), ["joined as a"]);
    assert!(bench.pass(9).is_empty());
    assert_eq!(bench.pass(1), ["c left", "d left", "e left"]);
}

#[test]
fn under_another_id_we_are_somebody_new() {
    let mut bench = Bench::room(None);
    bench.enter("b");
    bench.offer("b");
    bench.close(1006, "");
    bench.open();
    bench.close(1002, "invalid peer uid");
    assert_eq!(bench.enter("b"), ["b left", "joined as rc-00000002", "b is here, WeOffer"]);
}

#[test]
fn bridges_do_not_call_each_other() {
    let mut bench = Bench::room(None);
    assert_eq!(bench.enter("rc-12345678 test-12345678"), ["joined as rc-00000001", "test-12345678 is here, WeOffer"]);
    assert!(bench.receive("ROOM_PEER_JOINED rc-87654321").is_empty());
    let mut person = Bench::room(Some("test-1"));
    assert_eq!(person.enter("rc-12345678"), ["joined as test-1", "rc-12345678 is here, WeOffer"]);
}

#[test]
fn what_the_server_refuses_is_final_at_first_where_waiting_cannot_help() {
    for (error, expected) in [
        (
            "ERROR invalid room id 'r1'",
            "failed: room \"r1\" refuses us: invalid room id 'r1' (ERROR); choose another room",
        ),
        ("ERROR something", "failed: room \"r1\" refuses us: something (ERROR)"),
        ("ERROR room is full", "reconnect in 5 s"),
        ("ERROR too many rooms", "reconnect in 5 s"),
    ] {
        let mut bench = Bench::room(Some("a"));
        bench.open();
        bench.receive("HELLO");
        assert_eq!(bench.receive(error), [expected]);
    }
}

#[test]
fn no_answer_within_10_s_is_final_at_first_and_a_reconnect_later() {
    let mut bench = Bench::room(Some("a"));
    bench.open();
    assert!(bench.pass(9).is_empty());
    assert!(bench.pass(1)[0].starts_with("failed: "));
    let mut bench = Bench::in_room("");
    bench.close(1006, "");
    bench.open();
    bench.receive("HELLO");
    assert_eq!(bench.pass(10), ["reconnect"]);
}

#[test]
fn leaving_is_closing_and_nothing_follows() {
    let mut bench = Bench::in_room("b");
    assert_eq!(bench.command(Command::Leave), ["ended"]);
    assert!(bench.offer("b").is_empty());
    assert!(bench.receive("ROOM_PEER_JOINED c").is_empty());
    assert!(bench.command(Command::Leave).is_empty());
}

#[test]
fn hanging_up_closes_a_session_and_only_ends_the_call_in_a_room() {
    let mut bench = Bench::waiting();
    bench.receive(OFFER_1);
    assert_eq!(
        bench.command(Command::Hangup { peer: ParticipantId::new("caller") }),
        ["caller left", "reconnect in 5 s"]
    );
    let mut bench = Bench::in_room("b");
    bench.offer("b");
    assert!(bench.command(Command::Hangup { peer: ParticipantId::new("b") }).is_empty());
    assert!(bench.pass(60).is_empty(), "nobody waits for an answer any more");
}

#[test]
fn an_offer_without_a_receiver_ends_instead_of_waiting_for_ever() {
    let mut bench = Bench::in_room("");
    assert_eq!(bench.offer("stranger"), ["call with stranger ended"]);
    bench.close(1006, "");
    assert_eq!(bench.offer("b"), ["call with b ended"]);
}

#[test]
fn hostile_frames_change_nothing() {
    let long = "x".repeat(100_000);
    let mut bench = Bench::in_room("b");
    for frame in [
        "",
        " ",
        "\0",
        "HELLO",
        "ROOM_OK x y",
        "SESSION_OK",
        "ROOM_PEER_JOINED",
        "ROOM_PEER_JOINED a",
        "ROOM_PEER_JOINED a b",
        "ROOM_PEER_JOINED a\0",
        "ROOM_PEER_JOINED \u{1b}[31m",
        "ROOM_PEER_LEFT",
        "ROOM_PEER_LEFT stranger",
        "ROOM_PEER_MSG",
        "ROOM_PEER_MSG b",
        "ROOM_PEER_MSG a {}",
        "ROOM_PEER_MSG b {\"sdp\":{\"type\":\"evil\",\"sdp\":\"v=0\"}}",
        "ROOM_PEER_MSG b [[[[",
        "ROOM_PEER_LIST x",
        "ERROR",
        "ERROR peer ' not found",
        "ERROR peer '\\' busy",
        &format!("ROOM_PEER_JOINED {long}"),
        &long,
    ] {
        assert!(bench.receive(frame).is_empty(), "{}", &frame[..frame.len().min(60)]);
    }
    let crowd: Vec<String> = (0..5000).map(|n| format!("p{n}")).collect();
    let mut bench = Bench::room(Some("a"));
    assert_eq!(bench.enter(&crowd.join(" ")).len(), 1001, "more than any room has");
}
