//! The RTCMultiConnection client against literal frames: `>` is what it sends, `<` what it receives.

use serde_json::json;

use super::*;
use crate::signaling::bench;
use crate::terms::{IceCandidate, SessionDescription};

const OPEN: &str = r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const JOIN: &str = r#"420["join-room",{"sessionid":"r1","session":{"audio":true,"video":true},"mediaConstraints":{"audio":true,"video":true},"sdpConstraints":{"mandatory":{"OfferToReceiveAudio":true,"OfferToReceiveVideo":true}},"streams":[],"extra":{}}]"#;
const REQUEST: &str = r#"42["RTCMultiConnection-Message",{"remoteUserId":"r1","message":{"newParticipationRequest":true,"isOneWay":true,"isDataOnly":false,"localPeerSdpConstraints":{"OfferToReceiveAudio":true,"OfferToReceiveVideo":true},"remotePeerSdpConstraints":{"OfferToReceiveAudio":false,"OfferToReceiveVideo":false}},"sender":"gw1"}]"#;
const HERE: &str = r#"430[true,"r1",{"_room":{"isFull":false,"isPasswordProtected":false}}]"#;
const MISSING: &str = r#"430[false,"r1",{"_room":{"isFull":false,"isPasswordProtected":false}}]"#;

type Bench = bench::Bench<RmcClient>;

impl Bench {
    fn new(url: &str) -> Self {
        let url: RoomUrl = url.parse().unwrap();
        let manner = Manner { opens: url.key("open") != Some("no"), sends: false };
        Self::of(RmcClient::new(&url, manner, bench::ids("gw")), bench::short)
    }

    fn room() -> Self {
        Self::new("rmc+http://h/?room=r1")
    }

