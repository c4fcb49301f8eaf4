//! The mesh client against literal frames: `>` is what it sends, `<` what it receives.

use super::*;
use crate::signaling::bench;
use crate::terms::{SdpType, SessionDescription};

const MEMBERS_AB: &str = r#"{"type":"room_members","room":"r 1","from":"","members":["a","b"]}"#;
const MEMBERS_A: &str = r#"{"type":"room_members","room":"r 1","from":"","members":["a"]}"#;
const JOINED_A: &str = r#"{"type":"joined","room":"r 1","from":"a"}"#;

type Bench = bench::Bench<MeshClient>;

impl Bench {
    fn new(id: Option<&str>, policy: CallPolicy) -> Self {
        let client = MeshClient::new("r 1", id.map(ParticipantId::new), policy, bench::ids("zzz-gw-"));
        Self::of(client, bench::short_with_sdp)
    }

    /// A client `a` in the room, alone.
    fn joined(policy: CallPolicy) -> Self {
        let mut bench = Self::new(Some("a"), policy);
        bench.open();
        bench.receive(JOINED_A);
        bench.receive(MEMBERS_A);
        bench
    }

    fn lose(&mut self) -> Vec<String> {
        let error = SignalingError::Unreachable { host: "h".into(), reason: "gone".into() };
        self.fail(error)
    }

    fn pass(&mut self, seconds: u64) -> Vec<String> {
        self.wait(Duration::from_secs(seconds))
    }
}

