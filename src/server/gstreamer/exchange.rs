//! Who is registered, who talks to whom and who is in which room, by GStreamer's text protocol. Pure: what a peer says
//! goes in, what to tell it and others comes out.
//!
//! The words are those of the original, but commands are exact and never cost the connection.

use std::collections::BTreeMap;

use super::super::config::Limits;
use crate::signaling::gstreamer::wire::{Fault, FromServer, ToServer, is_room, is_word};
use crate::signaling::limits::MAX_NAME;

/// All peers of the server.
#[derive(Debug)]
pub(crate) struct Exchange {
    max_rooms: usize,
    max_members: usize,
    peers: BTreeMap<String, State>,
    /// Members in the order of their joining; a room without any does not exist.
    rooms: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Idle,
    InSession(String),
    InRoom(String),
    /// The other side of the session has closed, and this side is being closed too.
    HungUp,
}

/// What follows from what a peer said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// For the peer itself.
    pub(crate) reply: Option<String>,
    /// For others.
    pub(crate) notices: Vec<(String, Notice)>,
}

/// What somebody else is to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Text(String),
    /// Exactly what the peer sent.
    Verbatim,
    /// The session is over: its connection is closed with 1000.
    HangUp,
}

impl Exchange {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { max_rooms: limits.rooms, max_members: limits.members, peers: BTreeMap::new(), rooms: BTreeMap::new() }
    }

    /// Registers a peer. False when it cannot be called so.
    pub(crate) fn register(&mut self, uid: &str) -> bool {
        let free = is_word(uid) && uid.len() <= MAX_NAME && !self.peers.contains_key(uid);
        if free {
            self.peers.insert(uid.to_owned(), State::Idle);
        }
        free
    }

    /// Whether a peer has neither a room nor a session.
    pub(crate) fn is_idle(&self, uid: &str) -> bool {
        self.peers.get(uid) == Some(&State::Idle)
    }

    /// Every room, with its members in the order of their joining.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.rooms.iter().map(|(room, members)| (room.as_str(), members.as_slice()))
    }

    /// A registered peer says something.
    pub(crate) fn text(&mut self, uid: &str, text: &str) -> Outcome {
        match self.peers.get(uid) {
            Some(State::InSession(partner)) => verbatim(partner),
            Some(State::InRoom(room)) => self.in_room(uid, room, ToServer::parse(text)),
            Some(State::Idle) => self.idle(uid, ToServer::parse(text)),
            Some(State::HungUp) | None => Outcome::default(),
        }
    }

    /// A registered peer sends bytes: only sessions carry them.
    pub(crate) fn binary(&self, uid: &str) -> Outcome {
        match self.peers.get(uid) {
            Some(State::InSession(partner)) => verbatim(partner),
            Some(State::InRoom(_)) => refuse(Fault::InRoom),
            Some(State::Idle) => refuse(Fault::Invalid),
            Some(State::HungUp) | None => Outcome::default(),
        }
    }

    /// A peer's connection is over.
    pub(crate) fn gone(&mut self, uid: &str) -> Vec<(String, Notice)> {
        match self.peers.remove(uid) {
            Some(State::InSession(partner)) => match self.peers.get_mut(&partner) {
                Some(state) => {
                    *state = State::HungUp;
                    vec![(partner, Notice::HangUp)]
                }
                None => Vec::new(),
            },
            Some(State::InRoom(room)) => {
                let Some(members) = self.rooms.get_mut(&room) else { return Vec::new() };
                members.retain(|member| member != uid);
                let notices = to_all(members, &FromServer::PeerLeft(uid));
                if members.is_empty() {
                    self.rooms.remove(&room);
                }
                notices
            }
            Some(State::Idle | State::HungUp) | None => Vec::new(),
        }
    }

    fn idle(&mut self, uid: &str, said: ToServer<'_>) -> Outcome {
        match said {
            ToServer::Session("") | ToServer::Room("") => refuse(Fault::Invalid),
            ToServer::Session(callee) => match self.peers.get(callee) {
                None => refuse(Fault::NotFound(shown(callee))),
                Some(State::Idle) => {
                    self.peers.insert(uid.to_owned(), State::InSession(callee.to_owned()));
                    self.peers.insert(callee.to_owned(), State::InSession(uid.to_owned()));
                    reply(&FromServer::SessionOk)
                }
                Some(_) => refuse(Fault::Busy(shown(callee))),
            },
            ToServer::Room(room) => self.join(uid, room),
            // Commands of somebody who is elsewhere.
            ToServer::Hello(_) | ToServer::PeerMessage { .. } | ToServer::PeerList => refuse(Fault::Invalid),
            ToServer::Other => Outcome::default(),
        }
    }

    fn join(&mut self, uid: &str, room: &str) -> Outcome {
        if !is_room(room) || room.len() > MAX_NAME {
            return refuse(Fault::InvalidRoom(shown(room)));
        }
        if !self.rooms.contains_key(room) && self.rooms.len() >= self.max_rooms {
            return refuse(Fault::TooManyRooms);
        }
        let members = self.rooms.entry(room.to_owned()).or_default();
        if members.len() >= self.max_members {
            return refuse(Fault::RoomFull);
        }
        let outcome = Outcome {
            notices: to_all(members, &FromServer::PeerJoined(uid)),
            ..reply(&FromServer::RoomOk(members.iter().map(String::as_str).collect()))
        };
        members.push(uid.to_owned());
        self.peers.insert(uid.to_owned(), State::InRoom(room.to_owned()));
        outcome
    }

    fn in_room(&self, uid: &str, room: &str, said: ToServer<'_>) -> Outcome {
        match said {
            ToServer::PeerMessage { to: "", .. } | ToServer::PeerMessage { text: "", .. } => refuse(Fault::Invalid),
            ToServer::PeerMessage { to, text } => match self.peers.get(to) {
                None => refuse(Fault::NotFound(shown(to))),
                Some(State::InRoom(other)) if other == room => Outcome {
                    reply: None,
                    notices: vec![(
                        to.to_owned(),
                        Notice::Text(FromServer::PeerMessage { from: uid, text }.to_string()),
                    )],
                },
                Some(_) => refuse(Fault::NotInRoom(shown(to))),
            },
            ToServer::PeerList => {
                let members = self.rooms.get(room).map_or(&[][..], Vec::as_slice);
                reply(&FromServer::PeerList(members.iter().map(String::as_str).filter(|id| *id != uid).collect()))
            }
            _ => refuse(Fault::InRoom),
        }
    }
}

fn reply(said: &FromServer<'_>) -> Outcome {
    Outcome { reply: Some(said.to_string()), notices: Vec::new() }
}

fn refuse(fault: Fault) -> Outcome {
    reply(&FromServer::Error(fault))
}

fn verbatim(partner: &str) -> Outcome {
    Outcome { reply: None, notices: vec![(partner.to_owned(), Notice::Verbatim)] }
}

fn to_all(members: &[String], said: &FromServer<'_>) -> Vec<(String, Notice)> {
    members.iter().map(|member| (member.clone(), Notice::Text(said.to_string()))).collect()
}

/// A name in an error: nobody is called longer than this, and no error need be longer either.
fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
