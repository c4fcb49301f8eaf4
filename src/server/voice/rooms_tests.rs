//! The rooms of Simple Voice, request by request. The numbers are those of the vectors in the protocol's description.

use std::time::Duration;

use super::*;

/// A ticket with a number; number 99 belongs to nobody.
impl Ticket for u32 {
    fn is_gone(&self) -> bool {
        *self == 99
    }
}

fn next_id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("id{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

struct Bench {
    rooms: VoiceRooms<u32>,
    now: Instant,
}

fn description(kind: SdpType) -> SessionDescription {
    SessionDescription { kind, sdp: "v=0\r\n".into() }
}

fn data(kind: SdpType) -> Data {
    Data::Description(description(kind))
}

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

impl Bench {
    fn new() -> Self {
        Self { rooms: VoiceRooms::new(VoiceLimits::default(), 3, next_id), now: Instant::now() }
    }

    /// The reply to this ticket, if there is one at once.
    fn ask(&mut self, ticket: u32, ask: Ask) -> Option<Reply> {
        self.rooms.handle(ask, ticket, self.now);
        let replies = self.replies();
        assert!(replies.len() <= 1, "one reply per request: {replies:?}");
        replies.into_iter().next().map(|(replied, reply)| {
            assert_eq!(replied, ticket);
            reply
        })
    }

    fn replies(&mut self) -> Vec<(u32, Reply)> {
        std::iter::from_fn(|| self.rooms.next_reply()).collect()
    }

    fn join(&mut self, room: &str, data: Data) -> Option<Reply> {
        self.ask(0, Ask::Join { room: room.into(), data })
    }

    /// The id of whoever is the first in a room, with an offer.
    fn first(&mut self, room: &str) -> String {
        match self.join(room, data(SdpType::Offer)) {
            Some(Reply::First { id }) => id,
            other => panic!("{other:?}"),
        }
    }

    fn second(&mut self, room: &str) -> String {
        match self.join(room, data(SdpType::Offer)) {
            Some(Reply::Second { id, offer }) => {
                assert_eq!(offer, description(SdpType::Offer));
                id
            }
            other => panic!("{other:?}"),
        }
    }

    fn poll(&mut self, ticket: u32, id: &str) -> Option<Reply> {
        self.ask(ticket, Ask::GetAnswer { id: id.into() })
    }

    fn answer(&mut self, id: &str) -> Vec<(u32, Reply)> {
        self.rooms.handle(Ask::Answer { id: id.into(), data: data(SdpType::Answer) }, 0, self.now);
        self.replies()
    }

    fn leave(&mut self, id: &str, room: &str) -> Option<Reply> {
        self.rooms.handle(Ask::Leave { id: id.into(), room: room.into() }, 7, self.now);
        self.replies().into_iter().find(|(ticket, _)| *ticket == 7).map(|(_, reply)| reply)
    }

    /// Moves time forward, stopping at every deadline.
    fn pass(&mut self, time: Duration) -> Vec<(u32, Reply)> {
        let end = self.now + time;
        while let Some(at) = self.rooms.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.rooms.expire(self.now);
        }
        self.now = end;
        self.replies()
    }

    fn is_empty(&self) -> bool {
        self.rooms.rooms.is_empty() && self.rooms.ids.is_empty() && self.rooms.next_deadline().is_none()
    }
}

#[test]
fn the_first_offers_the_second_answers_and_a_third_finds_the_room_full() {
    // Vector 10.
    let mut bench = Bench::new();
    let first = bench.first("r");
    assert_eq!(bench.poll(1, &first), None, "held");
    let second = bench.second("r");
    assert_eq!(bench.join("r", Data::Missing), Some(Reply::RoomFull));
    let answer = Reply::Answer(description(SdpType::Answer));
    assert_eq!(bench.answer(&second), [(0, Reply::Taken), (1, answer.clone())]);
    assert_eq!(bench.join("r", Data::Missing), Some(Reply::RoomFull));
    bench.now += SECONDS(29);
    assert_eq!(bench.poll(2, &first), Some(answer), "a reply may have been lost");
    bench.now += SECONDS(2);
    assert_eq!(bench.poll(3, &first), Some(Reply::InvalidState));
    assert_eq!(bench.answer(&second), [(0, Reply::InvalidState)], "once");
}

#[test]
fn a_poll_is_held_10_s_and_a_newer_one_releases_it() {
    let mut bench = Bench::new();
    let first = bench.first("r");
    assert_eq!(bench.poll(1, &first), None);
    bench.rooms.handle(Ask::GetAnswer { id: first.clone() }, 2, bench.now);
    assert_eq!(bench.replies(), [(1, Reply::Again)]);
    assert_eq!(bench.pass(SECONDS(9)), []);
    assert_eq!(bench.pass(SECONDS(1)), [(2, Reply::Again)]);
}

#[test]
fn a_client_that_never_polls_leaves_nothing_behind() {
    // Vector 11.
    let mut bench = Bench::new();
    bench.first("r");
    assert_eq!(bench.pass(SECONDS(30)), []);
    assert!(bench.is_empty());
    let first = bench.first("r");
    // Whoever polls stays, until the last poll is 30 s past.
    for _ in 0..10 {
        assert_eq!(bench.poll(1, &first), None);
        assert_eq!(bench.pass(SECONDS(10)), [(1, Reply::Again)]);
        bench.pass(SECONDS(19));
    }
    bench.pass(SECONDS(12));
    assert!(bench.is_empty());
    assert_eq!(bench.poll(1, &first), Some(Reply::InvalidState));
}

