//! The rooms of Simple Voice as a pure state machine: requests and time go in, replies come out, some of them late.
//!
//! A room is `Waiting` for its offer, has `Offered` it, has `Handed` it to the second client, and is `Answered`. Whoever
//! asks is known by a ticket, to which the reply belongs; nothing here waits, and there is no clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::super::config::VoiceLimits;
use super::super::room_info::{self, RoomInfo};
use crate::terms::{SdpType, SessionDescription};

/// Whoever waits for a reply.
pub(crate) trait Ticket {
    /// Nobody waits any more.
    fn is_gone(&self) -> bool;
}

/// What somebody asks for.
#[derive(Debug)]
pub(crate) enum Ask {
    Join { room: String, data: Data },
    Offer { id: String, data: Data },
    GetAnswer { id: String },
    Answer { id: String, data: Data },
    Leave { id: String, room: String },
}

/// A description among the parameters.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Missing,
    Malformed,
    Description(SessionDescription),
}

impl Data {
    fn of_kind(self, kind: SdpType) -> Option<SessionDescription> {
        match self {
            Self::Description(description) if description.kind == kind => Some(description),
            _ => None,
        }
    }
}

/// What somebody gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    First { id: String },
    Second { id: String, offer: SessionDescription },
    Answer(SessionDescription),
    Again,
    Taken,
    Left,
    RoomFull,
    InvalidState,
}

/// All rooms.
pub(crate) struct VoiceRooms<T> {
    limits: VoiceLimits,
    max_rooms: usize,
    new_id: fn() -> String,
    rooms: BTreeMap<String, Room<T>>,
    /// The room of each id.
    ids: BTreeMap<String, String>,
    replies: VecDeque<(T, Reply)>,
}

struct Room<T> {
    first: String,
    stage: Stage,
    /// The first one waits for the answer.
    poll: Option<Held<T>>,
    /// Somebody would be the second one, but there is no offer yet.
    joiner: Option<Held<T>>,
    /// When the first one was heard last.
    idle_since: Instant,
}

enum Stage {
    Waiting,
    Offered { offer: SessionDescription },
    Handed { offer: SessionDescription, second: String, since: Instant },
    Answered { answer: SessionDescription, second: String, since: Instant, fetched: Option<Instant> },
}

struct Held<T> {
    ticket: T,
    until: Instant,
}

impl<T: Ticket> VoiceRooms<T> {
    pub(crate) fn new(limits: VoiceLimits, max_rooms: usize, new_id: fn() -> String) -> Self {
        Self { limits, max_rooms, new_id, rooms: BTreeMap::new(), ids: BTreeMap::new(), replies: VecDeque::new() }
    }

    /// The next reply; taken until there is none.
    pub(crate) fn next_reply(&mut self) -> Option<(T, Reply)> {
        self.replies.pop_front()
    }

    pub(crate) fn handle(&mut self, ask: Ask, ticket: T, now: Instant) {
        self.expire(now);
        match ask {
            Ask::Join { room, data } => self.join(&room, data, ticket, now),
            Ask::Offer { id, data } => self.offer(&id, data, ticket, now),
            Ask::GetAnswer { id } => self.get_answer(&id, ticket, now),
            Ask::Answer { id, data } => self.answer(&id, data, ticket, now),
            Ask::Leave { id, room } => {
                if self.ids.get(&id) == Some(&room) {
                    self.close(&room);
                }
                self.reply(ticket, Reply::Left);
            }
        }
    }

    /// Every room with the places that are taken. Not the ids: whoever knows one may speak in its name.
    pub(crate) fn list(&self) -> Vec<RoomInfo> {
        let rooms = self.rooms.iter().map(|(name, room)| {
            let second = matches!(room.stage, Stage::Handed { .. } | Stage::Answered { .. });
            RoomInfo { room: name.clone(), members: room_info::places(1 + usize::from(second)) }
        });
        rooms.collect()
    }

    fn reply(&mut self, ticket: T, reply: Reply) {
        self.replies.push_back((ticket, reply));
    }

    fn issue_id(&mut self, room: &str) -> String {
        let id = (self.new_id)();
        self.ids.insert(id.clone(), room.to_owned());
        id
    }

    /// The room of which this id is the first client, or the second.
    fn room_of(&mut self, id: &str) -> Option<(String, &mut Room<T>)> {
        let name = self.ids.get(id)?;
        Some((name.clone(), self.rooms.get_mut(name)?))
    }

    fn join(&mut self, name: &str, data: Data, ticket: T, now: Instant) {
        let until = now + self.limits.poll;
        match self.rooms.get_mut(name) {
            None => self.found(name, data, ticket, now),
            Some(room) => match room.stage {
                Stage::Waiting if room.joiner.as_ref().is_none_or(|joiner| joiner.ticket.is_gone()) => {
                    room.joiner = Some(Held { ticket, until });
                }
                Stage::Offered { .. } => self.hand_over(name, ticket, now),
                _ => self.reply(ticket, Reply::RoomFull),
            },
        }
    }

    fn found(&mut self, name: &str, data: Data, ticket: T, now: Instant) {
        let stage = match data {
            Data::Missing => Some(Stage::Waiting),
            data => data.of_kind(SdpType::Offer).map(|offer| Stage::Offered { offer }),
        };
        let Some(stage) = stage.filter(|_| self.rooms.len() < self.max_rooms) else {
            return self.reply(ticket, Reply::InvalidState);
        };
        let id = self.issue_id(name);
        let room = Room { first: id.clone(), stage, poll: None, joiner: None, idle_since: now };
        self.rooms.insert(name.to_owned(), room);
        self.reply(ticket, Reply::First { id });
    }

