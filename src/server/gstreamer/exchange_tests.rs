//! The exchange against literal texts.

use super::*;

fn exchange(peers: &[&str]) -> Exchange {
    let mut exchange = Exchange::new(&Limits { rooms: 2, members: 3, ..Limits::default() });
    for peer in peers {
        assert!(exchange.register(peer), "{peer}");
    }
    exchange
}

/// Peers who are all in the room `r`.
fn room(peers: &[&str]) -> Exchange {
    let mut exchange = exchange(peers);
    for peer in peers {
        exchange.text(peer, "ROOM r");
    }
    exchange
}

/// What a peer is told for what it says.
fn reply(exchange: &mut Exchange, uid: &str, text: &str) -> String {
    let Outcome { reply, notices } = exchange.text(uid, text);
    assert_eq!(notices, [], "{text:?} is nobody else's business");
    reply.unwrap_or_default()
}

fn text_for(peer: &str, text: &str) -> (String, Notice) {
    (peer.into(), Notice::Text(text.into()))
}

#[test]
fn vector_2_a_uid_is_one_printable_word_that_nobody_else_has() {
    let mut exchange = exchange(&["a"]);
    let long = "x".repeat(65);
    for uid in ["a", "", "b c", "b ", "b\n", "b\0", "\u{1b}[1m", &long] {
        assert!(!exchange.register(uid), "{uid:?}");
    }
    assert!(exchange.register(&long[1..]) && exchange.register("session") && exchange.register("it's"));
    exchange.gone("a");
    assert!(exchange.register("a"), "who has left can come back");
}

#[test]
fn vector_12_messages_reach_their_peer_with_the_name_of_who_really_sent_them() {
    let mut exchange = room(&["a", "b"]);
    let outcome = exchange.text("a", "ROOM_PEER_MSG b  two  words ");
    assert_eq!(outcome, Outcome { reply: None, notices: vec![text_for("b", "ROOM_PEER_MSG a two  words ")] });
    let echo = exchange.text("a", "ROOM_PEER_MSG a x");
    assert_eq!(echo.notices, [text_for("a", "ROOM_PEER_MSG a x")]);
}

#[test]
fn vector_13_the_list_has_everybody_else() {
    let mut exchange = room(&["a", "b", "c"]);
    assert_eq!(reply(&mut exchange, "a", "ROOM_PEER_LIST"), "ROOM_PEER_LIST b c");
    exchange.gone("b");
    exchange.gone("c");
    assert_eq!(reply(&mut exchange, "a", "ROOM_PEER_LIST"), "ROOM_PEER_LIST ");
}

#[test]
fn rooms_tell_who_is_there_who_comes_and_who_goes() {
    let mut exchange = exchange(&["a", "b", "c"]);
    assert_eq!(reply(&mut exchange, "b", "ROOM r"), "ROOM_OK ", "with its space");
    let joined = exchange.text("a", "ROOM r");
    assert_eq!(joined.reply.as_deref(), Some("ROOM_OK b"));
    assert_eq!(joined.notices, [text_for("b", "ROOM_PEER_JOINED a")]);
    assert_eq!(exchange.text("c", "ROOM r").reply.as_deref(), Some("ROOM_OK b a"), "in the order of joining");
    assert_eq!(exchange.gone("b"), [text_for("a", "ROOM_PEER_LEFT b"), text_for("c", "ROOM_PEER_LEFT b")]);
    exchange.gone("a");
    assert_eq!(exchange.gone("c"), []);
    assert!(exchange.register("d"));
    assert_eq!(reply(&mut exchange, "d", "ROOM r"), "ROOM_OK ", "an empty room is a new one");
}

#[test]
fn a_session_relays_everything_as_it_comes_and_ends_for_both() {
    let mut exchange = exchange(&["a", "b", "c"]);
    assert_eq!(reply(&mut exchange, "a", "SESSION b"), "SESSION_OK");
    for text in ["OFFER_REQUEST", "SESSION c", "ROOM r", "HELLO", "\0", ""] {
        assert_eq!(exchange.text("a", text).notices, [("b".into(), Notice::Verbatim)], "{text:?}");
        assert_eq!(exchange.text("b", text).notices, [("a".into(), Notice::Verbatim)], "{text:?}");
    }
    assert_eq!(exchange.binary("b").notices, [("a".into(), Notice::Verbatim)]);
    assert_eq!(reply(&mut exchange, "c", "SESSION a"), "ERROR peer 'a' busy");
    assert_eq!(exchange.gone("a"), [("b".into(), Notice::HangUp)]);
    assert_eq!(reply(&mut exchange, "c", "SESSION b"), "ERROR peer 'b' busy", "it is about to be closed");
    assert_eq!(exchange.text("b", "x"), Outcome::default());
    assert_eq!(exchange.gone("b"), []);
    assert_eq!(reply(&mut exchange, "c", "SESSION b"), "ERROR peer 'b' not found");
    assert_eq!(reply(&mut exchange, "c", "SESSION c"), "SESSION_OK", "oneself is an echo");
    assert_eq!(exchange.text("c", "x").notices, [("c".into(), Notice::Verbatim)]);
    assert_eq!(exchange.gone("c"), []);
}

