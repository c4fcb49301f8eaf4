//! The calls of notify: one task owns them all, and connections talk to it through a bounded mailbox.
//!
//! A call is a path and at most two connections. What the first one says before the second is there waits in a queue. A
//! connection is known by its number and never by its path, so a late end cannot touch a newer call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::super::config::Limits;
use super::super::room_info::{self, RoomInfo};

/// Requests that wait for the owner of the calls.
const MAILBOX: usize = 256;
/// How many belong to a call.
const SIDES: usize = 2;

/// One connection, as the other side sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    number: u64,
    call: String,
    /// Frames on their way to this connection.
    pub(crate) outbox: mpsc::Sender<Utf8Bytes>,
    /// Cancelled when the connection takes nothing any more.
    pub(crate) evicted: CancellationToken,
    /// Cancelled when the other side has come.
    pub(crate) paired: CancellationToken,
    /// Cancelled when the other side has left.
    pub(crate) hung_up: CancellationToken,
}

/// Why somebody cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// Two are in this call already.
    Full,
    /// There are as many calls as we bear, or we are closing.
    TooManyCalls,
}

/// A text for the other side.
#[derive(Clone, Debug)]
pub(crate) struct Relayed {
    pub(crate) frame: Utf8Bytes,
    /// Offers are the last to be thrown away when the queue is full.
    pub(crate) is_offer: bool,
}

/// The way to the owner of the calls. When that has ended, everything is refused.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    requests: mpsc::Sender<Request>,
    seats: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Request {
    Reserve { seat: Seat, reply: oneshot::Sender<Result<(), NoPlace>> },
    Open { seat: Seat, reply: oneshot::Sender<Vec<Utf8Bytes>> },
    Relay { seat: Seat, relayed: Relayed, reply: oneshot::Sender<Option<Seat>> },
    Leave { seat: Seat },
    List { reply: oneshot::Sender<Vec<RoomInfo>> },
}

impl Calls {
    /// The calls, and the task that owns them: it ends with the last [`Calls`].
    pub(crate) fn new(limits: &Limits) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let owner = Owner {
            max_calls: limits.rooms,
            max_waiting: limits.call_queue,
            max_waiting_bytes: limits.call_queue_bytes,
            calls: BTreeMap::new(),
        };
        (Self { requests, seats: Arc::default() }, owner.run(mailbox))
    }

    /// Takes one of the two places of a call, before the connection stands. A place whose outbox nobody reads is free.
    pub(crate) async fn reserve(&self, call: &str, outbox: mpsc::Sender<Utf8Bytes>) -> Result<Seat, NoPlace> {
        let seat = Seat {
            number: self.seats.fetch_add(1, Ordering::Relaxed),
            call: call.to_owned(),
            outbox,
            evicted: CancellationToken::new(),
            paired: CancellationToken::new(),
            hung_up: CancellationToken::new(),
        };
        let answer = self.ask(|reply| Request::Reserve { seat: seat.clone(), reply }).await;
        answer.unwrap_or(Err(NoPlace::TooManyCalls)).map(|()| seat)
    }

    /// The connection stands: gives what waits for it.
    pub(crate) async fn open(&self, seat: &Seat) -> Vec<Utf8Bytes> {
        self.ask(|reply| Request::Open { seat: seat.clone(), reply }).await.unwrap_or_default()
    }

    /// The other side, to whom the caller sends; without one the text is put into the queue.
    pub(crate) async fn relay(&self, seat: &Seat, relayed: Relayed) -> Option<Seat> {
        self.ask(|reply| Request::Relay { seat: seat.clone(), relayed, reply }).await.flatten()
    }

    /// Ends the call of a connection, if that has not happened yet.
    pub(crate) async fn leave(&self, seat: &Seat) {
        if self.requests.send(Request::Leave { seat: seat.clone() }).await.is_err() {
            tracing::debug!("the calls are closed already");
        }
    }

    /// Every call with those whose connections stand.
    pub(crate) async fn list(&self) -> Vec<RoomInfo> {
        self.ask(|reply| Request::List { reply }).await.unwrap_or_default()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}

struct Owner {
    max_calls: usize,
    max_waiting: usize,
    max_waiting_bytes: usize,
    calls: BTreeMap<String, Call>,
}

