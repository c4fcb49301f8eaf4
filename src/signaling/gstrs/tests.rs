//! The gst-plugins-rs client against literal frames; the vectors are those of `docs/protocols/gstrs.md`.

use super::*;
use crate::signaling::bench;

const WELCOME: &str = r#"{"type":"welcome","peerId":"gw"}"#;
const LIST: &str = r#"{"type":"list","producers":[{"id":"p1","meta":{"name":"cam"}}]}"#;
const STARTED: &str = r#"{"type":"sessionStarted","peerId":"p1","sessionId":"s1"}"#;
const OFFER: &str = r#"{"type":"peer","sessionId":"s1","sdp":{"type":"offer","sdp":"v=0"}}"#;
const ICE: &str = r#"{"type":"peer","sessionId":"s1","ice":{"candidate":"candidate:1","sdpMLineIndex":0}}"#;
const START: &str = r#"{"type":"startSession","peerId":"p1"}"#;
const END: &str = r#"{"type":"endSession","sessionId":"s1"}"#;
const GONE: &str = r#"{"type":"peerStatusChanged","roles":[],"meta":null,"peerId":"p1"}"#;

type Bench = bench::Bench<GstrsClient>;

impl Bench {
    fn new(query: &str, produces: bool) -> Self {
        let url: RoomUrl = format!("gstrs+ws://h:8443/{query}").parse().unwrap();
        Self::of(GstrsClient::new(&url, produces), bench::short)
    }

    /// In a room with one producer.
    fn joined() -> Self {
        let mut bench = Self::new("", false);
        bench.open();
        bench.receive(WELCOME);
        bench.receive(LIST);
        bench
    }

    /// In a session with that producer, offered and answered.
    fn in_session() -> Self {
        let mut bench = Self::joined();
        bench.call();
        bench.receive(STARTED);
        bench.receive(OFFER);
        bench.describe("p1", SdpType::Answer);
        bench
    }

    /// A producer whom somebody has started to consume.
    fn producing() -> Self {
        let mut bench = Self::new("", true);
        bench.open();
        bench.receive(WELCOME);
        bench.receive(LIST);
        bench
    }

    fn call(&mut self) -> Vec<String> {
        self.command(Command::Call { peer: ParticipantId::new("p1") })
    }

    fn hang_up(&mut self) -> Vec<String> {
        self.command(Command::Hangup { peer: ParticipantId::new("p1") })
    }

    fn describe(&mut self, peer: &str, kind: SdpType) -> Vec<String> {
        let description = SessionDescription { kind, sdp: "v=0".into() };
        self.command(Command::Description { peer: ParticipantId::new(peer), description })
    }

    fn candidate(&mut self, peer: &str) -> Vec<String> {
        let candidate = IceCandidate { candidate: "candidate:1".into(), ..IceCandidate::default() };
        self.command(Command::Candidate { peer: ParticipantId::new(peer), candidate: Some(candidate) })
    }

    fn pass(&mut self, seconds: u64) -> Vec<String> {
        self.wait(Duration::from_secs(seconds))
    }
}

