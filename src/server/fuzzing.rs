//! What anybody can send to the embedded server: what `crate::fuzzing` calls for it.
//!
//! An input is a small play: a line is what one of nine clients says, who is named by the line's first character, a digit. `~1500`
//! lets so many milliseconds pass.

mod http_words;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::config::{Limits, VoiceLimits};
use super::gstreamer::exchange::{Exchange, Notice};
use super::gstrs::space::{Outgoing, Space};
use super::http;
use super::mesh::reply;
use super::voice::rooms::{Ticket, VoiceRooms};
use super::whip::fuzz_request;
use crate::signaling::gstreamer::wire::ToServer;
use crate::signaling::gstrs::wire::{self as gstrs_wire, FromClient, FromServer};
use crate::signaling::json::{MAX_DEPTH, depth};
use crate::signaling::limits::{valid_id, valid_room};
use crate::signaling::mesh::wire::Message;
use crate::signaling::notify::wire as notify_wire;

type Target = (&'static str, fn(&[u8]));

/// The targets, by name.
pub(crate) const TARGETS: &[Target] = &[
    ("mesh_server", mesh),
    ("gstreamer_server", gstreamer),
    ("notify_server", notify),
    ("simple_voice_server", simple_voice),
    ("gstrs_server", gstrs),
    ("http", http_words::names_and_origins),
    ("whip_http", fuzz_request),
];

const DAY: u64 = 86_400_000;

/// Who says what.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('\n').take(256).map(|line| match line.chars().next() {
        Some(who @ '0'..='9') => line.split_at(who.len_utf8()),
        _ => ("0", line),
    })
}

fn mesh(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for line in text.split('\n') {
        let Ok(message) = Message::parse(line) else { continue };
        assert!(depth(line) <= MAX_DEPTH);
        let (from, room) = (message.from.clone().unwrap_or_default(), message.room.clone().unwrap_or_default());
        if let (Some(id), Some(room)) = (valid_id(&from), valid_room(&room)) {
            let relayed = reply::relayed(message, room, id, "b");
            let again = Message::parse(&relayed);
            assert!(again.is_ok_and(|again| again.from.as_deref() == Some(id)), "{relayed}");
            assert_eq!(relayed.matches('\n').count(), 1, "one message, one line: {relayed:?}");
        }
    }
}

fn notify(input: &[u8]) {
    use notify_wire::{Message, Signal};
    let text = String::from_utf8_lossy(input);
    for line in text.split('\n') {
        let Some(message) = Message::parse(line) else { continue };
        let again = Message::parse(&message.to_json());
        assert!(again.is_some(), "{}", message.to_json());
        if let Message::Notify(data) = message {
            let signal = Signal::read(data);
            let written = Signal::read(signal.write());
            assert!(signal == Signal::Unknown || signal == written, "{signal:?} is written as {written:?}");
        }
    }
}

fn gstreamer(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let limits = Limits { rooms: 3, members: 3, ..Limits::default() };
    let mut exchange = Exchange::new(&limits);
    let mut present: [Option<String>; 10] = Default::default();
    for (who, said) in lines(&text) {
        let Some(uid) = who.parse().ok().and_then(|who: usize| present.get_mut(who)) else { continue };
        let mut notices = Vec::new();
        match (&*uid, said) {
            (Some(name), "!") => {
                notices = exchange.gone(name);
                *uid = None;
            }
            (Some(name), "=") => notices = exchange.binary(name).notices,
            (Some(name), said) => {
                let outcome = exchange.text(name, said);
                notices = outcome.notices;
                let longest = said.len() + 70 * limits.members + 64;
                assert!(outcome.reply.is_none_or(|reply| reply.len() <= longest && !reply.contains('\n')));
            }
            (None, said) => {
                if let ToServer::Hello(name) = ToServer::parse(said)
                    && exchange.register(name)
                {
                    *uid = Some(name.to_owned());
                }
            }
        }
        assert!(notices.len() <= limits.members, "{notices:?}");
        for (to, notice) in notices {
            assert!(present.iter().flatten().any(|name| *name == to), "{to} is not there");
            if let Notice::Text(text) = notice {
                assert!(text.len() <= said.len() + 128);
            }
        }
    }
    for name in present.iter().flatten() {
        exchange.gone(name);
    }
    assert!(format!("{exchange:?}").contains("peers: {}, rooms: {}"), "something of a peer stays: {exchange:?}");
}

fn gstrs(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (mut space, mut present, mut sessions) = (Space::default(), BTreeSet::new(), 0);
    for (who, said) in lines(&text) {
        let out: Outgoing = if said == "!" {
            present.remove(who);
            space.leave(who)
        } else if present.insert(who) {
            space.enter(who)
        } else {
            match gstrs_wire::parse::<FromClient>(said) {
                Err(_) => continue,
                Ok(FromClient::Peer(message)) => match space.receiver(who, &message) {
                    Ok(Some(to)) => vec![(to.to_owned(), FromServer::Peer(message))],
                    Ok(None) | Err(_) => continue,
                },
                Ok(message) => space.hear(who, message, || {
                    sessions += 1;
                    format!("s{sessions}")
                }),
            }
        };
        for (to, message) in out {
            assert!(present.contains(to.as_str()), "{to} is not there");
            let text = gstrs_wire::write(&message);
            assert!(gstrs_wire::parse::<FromServer>(&text).is_ok_and(|again| again == message), "{text}");
        }
        assert_eq!(space.len(), present.len());
    }
    for who in &present {
        space.leave(who);
    }
    assert!(format!("{space:?}").contains("peers: {}, sessions: {}"), "something of a peer stays: {space:?}");
}

/// A request's number; those of the tenth client have given up.
impl Ticket for (usize, bool) {
    fn is_gone(&self) -> bool {
        self.1
    }
}

fn simple_voice(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut rooms = VoiceRooms::new(VoiceLimits::default(), 3, number);
    NUMBER.set(0);
    let (mut now, mut open) = (Instant::now(), BTreeSet::new());
    for (request, (who, said)) in lines(&text).enumerate() {
        if let Some(time) = said.strip_prefix('~') {
            now += Duration::from_millis(time.trim().parse().unwrap_or(10_000).min(DAY));
            rooms.expire(now);
        } else if let Some(ask) = http::voice_request(said) {
            let is_gone = who == "9";
            if !is_gone {
                open.insert(request);
            }
            rooms.handle(ask, (request, is_gone), now);
        }
        while let Some(((replied, is_gone), _)) = rooms.next_reply() {
            assert!(is_gone || open.remove(&replied), "a second reply to one request");
        }
        rooms.expire(now);
        assert!(rooms.next_deadline().is_none_or(|at| at > now), "what is due is done");
        while let Some(((replied, is_gone), _)) = rooms.next_reply() {
            assert!(is_gone || open.remove(&replied), "a second reply to one request");
        }
    }
    // Every room ends by itself, and nobody waits for ever.
    for _ in 0..100 {
        let Some(deadline) = rooms.next_deadline() else { break };
        rooms.expire(deadline);
    }
    while let Some(((replied, _), _)) = rooms.next_reply() {
        open.remove(&replied);
    }
    assert_eq!(rooms.next_deadline(), None);
    assert!(open.is_empty(), "nobody replies to {open:?}");
}

thread_local! {
    static NUMBER: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Ids that inputs can name: `id1`, `id2`, …
fn number() -> String {
    NUMBER.set(NUMBER.get() + 1);
    format!("id{}", NUMBER.get())
}
