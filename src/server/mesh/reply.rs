//! What the server says in mesh rooms, word for word as the original does. Each frame ends with a newline, as there.

use axum::extract::ws::Utf8Bytes;

use crate::signaling::mesh::wire::{Kind, Message};

/// An error that the client may mend; the connection stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    InvalidId,
    InvalidRoom,
    DuplicateId,
    IdentityLocked,
    AlreadyJoined,
    RoomFull,
    RoomLimitReached,
    NotJoined,
    InvalidTarget,
    TargetNotFound,
    UnknownType,
    BadMessage,
    ShuttingDown,
}

impl Refusal {
    /// The code for programs and the text for people.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::InvalidId => ("invalid_id", "invalid client id"),
            Self::InvalidRoom => ("invalid_room", "invalid room name"),
            Self::DuplicateId => ("duplicate_id", "client id already exists in room"),
            Self::IdentityLocked => ("identity_locked", "connection identity is immutable"),
            Self::AlreadyJoined => ("already_joined", "leave the current room before joining another"),
            Self::RoomFull => ("room_full", "room is full"),
            Self::RoomLimitReached => ("room_limit_reached", "room limit reached"),
            Self::NotJoined => ("not_joined", "join a room first"),
            Self::InvalidTarget => ("invalid_target", "invalid target client"),
            Self::TargetNotFound => ("target_not_found", "target client is not in the room"),
            Self::UnknownType => ("unknown_type", "unsupported message type"),
            Self::BadMessage => ("bad_message", "message is not valid JSON of this protocol"),
            Self::ShuttingDown => ("room_missing", "room no longer exists"),
        }
    }
}

/// `error`, within a room or outside (`""`).
pub(crate) fn error(room: &str, refusal: Refusal) -> Utf8Bytes {
    let (code, text) = refusal.words();
    frame(Message {
        code: Some(code.to_owned()),
        error: Some(text.to_owned()),
        ..from_server(Kind::Error, room, String::new())
    })
}

/// `joined`.
pub(crate) fn joined(room: &str, id: &str) -> Utf8Bytes {
    frame(from_server(Kind::Joined, room, id.to_owned()))
}

/// `room_members`, sorted.
pub(crate) fn room_members<'a>(room: &str, members: impl Iterator<Item = &'a String>) -> Utf8Bytes {
    frame(Message { members: Some(members.cloned().collect()), ..from_server(Kind::RoomMembers, room, String::new()) })
}

/// `pong`.
pub(crate) fn pong() -> Utf8Bytes {
    frame(from_server(Kind::Pong, "", String::new()))
}

/// A message of one member for another. Who sends it is ours to say.
pub(crate) fn relayed(message: Message, room: &str, from: &str, to: &str) -> Utf8Bytes {
    frame(Message {
        to: Some(to.to_owned()),
        sdp: message.sdp,
        candidate: message.candidate,
        ..from_server(message.kind, room, from.to_owned())
    })
}

fn from_server(kind: Kind, room: &str, from: String) -> Message {
    Message { room: Some(room.to_owned()), from: Some(from), ..Message::new(kind) }
}

fn frame(message: Message) -> Utf8Bytes {
    Utf8Bytes::from(message.to_json() + "\n")
}