#[derive(Default)]
struct Call {
    members: Vec<Member>,
    /// What the one who is alone has said.
    waiting: Waiting,
}

struct Member {
    seat: Seat,
    /// Its connection stands.
    open: bool,
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Request>) {
        while let Some(request) = mailbox.recv().await {
            // Whoever does not wait for an answer any more has ended, and says so or is found by its closed outbox.
            match request {
                Request::Reserve { seat, reply } => drop(reply.send(self.reserve(seat))),
                Request::Open { seat, reply } => drop(reply.send(self.open(&seat))),
                Request::Relay { seat, relayed, reply } => drop(reply.send(self.relay(&seat, relayed))),
                Request::Leave { seat } => self.leave(&seat),
                Request::List { reply } => drop(reply.send(self.list())),
            }
        }
    }

    fn reserve(&mut self, seat: Seat) -> Result<(), NoPlace> {
        self.clear_away(&seat.call);
        if !self.calls.contains_key(&seat.call) && self.calls.len() >= self.max_calls {
            for call in self.calls.keys().cloned().collect::<Vec<_>>() {
                self.clear_away(&call);
            }
            if self.calls.len() >= self.max_calls {
                return Err(NoPlace::TooManyCalls);
            }
        }
        let call = self.calls.entry(seat.call.clone()).or_default();
        if call.members.len() >= SIDES {
            return Err(NoPlace::Full);
        }
        call.members.push(Member { seat, open: false });
        Ok(())
    }

    /// Frees the places of those who vanished without a word.
    fn clear_away(&mut self, name: &str) {
        let Some(call) = self.calls.get_mut(name) else { return };
        let gone = |member: &Member| member.seat.outbox.is_closed();
        if let Some(dead) = call.members.iter().find(|member| member.open && gone(member)).map(|dead| dead.seat.clone())
        {
            return self.leave(&dead);
        }
        call.members.retain(|member| !gone(member));
        if call.members.is_empty() {
            self.calls.remove(name);
        }
    }

    fn open(&mut self, seat: &Seat) -> Vec<Utf8Bytes> {
        let Some(call) = self.call_of(seat) else { return Vec::new() };
        for member in &mut call.members {
            member.open |= member.seat.number == seat.number;
        }
        if call.members.len() < SIDES || call.members.iter().any(|member| !member.open) {
            return Vec::new();
        }
        for member in &call.members {
            member.seat.paired.cancel();
        }
        std::mem::take(&mut call.waiting).relayed.into_iter().map(|relayed| relayed.frame).collect()
    }

    fn relay(&mut self, seat: &Seat, relayed: Relayed) -> Option<Seat> {
        let (most, most_bytes) = (self.max_waiting, self.max_waiting_bytes);
        let call = self.call_of(seat)?;
        let other = call.members.iter().find(|member| member.open && member.seat.number != seat.number);
        if other.is_none() {
            call.waiting.push(relayed, most, most_bytes);
        }
        other.map(|other| other.seat.clone())
    }

    /// One side has left: so has the other, and the path is free at once.
    fn leave(&mut self, seat: &Seat) {
        if self.call_of(seat).is_none() {
            return;
        }
        for member in self.calls.remove(&seat.call).into_iter().flat_map(|call| call.members) {
            if member.seat.number != seat.number {
                member.seat.hung_up.cancel();
            }
        }
    }

    fn list(&self) -> Vec<RoomInfo> {
        let calls = self.calls.iter().map(|(call, Call { members, .. })| {
            let here = members.iter().filter(|member| member.open && !member.seat.outbox.is_closed()).count();
            RoomInfo { room: call.clone(), members: room_info::places(here) }
        });
        calls.filter(|call| !call.members.is_empty()).collect()
    }

    fn call_of(&mut self, seat: &Seat) -> Option<&mut Call> {
        let call = self.calls.get_mut(&seat.call)?;
        call.members.iter().any(|member| member.seat.number == seat.number).then_some(call)
    }
}

/// What waits for the second side.
#[derive(Debug, Default)]
struct Waiting {
    relayed: VecDeque<Relayed>,
    bytes: usize,
}