#[test]
fn leaving_closes_the_room_for_both() {
    // Vector 12.
    let mut bench = Bench::new();
    let (first, second) = (bench.first("r"), bench.second("r"));
    assert_eq!(bench.leave(&second, "r"), Some(Reply::Left));
    assert_eq!(bench.poll(1, &first), Some(Reply::InvalidState));
    assert_eq!(bench.leave(&first, "r"), Some(Reply::Left));
    assert!(bench.is_empty());
    // A poll that is held hears of it.
    let first = bench.first("r");
    assert_eq!(bench.poll(1, &first), None);
    bench.rooms.handle(Ask::Leave { id: first, room: "r".into() }, 7, bench.now);
    assert_eq!(bench.replies(), [(1, Reply::InvalidState), (7, Reply::Left)]);
    // An id says nothing about other rooms.
    let first = bench.first("r");
    assert_eq!(bench.leave(&first, "other"), Some(Reply::Left));
    assert_eq!(bench.leave("nobody", "r"), Some(Reply::Left));
    bench.second("r");
}

#[test]
fn whoever_joins_before_the_offer_is_held_for_10_s() {
    let mut bench = Bench::new();
    let Some(Reply::First { id: first }) = bench.join("r", Data::Missing) else { panic!("not the first") };
    assert_eq!(bench.ask(1, Ask::Join { room: "r".into(), data: Data::Missing }), None);
    assert_eq!(bench.join("r", Data::Missing), Some(Reply::RoomFull));
    bench.rooms.handle(Ask::Offer { id: first.clone(), data: data(SdpType::Offer) }, 2, bench.now);
    let replies = bench.replies();
    assert_eq!(replies[0], (2, Reply::Taken));
    assert!(matches!(replies[1], (1, Reply::Second { .. })), "{replies:?}");
    let offer = Ask::Offer { id: first, data: data(SdpType::Offer) };
    assert_eq!(bench.ask(3, offer), Some(Reply::InvalidState), "there is one offer");

    let mut bench = Bench::new();
    let Some(Reply::First { id: first }) = bench.join("r", Data::Missing) else { panic!("not the first") };
    assert_eq!(bench.ask(1, Ask::Join { room: "r".into(), data: Data::Missing }), None);
    assert_eq!(bench.pass(SECONDS(10)), [(1, Reply::InvalidState)]);
    // Somebody who waited and hung up is not admitted.
    assert_eq!(bench.ask(99, Ask::Join { room: "r".into(), data: Data::Missing }), None);
    assert_eq!(bench.ask(3, Ask::Offer { id: first, data: data(SdpType::Offer) }), Some(Reply::Taken));
    bench.second("r");
}

#[test]
fn a_second_that_never_answers_is_dropped_and_the_first_waits_on() {
    let mut bench = Bench::new();
    let (first, second) = (bench.first("r"), bench.second("r"));
    for _ in 0..6 {
        assert_eq!(bench.poll(1, &first), None);
        assert_eq!(bench.pass(SECONDS(10)), [(1, Reply::Again)]);
    }
    assert_eq!(bench.answer(&second), [(0, Reply::InvalidState)]);
    bench.second("r");
    // Both are gone: nothing stays.
    bench.pass(SECONDS(60));
    bench.pass(SECONDS(30));
    assert!(bench.is_empty());
}

#[test]
fn a_call_that_nobody_leaves_ends_after_2_h() {
    let mut bench = Bench::new();
    let second = (bench.first("r"), bench.second("r")).1;
    bench.answer(&second);
    bench.pass(SECONDS(2 * 3600 - 1));
    assert_eq!(bench.join("r", Data::Missing), Some(Reply::RoomFull));
    bench.pass(SECONDS(1));
    assert!(bench.is_empty());
}

#[test]
fn what_is_out_of_order_is_an_invalid_state() {
    let mut bench = Bench::new();
    for bad in [Data::Malformed, data(SdpType::Answer), data(SdpType::Rollback)] {
        assert_eq!(bench.join("r", bad), Some(Reply::InvalidState));
    }
    assert!(bench.is_empty());
    let (first, second) = (bench.first("r"), bench.second("r"));
    let answer = |id: &str, data| Ask::Answer { id: id.into(), data };
    for ask in [
        Ask::GetAnswer { id: "nobody".into() },
        Ask::GetAnswer { id: second.clone() },
        Ask::Offer { id: first.clone(), data: data(SdpType::Offer) },
        Ask::Offer { id: second.clone(), data: data(SdpType::Offer) },
        answer(&first, data(SdpType::Answer)),
        answer("nobody", data(SdpType::Answer)),
        answer(&second, data(SdpType::Offer)),
        answer(&second, Data::Missing),
        answer(&second, Data::Malformed),
    ] {
        let shown = format!("{ask:?}");
        assert_eq!(bench.ask(1, ask), Some(Reply::InvalidState), "{shown}");
    }
    assert_eq!(bench.answer(&second)[0].1, Reply::Taken, "none of it did any harm");
}

#[test]
fn there_are_only_so_many_rooms() {
    let mut bench = Bench::new();
    for room in ["a", "b", "c"] {
        bench.first(room);
    }
    assert_eq!(bench.join("d", data(SdpType::Offer)), Some(Reply::InvalidState));
    bench.second("a");
}
