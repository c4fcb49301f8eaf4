//! The owner of the Simple Voice rooms: one task around [`rooms`], with a bounded mailbox. Requests
//! of one address come at a bounded rate.

pub(super) mod rooms;

use std::collections::HashMap;
use std::net::IpAddr;

use rand::RngExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use self::rooms::{Ask, Reply, Ticket, VoiceRooms};
use super::config::{Limits, VoiceLimits};
use super::room_info::RoomInfo;
use crate::pace::Pace;

/// Requests that wait for the owner.
const MAILBOX: usize = 256;
/// Addresses whose rate is kept in mind.
const ADDRESSES: usize = 4096;
/// Characters of an id, and how many.
const ID_CHARACTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ID_LENGTH: usize = 16;

/// The way to the owner of the rooms.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
enum Request {
    Ask { address: Option<IpAddr>, ask: Ask, ticket: oneshot::Sender<Option<Reply>> },
    List { reply: oneshot::Sender<Vec<RoomInfo>> },
}

impl Voice {
    /// The rooms, and the task that owns them: it ends with the last [`Voice`].
    pub(crate) fn new(limits: &Limits) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let rooms = VoiceRooms::new(limits.voice.clone(), limits.rooms, new_id);
        let owner = Owner { rooms, limits: limits.voice.clone(), paces: HashMap::new() };
        (Self { requests }, owner.run(mailbox))
    }

    /// Asks, and waits as long as the reply takes. `None` when the address asks too often.
    pub(crate) async fn ask(&self, address: Option<IpAddr>, ask: Ask) -> Option<Reply> {
        let (ticket, answer) = oneshot::channel();
        // Without an owner there is nothing to join.
        if self.requests.send(Request::Ask { address, ask, ticket }).await.is_err() {
            return Some(Reply::InvalidState);
        }
        answer.await.unwrap_or(Some(Reply::InvalidState))
    }

    /// Every room with the places that are taken.
    pub(crate) async fn list(&self) -> Vec<RoomInfo> {
        let (reply, answer) = oneshot::channel();
        // Without an owner there are none.
        self.requests.send(Request::List { reply }).await.ok();
        answer.await.unwrap_or_default()
    }
}

impl Ticket for oneshot::Sender<Option<Reply>> {
    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

struct Owner {
    rooms: VoiceRooms<oneshot::Sender<Option<Reply>>>,
    limits: VoiceLimits,
    paces: HashMap<Option<IpAddr>, Pace>,
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Request>) {
        loop {
            let deadline = self.rooms.next_deadline().map(Instant::from_std);
            tokio::select! {
                request = mailbox.recv() => match request {
                    Some(Request::Ask { address, ask, ticket }) => {
                        let now = Instant::now().into_std();
                        if self.admits(address, now) {
                            self.rooms.handle(ask, ticket, now);
                        } else {
                            // Whoever does not wait any more needs no reply, here and below.
                            drop(ticket.send(None));
                        }
                    }
                    Some(Request::List { reply }) => drop(reply.send(self.rooms.list())),
                    None => return,
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.rooms.expire(Instant::now().into_std());
                }
            }
            while let Some((ticket, reply)) = self.rooms.next_reply() {
                drop(ticket.send(Some(reply)));
            }
        }
    }

    /// Whether an address may ask once more. Those on a Unix socket count as one.
    fn admits(&mut self, address: Option<IpAddr>, now: std::time::Instant) -> bool {
        if self.paces.len() >= ADDRESSES {
            self.paces.retain(|_, pace| !pace.is_rested(now));
        }
        if self.paces.len() >= ADDRESSES && !self.paces.contains_key(&address) {
            return false;
        }
        let rate = self.limits.requests_per_second;
        self.paces.entry(address).or_insert_with(|| Pace::new(rate, now)).admits(now)
    }
}

/// 83 bits that nobody guesses.
fn new_id() -> String {
    let mut random = rand::rng();
    (0..ID_LENGTH).map(|_| char::from(ID_CHARACTERS[random.random_range(0..ID_CHARACTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_16_characters_and_never_the_same() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 16 && id.bytes().all(|byte| ID_CHARACTERS.contains(&byte))));
    }
}