fn refused(code: &str) -> String {
    format!(r#"{{"type":"error","room":"","from":"","code":"{code}","error":"no"}}"#)
}

fn offer_to(peer: &str) -> Command {
    let description = SessionDescription { kind: SdpType::Offer, sdp: "v=0".into() };
    Command::Description { peer: ParticipantId::new(peer), description }
}

#[test]
fn vector_1_it_joins_under_its_id() {
    let mut bench = Bench::new(Some("a"), CallPolicy::All);
    assert_eq!(bench.open(), [r#"{"type":"join","room":"r 1","from":"a"}"#]);
    assert_eq!(bench.receive(JOINED_A), ["joined as a"]);
    assert!(bench.receive(MEMBERS_A).is_empty(), "oneself is no peer");
}

#[test]
fn vector_2_the_difference_of_two_lists_is_who_came_and_who_left() {
    let mut bench = Bench::joined(CallPolicy::All);
    assert_eq!(bench.receive(MEMBERS_AB), ["b is here, WeOffer"]);
    assert!(bench.receive(MEMBERS_AB).is_empty());
    assert_eq!(bench.receive(MEMBERS_A), ["b left"]);
    assert_eq!(bench.receive(MEMBERS_AB), ["b is here, WeOffer"], "who returns is called again");
}

#[test]
fn vector_8_a_candidate_reaches_its_peer_and_odd_ones_are_completed_or_ignored() {
    let mut bench = Bench::joined(CallPolicy::All);
    bench.receive(MEMBERS_AB);
    let candidate = r#"{"type":"candidate","from":"b","candidate":{"candidate":"candidate:1 1 udp 1 192.0.2.7 9 typ host","sdpMid":"0","sdpMLineIndex":0}}"#;
    assert_eq!(bench.receive(candidate), [r#"b: candidate:1 1 udp 1 192.0.2.7 9 typ host Some("0") Some(0)"#]);
    bench.receive(
        r#"{"type":"offer","from":"b","sdp":{"type":"offer","sdp":"m=audio 9 x 0\r\na=mid:x\r\nm=video 9 x 0\r\na=mid:y\r\n"}}"#,
    );
    for (candidate, expected) in [
        (r#"{"candidate":"candidate:2","sdpMLineIndex":1}"#, r#"b: candidate:2 Some("y") Some(1)"#),
        (r#"{"candidate":"candidate:2","sdpMid":"y"}"#, r#"b: candidate:2 Some("y") Some(1)"#),
        (r#"{"candidate":"candidate:2","sdpMLineIndex":7}"#, "b: candidate:2 None Some(7)"),
        (r#"{"candidate":"","sdpMid":"x"}"#, "b: end of candidates"),
        ("null", "b: end of candidates"),
    ] {
        let frame = format!(r#"{{"type":"candidate","from":"b","candidate":{candidate}}}"#);
        assert_eq!(bench.receive(&frame), [expected], "{candidate}");
    }
    assert!(bench.receive(r#"{"type":"candidate","from":"b","candidate":[7]}"#).is_empty());
}

#[test]
fn whom_it_calls_depends_on_the_policy_and_never_is_a_gateway() {
    let first = r#"{"type":"room_members","members":["a","b","zzz-gw-9"]}"#;
    let later = r#"{"type":"room_members","members":["a","b","c","zzz-gw-9"]}"#;
    for (policy, b, c) in [
        (CallPolicy::All, "WeOffer", "WeOffer"),
        (CallPolicy::Present, "WeOffer", "WeWait"),
        (CallPolicy::None, "WeWait", "WeWait"),
    ] {
        let mut bench = Bench::new(Some("a"), policy);
        bench.open();
        bench.receive(JOINED_A);
        assert_eq!(bench.receive(first), [format!("b is here, {b}"), "zzz-gw-9 is here, WeWait".into()], "{policy:?}");
        assert_eq!(bench.receive(later), [format!("c is here, {c}")], "{policy:?}");
    }
}

#[test]
fn a_hangup_ends_the_call_and_only_their_offer_or_return_begins_another() {
    let mut bench = Bench::joined(CallPolicy::All);
    bench.receive(MEMBERS_AB);
    assert_eq!(bench.command(offer_to("b")).len(), 1);
    assert_eq!(bench.receive(r#"{"type":"hangup","from":"b","to":"a"}"#), ["call with b ended"]);
    assert!(bench.receive(MEMBERS_AB).is_empty());
    assert!(bench.pass(120).is_empty());
    let offer = r#"{"type":"offer","from":"b","to":"a","sdp":{"type":"offer","sdp":"v=0"}}"#;
    assert_eq!(bench.receive(offer), ["Offer of b: v=0"]);
    assert_eq!(bench.receive(MEMBERS_A), ["b left"]);
    assert_eq!(bench.receive(MEMBERS_AB), ["b is here, WeOffer"]);
}

#[test]
fn an_offer_without_answer_is_hung_up_after_30_s_and_tried_once_more() {
    const HANGUP: &str = r#"{"type":"hangup","to":"b"}"#;
    let mut bench = Bench::joined(CallPolicy::All);
    bench.receive(MEMBERS_AB);
    bench.command(offer_to("b"));
    assert!(bench.pass(29).is_empty());
    assert_eq!(bench.pass(1), ["call with b ended", "b is here, WeOffer", HANGUP]);
    bench.command(offer_to("b"));
    assert_eq!(bench.pass(30), ["call with b ended", HANGUP]);
    assert!(bench.pass(120).is_empty());
}

#[test]
fn an_answer_stops_the_wait_for_it_and_so_does_our_own_when_offers_cross() {
    let mut bench = Bench::joined(CallPolicy::All);
    bench.receive(MEMBERS_AB);
    bench.command(offer_to("b"));
    bench.receive(r#"{"type":"answer","from":"b","sdp":{"type":"answer","sdp":"v=0"}}"#);
    assert!(bench.pass(60).is_empty());
    bench.command(offer_to("b"));
    bench.receive(r#"{"type":"offer","from":"b","sdp":{"type":"offer","sdp":"v=0"}}"#);
    let answer = SessionDescription { kind: SdpType::Answer, sdp: "v=0".into() };
    bench.command(Command::Description { peer: ParticipantId::new("b"), description: answer });
    assert!(bench.pass(60).is_empty());
}

#[test]
fn refusals_of_the_first_join_are_final_where_waiting_cannot_help() {
    for (code, expected) in [
        ("invalid_id", r#"failed: room "r 1" refuses us: no (invalid_id); choose another id="#),
        ("invalid_room", r#"failed: room "r 1" refuses us: no (invalid_room); choose another room="#),
        ("already_joined", r#"failed: room "r 1" refuses us: no (already_joined)"#),
        ("something_new", r#"failed: room "r 1" refuses us: no (something_new)"#),
        ("room_full", "reconnect in 5 s"),
        ("room_limit_reached", "reconnect in 5 s"),
    ] {
        let mut bench = Bench::new(Some("a"), CallPolicy::All);
        bench.open();
        assert_eq!(bench.receive(&refused(code)), [expected], "{code}");
    }
    let mut bench = Bench::new(Some("a"), CallPolicy::All);
    bench.open();
    assert!(bench.receive(&refused("duplicate_id"))[0].starts_with(r#"failed: the id "a" is taken in room "r 1""#));
}

#[test]
fn a_full_room_is_asked_again_after_5_s_doubling_to_60() {
    let mut bench = Bench::new(None, CallPolicy::All);
    for wait in [5, 10, 20, 40, 60, 60] {
        bench.open();
        assert_eq!(bench.receive(&refused("room_full")), [format!("reconnect in {wait} s")]);
        assert!(bench.lose().is_empty(), "the end of a connection that we close means nothing");
    }
}

#[test]
fn a_first_join_takes_another_id_on_a_new_connection_when_its_own_is_taken() {
    let mut bench = Bench::new(None, CallPolicy::All);
    assert_eq!(bench.open(), [r#"{"type":"join","room":"r 1","from":"zzz-gw-1"}"#]);
    assert_eq!(bench.receive(&refused("duplicate_id")), ["reconnect in 0 s"]);
    bench.lose();
    assert_eq!(bench.open(), [r#"{"type":"join","room":"r 1","from":"zzz-gw-2"}"#]);
}

#[test]
fn while_reconnecting_the_same_id_is_asked_for_25_s_and_then_a_new_one_begins_afresh() {
    let mut bench = Bench::new(None, CallPolicy::All);
    bench.open();
    bench.receive(r#"{"type":"joined","room":"r 1","from":"zzz-gw-1"}"#);
    bench.receive(r#"{"type":"room_members","members":["b","zzz-gw-1"]}"#);
    bench.command(offer_to("b"));
    assert_eq!(bench.lose(), ["reconnect"]);
    for _ in 0..13 {
        assert_eq!(bench.open(), [r#"{"type":"join","room":"r 1","from":"zzz-gw-1"}"#]);
        assert_eq!(bench.receive(&refused("duplicate_id")), ["reconnect in 2 s"]);
        bench.lose();
        bench.pass(2);
    }
    bench.open();
    assert_eq!(bench.receive(&refused("duplicate_id")), ["reconnect in 0 s"]);
    bench.lose();
    assert_eq!(bench.open(), [r#"{"type":"join","room":"r 1","from":"zzz-gw-2"}"#]);
    let joined = bench.receive(r#"{"type":"joined","room":"r 1","from":"zzz-gw-2"}"#);
    assert_eq!(joined, ["b left", "joined as zzz-gw-2"]);
    assert_eq!(bench.receive(r#"{"type":"room_members","members":["b","zzz-gw-2"]}"#), ["b is here, WeOffer"]);
}

#[test]
fn after_our_own_reconnect_calls_survive_10_s_without_their_peer_in_the_list() {
    let mut bench = Bench::joined(CallPolicy::All);
    bench.receive(r#"{"type":"room_members","members":["a","b","c"]}"#);
    assert_eq!(bench.lose(), ["reconnect"]);
    bench.open();
    assert_eq!(bench.receive(JOINED_A), ["joined as a"]);
    assert!(bench.receive(MEMBERS_A).is_empty());
    assert!(bench.receive(MEMBERS_AB).is_empty(), "b came back and never was away for us");
    assert!(bench.pass(9).is_empty());
    assert_eq!(bench.pass(1), ["c left"]);
    assert_eq!(bench.receive(MEMBERS_A), ["b left"], "from then on who is missing has left");
}

#[test]
fn no_answer_to_the_join_within_10_s_is_final_at_first_and_a_reconnect_later() {
    let mut bench = Bench::new(Some("a"), CallPolicy::All);
    bench.open();
    assert!(bench.pass(9).is_empty());
    assert!(bench.pass(1)[0].starts_with("failed: "));
    let mut bench = Bench::joined(CallPolicy::All);
    bench.lose();
    bench.open();
    assert_eq!(bench.pass(10), ["reconnect"]);
}

#[test]
fn leaving_tells_the_peers_then_the_room_and_nothing_else_follows() {
    let mut bench = Bench::joined(CallPolicy::All);
    bench.receive(r#"{"type":"room_members","members":["a","b","c","d"]}"#);
    bench.command(offer_to("b"));
    bench.command(offer_to("c"));
    let said = bench.command(Command::Leave);
    assert_eq!(
        said,
        [r#"{"type":"hangup","to":"b"}"#, r#"{"type":"hangup","to":"c"}"#, r#"{"type":"leave"}"#, "ended"]
    );
    assert!(bench.command(offer_to("d")).is_empty());
    assert!(bench.receive(MEMBERS_AB).is_empty());
}

#[test]
fn leaving_takes_2_s_at_most() {
    let mut bench = Bench::joined(CallPolicy::All);
    let names: Vec<String> = (0..200).map(|n| format!("\"p{n}\"")).collect();
    bench.receive(&format!(r#"{{"type":"room_members","members":[{}]}}"#, names.join(",")));
    (0..200).for_each(|n| drop(bench.command(offer_to(&format!("p{n}")))));
    bench.pass(60);
    (0..200).for_each(|n| {
        drop(bench.receive(&format!(r#"{{"type":"offer","from":"p{n}","sdp":{{"type":"offer","sdp":""}}}}"#)))
    });
    bench.command(Command::Leave);
    assert_eq!(bench.pass(2).last().map(String::as_str), Some("ended"));
}

#[test]
fn before_joining_it_just_goes() {
    let mut bench = Bench::new(None, CallPolicy::All);
    assert_eq!(bench.command(Command::Leave), ["ended"]);
    let mut bench = Bench::new(None, CallPolicy::All);
    bench.open();
    assert_eq!(bench.command(Command::Leave), ["ended"]);
}

#[test]
fn a_server_that_lost_us_is_joined_again_and_a_ping_is_answered() {
    let mut bench = Bench::joined(CallPolicy::All);
    assert_eq!(bench.receive(r#"{"type":"ping"}"#), [r#"{"type":"pong"}"#]);
    assert!(bench.receive(&refused("target_not_found")).is_empty());
    assert_eq!(bench.receive(&refused("membership_lost")), ["reconnect"]);
}

#[test]
fn a_sender_whom_no_list_has_shown_yet_is_a_new_peer() {
    let mut bench = Bench::joined(CallPolicy::All);
    let offer = r#"{"type":"offer","from":"b","sdp":{"type":"offer","sdp":"v=0"}}"#;
    assert_eq!(bench.receive(offer), ["b is here, WeWait", "Offer of b: v=0"]);
    assert!(bench.receive(MEMBERS_AB).is_empty());
}

#[test]
fn hostile_frames_change_nothing() {
    let mut bench = Bench::joined(CallPolicy::All);
    bench.receive(MEMBERS_AB);
    for frame in [
        "",
        "null",
        "[1]",
        "{\"type\":",
        r#"{"type":"offer","from":"b"}"#,
        r#"{"type":"offer","from":"b","sdp":7}"#,
        r#"{"type":"offer","from":"b","sdp":{"type":"evil","sdp":"v=0"}}"#,
        r#"{"type":"offer","sdp":{"type":"offer","sdp":"v=0"}}"#,
        r#"{"type":"offer","from":"a","sdp":{"type":"offer","sdp":"v=0"}}"#,
        r#"{"type":"joined","room":"x","from":"x"}"#,
        r#"{"type":"room_members","members":"b"}"#,
        r#"{"type":"room_members","members":[7]}"#,
        r#"{"type":"error"}"#,
        r#"{"type":"chat","from":"b"}"#,
    ] {
        assert!(bench.receive(frame).is_empty(), "{frame}");
    }
    assert!(bench.receive(MEMBERS_AB).is_empty());
}

#[test]
fn a_joined_that_spells_no_name_leaves_us_ours() {
    let long = format!(r#"{{"type":"joined","room":"r 1","from":"{}"}}"#, "x".repeat(65));
    for joined in [r#"{"type":"joined","from":"a\u001b[2J"}"#, r#"{"type":"joined","from":""}"#, &long] {
        let mut bench = Bench::new(Some("a"), CallPolicy::All);
        bench.open();
        bench.client.receive(joined, bench.now);
        let event = bench.client.poll(bench.now);
        assert!(
            matches!(&event, Some(Output::Event(Event::Joined { me, .. })) if me.as_str() == "a"),
            "{joined}: {event:?}"
        );
    }
}