#[test]
fn vector_1_welcomed_it_listens_and_asks_for_the_producers() {
    let mut bench = Bench::new("", false);
    bench.open();
    assert!(bench.said().is_empty(), "the server speaks first");
    assert_eq!(
        bench.receive(WELCOME),
        [r#"{"type":"setPeerStatus","roles":["listener"],"meta":{"name":"roomcast"}}"#, r#"{"type":"list"}"#]
    );
    assert!(bench.receive(WELCOME).is_empty(), "once");
}

#[test]
fn vector_2_the_list_is_the_room_and_a_call_starts_a_session() {
    let mut bench = Bench::new("", false);
    bench.open();
    bench.receive(WELCOME);
    assert_eq!(bench.receive(LIST), ["joined as gw", "p1 is here, WeAskThem"]);
    assert!(bench.receive(LIST).is_empty(), "changes come by themselves");
    assert_eq!(bench.call(), [START]);
    assert!(bench.call().is_empty(), "once");
}

#[test]
fn vector_3_the_producer_offers_and_is_answered() {
    let mut bench = Bench::joined();
    bench.call();
    assert!(bench.receive(STARTED).is_empty());
    assert_eq!(bench.receive(OFFER), ["Offer of p1"]);
    assert!(bench.candidate("p1").is_empty(), "ours waits for our answer");
    assert_eq!(
        bench.describe("p1", SdpType::Answer),
        [r#"{"type":"peer","sessionId":"s1","sdp":{"type":"answer","sdp":"v=0"}}"#, ICE]
    );
    assert_eq!(bench.receive(OFFER), ["Offer of p1"], "a producer may offer again");
    assert!(bench.pass(300).is_empty());
}

#[test]
fn vector_4_candidates_go_both_ways() {
    let mut bench = Bench::in_session();
    assert_eq!(bench.receive(ICE), ["p1: candidate:1 None Some(0)"]);
    assert_eq!(bench.receive(&ICE.replace("candidate:1", "")), ["p1: end of candidates"]);
    assert_eq!(bench.candidate("p1"), [ICE], "with the index that everybody insists on");
    let end = Command::Candidate { peer: ParticipantId::new("p1"), candidate: None };
    assert!(bench.command(end).is_empty());
}

#[test]
fn vector_5_a_session_ends_and_a_producer_leaves() {
    let mut bench = Bench::in_session();
    assert_eq!(bench.receive(END), ["call with p1 ended"]);
    assert!(bench.receive(END).is_empty());
    assert!(bench.receive(OFFER).is_empty(), "of a session that has ended");
    assert_eq!(bench.receive(GONE), ["p1 left"]);
    assert!(bench.receive(GONE).is_empty());
}

#[test]
fn vector_6_a_producer_comes_later() {
    let mut bench = Bench::joined();
    let came = r#"{"type":"peerStatusChanged","roles":["listener","producer"],"meta":null,"peerId":"p2"}"#;
    assert_eq!(bench.receive(came), ["p2 is here, WeAskThem"]);
    assert!(bench.receive(came).is_empty());
    let no_more = came.replace(r#","producer""#, "");
    assert_eq!(bench.receive(&no_more), ["p2 left"], "who produces no more is no participant");
    assert!(bench.receive(&no_more).is_empty(), "who only listens is nobody");
}

#[test]
fn vector_7_a_session_that_nobody_wants_is_ended() {
    let mut bench = Bench::joined();
    let unasked = r#"{"type":"sessionStarted","peerId":"p9","sessionId":"s9"}"#;
    assert_eq!(bench.receive(unasked), [r#"{"type":"endSession","sessionId":"s9"}"#]);
    bench.call();
    assert!(bench.hang_up().is_empty(), "it has no id yet");
    assert_eq!(bench.receive(STARTED), [END]);
    let consumer = r#"{"type":"startSession","peerId":"c","sessionId":"s8","offer":null}"#;
    assert_eq!(bench.receive(consumer), [r#"{"type":"endSession","sessionId":"s8"}"#], "we have nothing to show");
}

#[test]
fn vector_8_errors_and_unknown_messages_are_nothing() {
    let mut bench = Bench::in_session();
    let deep = format!(r#"{{"type":"welcome","peerId":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for text in [
        r#"{"type":"error","details":"no"}"#,
        r#"{"type":"nope"}"#,
        r#"{"type":"listConsumers","consumers":[{"id":"c","meta":null}]}"#,
        r#"{"type":"peer","sessionId":"s1"}"#,
        r#"{"type":"peer","sessionId":"s1","sdp":{"type":"answer","sdp":"v=0"}}"#,
        r#"{"type":"peer","sessionId":"s7","sdp":{"type":"offer","sdp":"v=0"}}"#,
        r#"{"type":"peer","sessionId":"s1","ice":{"candidate":7}}"#,
        r#"{"type":"peerStatusChanged","roles":["producer"],"meta":null}"#,
        r#"{"type":"peerStatusChanged","roles":["producer"],"meta":null,"peerId":"gw"}"#,
        r#"{"type":"peerStatusChanged","roles":["producer"],"meta":null,"peerId":"a\nb"}"#,
        r#"{"type":"peerStatusChanged","roles":["juggler"],"meta":[[]],"peerId":"p7"}"#,
        r#"{"type":"sessionStarted","peerId":"p1","sessionId":""}"#,
        r#"{"type":"endSession","sessionId":""}"#,
        "",
        "[]",
        "null",
        deep.as_str(),
    ] {
        assert!(bench.receive(text).is_empty(), "{}", &text[..text.len().min(100)]);
    }
    assert_eq!(bench.receive(ICE).len(), 1, "the session lives");
}

#[test]
fn one_producer_can_be_picked_by_name_or_id() {
    let list = r#"{"type":"list","producers":[{"id":"p1","meta":{"name":"cam"}},{"id":"p2","meta":null},{"id":"gw"}]}"#;
    for (query, expected) in [
        ("?producer=cam", vec!["joined as gw", "p1 is here, WeAskThem"]),
        ("?producer=p2", vec!["joined as gw", "p2 is here, WeAskThem"]),
        ("?producer=nobody", vec!["joined as gw"]),
        ("", vec!["joined as gw", "p1 is here, WeAskThem", "p2 is here, WeAskThem"]),
    ] {
        let mut bench = Bench::new(query, false);
        bench.open();
        bench.receive(WELCOME);
        assert_eq!(bench.receive(list), expected, "{query}");
    }
}

#[test]
fn who_is_not_welcomed_or_told_the_list_gives_up() {
    let mut bench = Bench::new("", false);
    bench.open();
    assert!(bench.pass(10)[0].contains("no welcome within 10 s"));
    let mut bench = Bench::new("", false);
    bench.open();
    bench.receive(WELCOME);
    assert!(bench.pass(10)[0].contains("no list of producers within 10 s"));
}

#[test]
fn a_producer_that_never_offers_is_asked_twice() {
    let mut bench = Bench::joined();
    bench.call();
    assert_eq!(bench.pass(30), ["call with p1 ended", "p1 is here, WeAskThem"]);
    bench.call();
    bench.receive(STARTED);
    assert_eq!(bench.pass(30), [END, "call with p1 ended"]);
    assert!(bench.pass(300).is_empty());
}

#[test]
fn a_connection_that_is_to_be_renewed_gets_a_new_session() {
    let mut bench = Bench::in_session();
    assert_eq!(bench.describe("p1", SdpType::Offer), [END, "call with p1 ended", "p1 is here, WeAskThem"]);
    assert_eq!(bench.call(), [START]);
    assert!(bench.describe("nobody", SdpType::Offer).is_empty());
}

#[test]
fn after_a_reconnect_every_session_is_new_and_who_is_missing_has_left() {
    let mut bench = Bench::in_session();
    bench.receive(r#"{"type":"peerStatusChanged","roles":["producer"],"meta":null,"peerId":"p2"}"#);
    bench.client.lost(SignalingError::Driver { reason: "gone".into() }, bench.now);
    assert_eq!(bench.said(), ["reconnect"], "media go on meanwhile");
    bench.open();
    bench.receive(&WELCOME.replace("gw", "gw2"));
    assert_eq!(bench.receive(LIST), ["joined as gw2", "p2 left", "call with p1 ended", "p1 is here, WeAskThem"]);
    assert_eq!(bench.call(), [START]);
}

#[test]
fn leaving_ends_each_session() {
    let mut bench = Bench::in_session();
    assert_eq!(bench.command(Command::Leave), [END, "ended"]);
    assert!(bench.command(Command::Leave).is_empty());
    assert!(bench.receive(LIST).is_empty());
    let mut bench = Bench::in_session();
    assert_eq!(bench.hang_up(), [END]);
    assert!(bench.hang_up().is_empty());
}

#[test]
fn with_media_it_is_a_producer_and_offers_to_whoever_consumes() {
    let mut bench = Bench::new("?id=cam", true);
    bench.open();
    assert_eq!(bench.receive(WELCOME)[0], r#"{"type":"setPeerStatus","roles":["producer"],"meta":{"name":"cam"}}"#);
    assert_eq!(bench.receive(LIST), ["joined as gw"], "it consumes nobody");
    let start = r#"{"type":"startSession","peerId":"c","sessionId":"s1","offer":null}"#;
    assert_eq!(bench.receive(start), ["c is here, WeOffer"]);
    assert_eq!(bench.describe("c", SdpType::Offer), [OFFER]);
    let answer = OFFER.replace("offer", "answer");
    assert!(bench.receive(ICE).is_empty(), "a candidate that comes early waits");
    assert_eq!(bench.receive(&answer), ["Answer of c", "c: candidate:1 None Some(0)"]);
    assert!(bench.receive(&answer).is_empty(), "a stale answer");
    assert_eq!(bench.receive(&start.replace("s1", "s2")), [END, "call with c ended", "c is here, WeOffer"]);
    assert_eq!(bench.receive(&END.replace("s1", "s2")), ["c left"]);
}

#[test]
fn a_consumer_may_bring_an_offer_and_one_that_never_answers_is_let_go() {
    let mut bench = Bench::producing();
    let start = r#"{"type":"startSession","peerId":"c","sessionId":"s1","offer":"v=0"}"#;
    assert_eq!(bench.receive(start), ["c is here, WeWait", "Offer of c"]);
    assert_eq!(bench.describe("c", SdpType::Answer), [OFFER.replace("offer", "answer")]);
    bench.receive(r#"{"type":"startSession","peerId":"d","sessionId":"s2","offer":null}"#);
    assert_eq!(bench.pass(30), [r#"{"type":"endSession","sessionId":"s2"}"#, "d left"]);
}

#[test]
fn a_flood_of_producers_and_candidates_has_its_bounds() {
    let mut bench = Bench::joined();
    for number in 0..2000 {
        let came = format!(r#"{{"type":"peerStatusChanged","roles":["producer"],"meta":null,"peerId":"q{number}"}}"#);
        assert_eq!(bench.receive(&came).len(), usize::from(number < 999), "{number}");
    }
    bench.call();
    bench.receive(STARTED);
    for _ in 0..1000 {
        bench.receive(ICE);
        bench.candidate("p1");
    }
    assert_eq!(bench.receive(OFFER).len(), 1 + 256);
    assert_eq!(bench.describe("p1", SdpType::Answer).len(), 1 + 256);
}