    /// Gives the offer to the second one.
    fn hand_over(&mut self, name: &str, ticket: T, now: Instant) {
        let id = self.issue_id(name);
        let Some(room) = self.rooms.get_mut(name) else { return };
        match std::mem::replace(&mut room.stage, Stage::Waiting) {
            Stage::Offered { offer } => {
                room.stage = Stage::Handed { offer: offer.clone(), second: id.clone(), since: now };
                self.reply(ticket, Reply::Second { id, offer });
            }
            other => room.stage = other,
        }
    }

    fn offer(&mut self, id: &str, data: Data, ticket: T, now: Instant) {
        let offer = data.of_kind(SdpType::Offer);
        let Some((name, room)) = self.room_of(id) else { return self.reply(ticket, Reply::InvalidState) };
        match (&room.stage, offer) {
            (Stage::Waiting, Some(offer)) if room.first == id => {
                room.stage = Stage::Offered { offer };
                room.idle_since = now;
                let joiner = room.joiner.take().filter(|joiner| !joiner.ticket.is_gone());
                self.reply(ticket, Reply::Taken);
                if let Some(joiner) = joiner {
                    self.hand_over(&name, joiner.ticket, now);
                }
            }
            _ => self.reply(ticket, Reply::InvalidState),
        }
    }

    fn get_answer(&mut self, id: &str, ticket: T, now: Instant) {
        let (hold, fetch) = (self.limits.poll, self.limits.fetch);
        let Some((_, room)) = self.room_of(id).filter(|(_, room)| room.first == id) else {
            return self.reply(ticket, Reply::InvalidState);
        };
        let older = room.poll.take();
        let reply = match &mut room.stage {
            Stage::Answered { answer, fetched, .. } => {
                let open = fetched.is_none_or(|at| now < at + fetch);
                fetched.get_or_insert(now);
                Some(if open { Reply::Answer(answer.clone()) } else { Reply::InvalidState })
            }
            _ => None,
        };
        match reply {
            Some(reply) => self.reply(ticket, reply),
            None => room.poll = Some(Held { ticket, until: now + hold }),
        }
        if let Some(older) = older {
            self.reply(older.ticket, Reply::Again);
        }
    }

    fn answer(&mut self, id: &str, data: Data, ticket: T, now: Instant) {
        let answer = data.of_kind(SdpType::Answer);
        let Some((_, room)) = self.room_of(id) else { return self.reply(ticket, Reply::InvalidState) };
        match (&room.stage, answer) {
            (Stage::Handed { second, .. }, Some(answer)) if second == id => {
                let poll = room.poll.take();
                let second = second.clone();
                let fetched = poll.as_ref().map(|_| now);
                room.stage = Stage::Answered { answer: answer.clone(), second, since: now, fetched };
                self.reply(ticket, Reply::Taken);
                if let Some(poll) = poll {
                    self.reply(poll.ticket, Reply::Answer(answer));
                }
            }
            _ => self.reply(ticket, Reply::InvalidState),
        }
    }

    /// The name is free, and both ids are worth nothing.
    fn close(&mut self, name: &str) {
        let Some(room) = self.rooms.remove(name) else { return };
        self.ids.remove(&room.first);
        if let Stage::Handed { second, .. } | Stage::Answered { second, .. } = &room.stage {
            self.ids.remove(second);
        }
        for held in room.poll.into_iter().chain(room.joiner) {
            self.reply(held.ticket, Reply::InvalidState);
        }
    }

    /// Ends what has waited long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (name, room) in &mut self.rooms {
            if let Some(poll) = room.poll.take_if(|poll| poll.until <= now) {
                room.idle_since = now;
                self.replies.push_back((poll.ticket, Reply::Again));
            }
            if let Some(joiner) = room.joiner.take_if(|joiner| joiner.until <= now) {
                self.replies.push_back((joiner.ticket, Reply::InvalidState));
            }
            if let Stage::Handed { offer, second, since } = &room.stage
                && *since + self.limits.handed <= now
            {
                self.ids.remove(second);
                room.stage = Stage::Offered { offer: offer.clone() };
            }
            if room.ends_at(&self.limits).is_some_and(|at| at <= now) {
                over.push(name.clone());
            }
        }
        for name in over {
            self.close(&name);
        }
    }

    /// When [`VoiceRooms::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let rooms = self.rooms.values();
        rooms
            .flat_map(|room| {
                let held = room.poll.iter().chain(&room.joiner).map(|held| held.until);
                let handed = match &room.stage {
                    Stage::Handed { since, .. } => Some(*since + self.limits.handed),
                    _ => None,
                };
                held.chain(handed).chain(room.ends_at(&self.limits))
            })
            .min()
    }
}

impl<T> Room<T> {
    /// When the room is over if nothing happens; a first client who polls keeps it open.
    fn ends_at(&self, limits: &VoiceLimits) -> Option<Instant> {
        match &self.stage {
            Stage::Waiting | Stage::Offered { .. } => self.poll.is_none().then(|| self.idle_since + limits.idle),
            Stage::Handed { .. } => None,
            Stage::Answered { since, .. } => Some(*since + limits.answered),
        }
    }
}

#[cfg(test)]
#[path = "rooms_tests.rs"]
mod tests;
