//! The clients' codecs against a room that says anything: what `crate::fuzzing` calls for them.
//!
//! An input is a small play. Its first line may be `#QUERY`, the one of the room's URL (`##` for somebody who sends media);
//! every other line is a step:
//!
//! ```text
//! !1002 WORDS         the connection is lost, with a close code if there is a number; a request has failed
//! ~1500               so many milliseconds pass; ~ alone: until the codec wants to be woken
//! >offer PEER UFRAG   a wish of the session's user: offer, answer, candidate, end, hangup, call, leave
//! anything else       a text from the room, or the reply to a request: STATUS BODY, or STATUS|NAME: VALUE|..||BODY
//! ```

mod candidates;
mod drivers;
mod play;

use super::gstreamer::room_url::Goal;
use super::{GATEWAY_ID_PREFIX, IdSource, RoomUrl, gstreamer, gstrs, mesh, notify, rmc, simple_voice, whep, whip};
use drivers::{Requests, Socket};
use play::play;

type Target = (&'static str, fn(&[u8]));

/// The targets, by name.
pub(crate) const TARGETS: &[Target] = &[
    ("mesh", mesh),
    ("gstreamer", gstreamer),
    ("notify", notify),
    ("simple_voice", simple_voice),
    ("rmc", rmc),
    ("gstrs", gstrs),
    ("whep", whep),
    ("whip", whip),
    ("room_url", room_url),
    ("candidates", candidates::fragments_and_descriptions),
];

fn mesh(input: &[u8]) {
    enter(input, "mesh+ws://h/ws?room=r%201", |url, _, play_on| {
        let policy = mesh::room_url::policy(url).unwrap_or_default();
        play_on(&mut Socket::new(mesh::MeshClient::new(url.room(), url.id().cloned(), policy, ids(GATEWAY_ID_PREFIX))));
    });
}

fn gstreamer(input: &[u8]) {
    enter(input, "gst+ws://h/?room=r1", |url, _, play_on| {
        let prefix = gstreamer::wire::GATEWAY_PREFIX;
        let codec = gstreamer::GStreamerClient::new(Goal::of(url), url.id().cloned(), ids(prefix));
        play_on(&mut Socket::new(codec));
    });
}

fn notify(input: &[u8]) {
    enter(input, "notify+ws://h/r1", |url, _, play_on| {
        let role = url.key("role").and_then(notify::talk::Role::parse).unwrap_or_default();
        play_on(&mut Socket::new(notify::NotifyClient::new(role, Box::new(|| 0.5))));
    });
}

fn simple_voice(input: &[u8]) {
    enter(input, "simplevoice+http://h/sv?room=r1", |url, _, play_on| {
        let offer_by = url.key("offer").and_then(simple_voice::phase::OfferBy::parse).unwrap_or_default();
        let base = url.dial().clone();
        play_on(&mut Requests::new(simple_voice::SimpleVoiceClient::new(base, url.room(), offer_by, Box::new(|| 0.5))));
    });
}

fn rmc(input: &[u8]) {
    enter(input, "rmc+http://h/?room=r1", |url, sends, play_on| {
        let manner = rmc::Manner { opens: url.key("open") != Some("no"), sends };
        play_on(&mut Socket::new(rmc::RmcClient::new(url, manner, ids("gw"))));
    });
}

fn gstrs(input: &[u8]) {
    enter(input, "gstrs+ws://h:8443/", |url, sends, play_on| {
        play_on(&mut Socket::new(gstrs::GstrsClient::new(url, sends)));
    });
}

fn whep(input: &[u8]) {
    enter(input, "whep+https://h/whep/r", |url, _, play_on| {
        let token = url.key("token").map(str::to_owned);
        play_on(&mut Requests::new(whep::WhepClient::new(url.dial().clone(), url.to_string(), token)));
    });
}

fn whip(input: &[u8]) {
    enter(input, "whip+https://h/whip/r", |url, _, play_on| {
        let token = url.key("token").map(str::to_owned);
        play_on(&mut Requests::new(whip::client(url.dial().clone(), url.to_string(), token)));
    });
}

/// A room's URL is read or refused, and shown without its secrets' keys.
fn room_url(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match text.parse::<RoomUrl>() {
        Ok(url) => assert!(!url.to_string().contains(char::is_control), "{url}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Reads the first line, and plays the others with the client that `start` makes.
fn enter(input: &[u8], room: &str, start: impl FnOnce(&RoomUrl, bool, &mut dyn FnMut(&mut dyn play::Driver))) {
    let text = String::from_utf8_lossy(input);
    let (options, steps) = match text.strip_prefix('#') {
        Some(rest) => rest.split_once('\n').unwrap_or((rest, "")),
        None => ("", &*text),
    };
    let (sends, query) = (options.starts_with('#'), options.trim_start_matches('#'));
    let place = room.split('?').next().unwrap_or(room);
    let wanted = if query.is_empty() { room.to_owned() } else { format!("{place}?{query}") };
    let Ok(url) = wanted.parse().or_else(|_| room.parse::<RoomUrl>()) else { unreachable!("{room} is a room") };
    start(&url, sends, &mut |driver| play(driver, steps));
}

/// Ids that are new each time and the same in each run.
fn ids(prefix: &'static str) -> IdSource {
    let count = std::sync::atomic::AtomicU32::new(1);
    Box::new(move || format!("{prefix}{}", count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
}