    /// Connected, and asked about the room.
    fn connected(url: &str) -> Self {
        let mut bench = Self::new(url);
        bench.client.opened(bench.now);
        bench.receive(OPEN);
        assert_eq!(bench.receive(r#"40{"sid":"b"}"#), [r#"420["check-presence","r1"]"#]);
        bench
    }

    /// In the room, among others.
    fn joined() -> Self {
        let mut bench = Self::connected("rmc+http://h/?room=r1");
        bench.receive(HERE);
        bench.receive("430[true]");
        bench
    }

    /// A message of a participant to us.
    fn hear(&mut self, from: &str, message: Value) -> Vec<String> {
        let me = self.client.me.to_string();
        self.receive(&socketio::event(
            MESSAGE,
            &json!({ "remoteUserId": me, "message": message, "sender": from, "extra": {} }),
        ))
    }

    fn describe(&mut self, peer: &str, kind: SdpType) -> Vec<String> {
        let description = SessionDescription { kind, sdp: "v=0".into() };
        self.command(Command::Description { peer: ParticipantId::new(peer), description })
    }

    fn candidate(&mut self, peer: &str) -> Vec<String> {
        let candidate =
            IceCandidate { candidate: "candidate:1".into(), sdp_mid: Some("0".into()), ..IceCandidate::default() };
        self.command(Command::Candidate { peer: ParticipantId::new(peer), candidate: Some(candidate) })
    }

    fn pass(&mut self, seconds: u64) -> Vec<String> {
        self.wait(Duration::from_secs(seconds))
    }
}

fn offer() -> Value {
    json!({ "type": "offer", "sdp": "v=0\r\nm=audio 9 x 0\r\na=mid:a0\r\n", "streamsToShare": {} })
}

fn answer() -> Value {
    json!({ "type": "answer", "sdp": "v=0" })
}

fn request() -> Value {
    json!({ "newParticipationRequest": true, "isOneWay": false, "isDataOnly": false })
}

fn to(peer: &str, message: &str) -> String {
    format!(r#"42["RTCMultiConnection-Message",{{"remoteUserId":"{peer}","message":{message},"sender":"gw1"}}]"#)
}

fn our_offer(peer: &str, renegotiates: bool) -> String {
    let message = format!(r#"{{"type":"offer","sdp":"v=0","renegotiatingPeer":{renegotiates},"roomcast":true}}"#);
    to(peer, &message)
}

#[test]
fn vector_1_the_engine_is_open_and_the_namespace_joined() {
    let mut bench = Bench::room();
    bench.client.opened(bench.now);
    assert!(bench.said().is_empty(), "the server speaks first");
    assert_eq!(bench.receive(OPEN), ["40"]);
    assert!(bench.receive(OPEN).is_empty(), "once");
}

#[test]
fn vector_2_a_ping_is_answered_at_any_time() {
    assert_eq!(Bench::room().receive("2"), ["3"]);
    assert_eq!(Bench::joined().receive("2"), ["3"]);
}

#[test]
fn vector_3_joined_it_asks_those_in_the_room_to_offer() {
    let mut bench = Bench::connected("rmc+http://h/?room=r1");
    assert_eq!(bench.receive(HERE), [JOIN]);
    assert_eq!(bench.receive("430[true]"), ["joined as gw1", REQUEST]);
    assert!(bench.receive("430[true]").is_empty(), "an answer to nothing");
}

#[test]
fn vector_4_a_full_room_is_asked_again_later_and_later() {
    let mut bench = Bench::connected("rmc+http://h/?room=r1");
    bench.receive(HERE);
    assert_eq!(bench.receive(r#"430[false,"Room full"]"#), ["reconnect in 5 s"]);
    for seconds in [10, 20, 40, 60, 60] {
        bench.client.lost(SignalingError::Driver { reason: String::new() }, bench.now);
        bench.client.opened(bench.now);
        bench.receive(OPEN);
        bench.receive("40");
        bench.receive(HERE);
        assert_eq!(bench.receive(r#"430[false,"Room full"]"#), [format!("reconnect in {seconds} s")]);
    }
}

#[test]
fn vector_5_a_taken_id_is_replaced_on_a_new_connection() {
    let mut bench = Bench::connected("rmc+http://h/?room=r1");
    assert_eq!(bench.receive(r#"42["userid-already-taken","gw1","43"]"#), ["reconnect in 0 s"]);
    assert_eq!(bench.client.me.as_str(), "gw2");
    let mut bench = Bench::connected("rmc+http://h/?room=r1&id=mine");
    let said = bench.receive(r#"42["userid-already-taken","mine","43"]"#);
    assert!(said[0].starts_with("failed: the id \"mine\" is taken"), "{said:?}");
}

#[test]
fn vector_6_media_are_said_to_be_ready_with_the_preferences_unchanged() {
    let mut bench = Bench::joined();
    let enable = json!({ "enableMedia": true, "userPreferences": { "isOneWay": true } });
    assert_eq!(bench.hear("al", enable), [to("al", r#"{"readyForOffer":true,"userPreferences":{"isOneWay":true}}"#)]);
}

#[test]
fn vector_7_who_leaves_twice_has_left_once() {
    let mut bench = Bench::joined();
    bench.hear("al", offer());
    assert_eq!(bench.receive(r#"42["user-disconnected","al"]"#), ["al left"]);
    assert!(bench.receive(r#"42["user-disconnected","al"]"#).is_empty());
    bench.hear("al", offer());
    assert_eq!(bench.hear("al", json!({ "userLeft": true })), ["al left"]);
    assert!(bench.receive(r#"42["user-disconnected","al"]"#).is_empty());
}

#[test]
fn vector_8_unknown_events_are_nothing() {
    let mut bench = Bench::joined();
    assert!(bench.receive(r#"42["nope",1]"#).is_empty());
    assert_eq!(bench.receive(r#"427["nope",1]"#), ["437[]"], "an acknowledgement that is asked for is given");
}

#[test]
fn the_address_says_who_we_are_and_keeps_what_was_there() {
    let mut bench = Bench::new("rmc+http://h:9001/?room=a b&token=s");
    let mut url = Url::parse("ws://h:9001/socket.io/?token=s").unwrap();
    bench.client.dialing(&mut url);
    assert_eq!(
        url.as_str(),
        "ws://h:9001/socket.io/?token=s&EIO=4&transport=websocket&userid=gw1&sessionid=a+b\
         &msgEvent=RTCMultiConnection-Message&socketCustomEvent=RTCMultiConnection-Custom-Message\
         &autoCloseEntireSession=false&maxParticipantsAllowed=1000&extra=%7B%7D"
    );
}

#[test]
fn ids_are_made_as_pages_make_theirs() {
    for (prefix, expected) in [(None, "zzzgw0123456"), (Some("test-"), "test0123456"), (Some("A-"), "0123456")] {
        assert_eq!(user_id(prefix, "01234567"), expected);
    }
}

#[test]
fn a_missing_room_is_opened_and_nobody_is_asked() {
    let mut bench = Bench::connected("rmc+http://h/?room=r1&password=hush");
    let said = bench.receive(MISSING);
    assert!(said[0].starts_with(r#"420["open-room",{"sessionid":"r1","#), "{said:?}");
    assert!(said[0].ends_with(r#""extra":{},"identifier":"","password":"hush"}]"#), "{said:?}");
    assert_eq!(bench.receive("430[true]"), ["joined as gw1"]);
}

#[test]
fn a_room_that_must_not_be_opened_is_waited_for() {
    let mut bench = Bench::connected("rmc+http://h/?room=r1&open=no");
    assert!(bench.receive(MISSING).is_empty());
    assert!(bench.pass(4).is_empty());
    assert_eq!(bench.pass(1), [r#"420["check-presence","r1"]"#]);
    assert_eq!(bench.receive(HERE), [JOIN]);
}

#[test]
fn a_room_that_comes_or_goes_meanwhile_is_looked_for_again() {
    for answer in [HERE, MISSING] {
        let mut bench = Bench::connected("rmc+http://h/?room=r1");
        bench.receive(answer);
        assert!(bench.receive(r#"430[false,"Room not available"]"#).is_empty());
        assert_eq!(bench.pass(1), [r#"420["check-presence","r1"]"#]);
    }
}

#[test]
fn a_refusal_is_final_and_says_what_to_do_without_the_password() {
    let mut bench = Bench::connected("rmc+http://h/?room=r1&password=hush");
    bench.receive(HERE);
    assert_eq!(
        bench.receive(r#"430[false,"Invalid password"]"#),
        ["failed: room \"r1\" refuses us: Invalid password (join-room); give the right one with password= in the URL"]
    );
}

#[test]
fn who_does_not_answer_within_10_s_is_given_up() {
    let mut bench = Bench::room();
    bench.client.opened(bench.now);
    assert_eq!(
        bench.pass(10),
        [
            "failed: the server took the connection but did not answer the join (no Socket.IO session within 10 s); does it \
             speak this protocol?"
        ]
    );
    let mut bench = Bench::connected("rmc+http://h/?room=r1");
    assert!(bench.pass(10)[0].contains("no answer about the room within 10 s"));
}

#[test]
fn the_offer_of_somebody_in_the_room_makes_a_call() {
    let mut bench = Bench::joined();
    assert!(
        bench.hear("al", json!({ "candidate": "candidate:1", "sdpMLineIndex": 0 })).is_empty(),
        "a candidate that comes early waits"
    );
    assert_eq!(
        bench.hear("al", offer()),
        ["al is here, WeWait", "Offer of al", r#"al: candidate:1 Some("a0") Some(0)"#]
    );
    assert!(bench.candidate("al").is_empty(), "ours waits for our answer");
    assert_eq!(
        bench.describe("al", SdpType::Answer),
        [
            to("al", r#"{"type":"answer","sdp":"v=0"}"#),
            to("al", r#"{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":null}"#)
        ]
    );
    assert_eq!(bench.candidate("al").len(), 1);
    assert_eq!(bench.hear("al", json!({ "candidate": "" })), ["al: end of candidates"]);
    assert!(bench.pass(60).is_empty(), "who was offered does not ask again");
}

#[test]
fn who_comes_later_is_offered_at_once() {
    let mut bench = Bench::joined();
    assert_eq!(bench.hear("bo", request()), ["bo is here, WeOffer"]);
    assert_eq!(bench.describe("bo", SdpType::Offer), [our_offer("bo", false)]);
    assert_eq!(bench.hear("bo", answer()), ["Answer of bo"]);
    assert!(bench.hear("bo", answer()).is_empty(), "a stale answer");
    assert_eq!(bench.describe("bo", SdpType::Offer), [our_offer("bo", true)], "the next offer renegotiates");
    let mut again = offer();
    again["renegotiatingPeer"] = true.into();
    assert_eq!(bench.hear("bo", again), ["Offer of bo"]);
    assert_eq!(bench.hear("bo", offer()), ["call with bo ended", "bo is here, WeWait", "Offer of bo"]);
    assert_eq!(bench.hear("bo", request()), ["call with bo ended", "bo is here, WeOffer"], "a page that reloaded");
}

#[test]
fn of_two_first_offers_that_cross_ours_counts_unless_the_other_is_like_us_and_we_are_polite() {
    let mut ours = offer();
    ours["roomcast"] = true.into();
    let mut bench = Bench::joined();
    bench.hear("bo", request());
    assert!(bench.hear("bo", offer()).is_empty(), "already while our offer is being made");
    bench.describe("bo", SdpType::Offer);
    assert!(bench.hear("bo", offer()).is_empty());
    assert_eq!(bench.hear("bo", ours.clone()), ["call with bo ended", "bo is here, WeWait", "Offer of bo"]);
    bench.hear("zed", request());
    bench.describe("zed", SdpType::Offer);
    assert!(bench.hear("zed", ours).is_empty(), "zed gives way");
    assert_eq!(bench.hear("zed", answer()), ["Answer of zed"]);
}

#[test]
fn another_gateway_is_not_called() {
    let mut bench = Bench::connected("rmc+http://h/?room=r1&id=zzzgw0000001");
    bench.receive(HERE);
    bench.receive("430[true]");
    assert!(bench.hear("zzzgw0000002", request()).is_empty());
    assert_eq!(bench.hear("test01234567", request()), ["test01234567 is here, WeOffer"]);
}

#[test]
fn without_an_offer_the_room_is_asked_once_more() {
    let mut bench = Bench::joined();
    assert!(bench.pass(14).is_empty());
    assert_eq!(bench.pass(1), [REQUEST]);
    assert!(bench.pass(60).is_empty());
}

#[test]
fn an_offer_without_answer_is_made_once_more() {
    let mut bench = Bench::joined();
    bench.pass(15);
    bench.hear("bo", request());
    bench.describe("bo", SdpType::Offer);
    let left = to("bo", r#"{"userLeft":true}"#);
    assert_eq!(bench.pass(30), [left.as_str(), "call with bo ended", "bo is here, WeOffer"]);
    bench.describe("bo", SdpType::Offer);
    assert_eq!(bench.pass(30), [left.as_str(), "call with bo ended"]);
    assert!(bench.pass(300).is_empty());
}

#[test]
fn calls_outlive_a_lost_connection_and_the_id_stays() {
    let mut bench = Bench::joined();
    bench.hear("al", offer());
    bench.describe("al", SdpType::Answer);
    bench.client.lost(SignalingError::Driver { reason: "gone".into() }, bench.now);
    assert_eq!(bench.said(), ["reconnect"]);
    bench.client.opened(bench.now);
    bench.receive(OPEN);
    bench.receive("40");
    bench.receive(HERE);
    assert_eq!(bench.receive("430[true]"), ["joined as gw1", REQUEST]);
    assert_eq!(bench.hear("al", offer()), ["call with al ended", "al is here, WeWait", "Offer of al"]);
}

#[test]
fn a_server_that_ends_the_session_is_joined_again() {
    for end in ["41", "1", r#"42["closed-entire-session","r1",{}]"#] {
        assert_eq!(Bench::joined().receive(end), ["reconnect"], "{end}");
    }
    let said = Bench::room().receive(r#"44{"message":"go away"}"#);
    assert_eq!(said, ["failed: room \"r1\" refuses us: go away (connect)"]);
}

#[test]
fn hanging_up_and_leaving_are_told_to_each_peer() {
    let mut bench = Bench::joined();
    bench.hear("al", offer());
    bench.hear("bo", offer());
    bench.describe("bo", SdpType::Answer);
    let left = |peer| to(peer, r#"{"userLeft":true}"#);
    assert_eq!(bench.command(Command::Hangup { peer: ParticipantId::new("al") }), [left("al")]);
    assert!(bench.command(Command::Hangup { peer: ParticipantId::new("al") }).is_empty(), "once");
    assert_eq!(bench.command(Command::Leave), [left("bo"), "41".into(), "ended".into()]);
    assert!(bench.receive("2").is_empty());
    assert!(bench.command(Command::Leave).is_empty());
}

#[test]
fn what_is_not_for_us_or_from_nobody_is_ignored() {
    let mut bench = Bench::joined();
    let long = "x".repeat(65);
    let envelope = |to: &str, from: &str| {
        socketio::event(MESSAGE, &json!({ "remoteUserId": to, "message": offer(), "sender": from }))
    };
    for frame in [
        envelope("other", "al"),
        envelope("gw1", "gw1"),
        envelope("gw1", ""),
        envelope("gw1", "a\nb"),
        envelope("gw1", &long),
        r#"42["RTCMultiConnection-Message"]"#.into(),
        r#"42["RTCMultiConnection-Message",null]"#.into(),
        r#"42["user-disconnected"]"#.into(),
        r#"42["user-disconnected",{"a":1}]"#.into(),
        r#"42["set-isInitiator-true","r1"]"#.into(),
        "431[true]".into(),
        "43[]".into(),
        "4".into(),
    ] {
        assert!(bench.receive(&frame).is_empty(), "{frame}");
    }
    for message in [json!("hello"), json!([[[[]]]]), json!({ "type": "answer", "sdp": "v=0" }), json!(null)] {
        assert!(bench.hear("al", message).is_empty());
    }
    let before_joining = &mut Bench::connected("rmc+http://h/?room=r1");
    assert!(before_joining.hear("al", offer()).is_empty());
}

#[test]
fn a_flood_of_strangers_and_candidates_has_its_bounds() {
    let mut bench = Bench::joined();
    for number in 0..2000 {
        bench.hear(&format!("p{number}"), json!({ "candidate": "candidate:1" }));
    }
    assert!(bench.hear("p1500", offer()).is_empty(), "one of too many");
    for _ in 0..1000 {
        bench.hear("p1", json!({ "candidate": "candidate:1" }));
    }
    assert_eq!(bench.hear("p1", offer()).len(), 2 + 256);
    for _ in 0..1000 {
        bench.candidate("p1");
    }
    assert_eq!(bench.describe("p1", SdpType::Answer).len(), 1 + 256);
}

#[test]
fn somebody_who_brings_media_says_so() {
    let mut bench = Bench::connected("rmc+http://h/?room=r1");
    bench.client.manner.sends = true;
    bench.receive(HERE);
    let said = bench.receive("430[true]");
    let constraints = r#""isOneWay":false,"isDataOnly":false,"localPeerSdpConstraints":{"OfferToReceiveAudio":true,"OfferToReceiveVideo":true},"remotePeerSdpConstraints":{"OfferToReceiveAudio":true,"OfferToReceiveVideo":true}"#;
    assert!(said[1].contains(constraints), "{said:?}");
}