impl Waiting {
    /// Adds a text. For lack of room the oldest go, offers last.
    fn push(&mut self, relayed: Relayed, most: usize, most_bytes: usize) {
        self.bytes += relayed.frame.len();
        self.relayed.push_back(relayed);
        while self.relayed.len() > most || self.bytes > most_bytes {
            let victim = self.relayed.iter().position(|relayed| !relayed.is_offer).unwrap_or(0);
            let Some(gone) = self.relayed.remove(victim) else { return };
            self.bytes -= gone.frame.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls with a small queue; their owner runs as long as the runtime of the test.
    fn calls(limits: Limits) -> Calls {
        let (calls, owner) = Calls::new(&limits);
        tokio::spawn(owner);
        calls
    }

    fn text(text: &str) -> Relayed {
        Relayed { frame: text.into(), is_offer: text.starts_with("offer") }
    }

    async fn enter(calls: &Calls, call: &str) -> (Seat, mpsc::Receiver<Utf8Bytes>, Vec<Utf8Bytes>) {
        let (outbox, frames) = mpsc::channel(8);
        let seat = calls.reserve(call, outbox).await.unwrap();
        let waiting = calls.open(&seat).await;
        (seat, frames, waiting)
    }

    #[tokio::test]
    async fn the_queue_keeps_its_order_and_throws_away_its_oldest_but_never_the_offer() {
        for (most, bytes, expected) in [(4, 10, "a offer abc d"), (3, 10, "offer abc d"), (4, 8, "offer d")] {
            let calls = calls(Limits { call_queue: most, call_queue_bytes: bytes, ..Limits::default() });
            let (ada, _frames, _) = enter(&calls, "1").await;
            for said in ["a", "offer", "abc", "d"] {
                assert!(calls.relay(&ada, text(said)).await.is_none());
            }
            let (_, _frames, waiting) = enter(&calls, "1").await;
            let waiting: Vec<_> = waiting.iter().map(Utf8Bytes::as_str).collect();
            assert_eq!(waiting.join(" "), expected, "{most} texts, {bytes} bytes");
        }
    }

    #[tokio::test]
    async fn a_place_that_was_reserved_but_never_opened_is_free_again_and_takes_nothing_along() {
        let calls = calls(Limits::default());
        let (ada, _frames, _) = enter(&calls, "1").await;
        assert!(calls.relay(&ada, text("offer")).await.is_none());
        let (outbox, frames) = mpsc::channel(8);
        let lost = calls.reserve("1", outbox).await.unwrap();
        assert_eq!(calls.reserve("1", mpsc::channel(8).0).await.unwrap_err(), NoPlace::Full);
        drop(frames);
        let (_, _frames, waiting) = enter(&calls, "1").await;
        assert_eq!(waiting, ["offer"]);
        calls.leave(&lost).await;
        assert!(calls.relay(&ada, text("more")).await.is_some(), "a late end touches nobody");
    }

    #[tokio::test]
    async fn there_are_only_so_many_calls() {
        let calls = calls(Limits { rooms: 1, ..Limits::default() });
        let (ada, _frames, _) = enter(&calls, "1").await;
        assert_eq!(calls.reserve("2", mpsc::channel(8).0).await.unwrap_err(), NoPlace::TooManyCalls);
        calls.leave(&ada).await;
        enter(&calls, "2").await;
        // That one vanished without a word.
        enter(&calls, "3").await;
    }

    #[tokio::test]
    async fn who_is_left_is_told_and_the_path_is_free_at_once() {
        let calls = calls(Limits::default());
        let (ada, _ada, _) = enter(&calls, "1").await;
        let (ben, _ben, _) = enter(&calls, "1").await;
        assert!(ada.paired.is_cancelled() && ben.paired.is_cancelled());
        calls.leave(&ben).await;
        let (cleo, _cleo, _) = enter(&calls, "1").await;
        let (dora, _dora, _) = enter(&calls, "1").await;
        assert!(ada.hung_up.is_cancelled());
        // Its connection ends much later.
        calls.leave(&ada).await;
        assert!(calls.relay(&cleo, text("a")).await.is_some_and(|other| other.number == dora.number));
        assert!(!cleo.hung_up.is_cancelled() && !dora.hung_up.is_cancelled());
        assert!(calls.relay(&ada, text("a")).await.is_none());
    }
}