#[test]
fn what_is_wrong_is_said_and_costs_nothing_else() {
    let mut exchange = exchange(&["a", "it's", "member"]);
    exchange.text("member", "ROOM r");
    let long = "x".repeat(100_000);
    for (said, answer) in [
        ("SESSION", "ERROR invalid msg"),
        ("SESSION nobody", "ERROR peer 'nobody' not found"),
        ("SESSION b c", "ERROR peer 'b c' not found"),
        ("SESSION o'no", r#"ERROR peer "o'no" not found"#),
        ("SESSION member", "ERROR peer 'member' busy"),
        ("SESSION \u{1b}[31m", r"ERROR peer '\x1b[31m' not found"),
        ("SESSIONX it's", ""),
        ("ROOM", "ERROR invalid msg"),
        ("ROOM ", "ERROR invalid msg"),
        ("ROOM x y", "ERROR invalid room id 'x y'"),
        ("ROOM session", "ERROR invalid room id 'session'"),
        ("ROOM a\0", r"ERROR invalid room id 'a\x00'"),
        ("ROOM_PEER_MSG x", "ERROR invalid msg"),
        ("ROOM_PEER_LIST", "ERROR invalid msg"),
        ("HELLO a", "ERROR invalid msg"),
        ("HELLO", "ERROR invalid msg"),
        ("no command", ""),
        ("", ""),
        ("\0", ""),
    ] {
        assert_eq!(reply(&mut exchange, "a", said), answer, "{said:?}");
        assert!(exchange.is_idle("a"), "{said:?}");
    }
    assert!(reply(&mut exchange, "a", &format!("SESSION {long}")).len() < 100);
    assert!(reply(&mut exchange, "a", &format!("ROOM {long}")).len() < 100);
    assert_eq!(exchange.binary("a").reply.as_deref(), Some("ERROR invalid msg"));
    for (said, answer) in [
        ("ROOM_PEER_MSG", "ERROR invalid msg"),
        ("ROOM_PEER_MSG a", "ERROR invalid msg"),
        ("ROOM_PEER_MSG member ", "ERROR invalid msg"),
        ("ROOM_PEER_MSG nobody x", "ERROR peer 'nobody' not found"),
        ("ROOM_PEER_MSG a x", "ERROR peer 'a' is not in the room"),
        ("ROOM_PEER_MSG it's x", r#"ERROR peer "it's" is not in the room"#),
        ("ROOM r", "ERROR invalid msg, already in room"),
        ("SESSION a", "ERROR invalid msg, already in room"),
        ("HELLO a", "ERROR invalid msg, already in room"),
        ("no command", "ERROR invalid msg, already in room"),
        ("", "ERROR invalid msg, already in room"),
    ] {
        assert_eq!(reply(&mut exchange, "member", said), answer, "{said:?}");
    }
    assert_eq!(exchange.binary("member").reply.as_deref(), Some("ERROR invalid msg, already in room"));
    assert_eq!(exchange.text("stranger", "ROOM r"), Outcome::default());
}

#[test]
fn rooms_and_their_members_are_limited() {
    let mut exchange = room(&["a", "b", "c"]);
    assert!(exchange.register("d") && exchange.register("e"));
    assert_eq!(reply(&mut exchange, "d", "ROOM r"), "ERROR room is full");
    assert_eq!(reply(&mut exchange, "d", "ROOM second"), "ROOM_OK ");
    assert_eq!(reply(&mut exchange, "e", "ROOM third"), "ERROR too many rooms");
    exchange.gone("d");
    assert_eq!(reply(&mut exchange, "e", "ROOM third"), "ROOM_OK ", "an empty room leaves its place");
}
