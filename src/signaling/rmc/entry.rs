//! How the RTCMultiConnection client gets into its room: is it there, join it or open it, ask who is in it to offer; and what
//! each refusal means.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::super::codec::Next;
use super::super::{Event, SignalingError};
use super::wire::{RoomRequest, Said, True};
use super::{FULL_FIRST, NUMBER, Phase, REPLY, Reply, RmcClient, socketio};
use crate::terms::ParticipantId;

/// How long those in the room may take to offer before they are asked once more.
const OFFER: Duration = Duration::from_secs(15);
/// How often we look for a room that we must not open ourselves.
const LOOK: Duration = Duration::from_secs(5);
/// How long a room that was opened or closed under our hands is left alone.
const SETTLE: Duration = Duration::from_secs(1);
/// The longest wait for a place in a full room.
const FULL_LAST: Duration = Duration::from_secs(60);

impl RmcClient {
    pub(super) fn look(&mut self, now: Instant) {
        let room = self.room.clone();
        self.request(Reply::Presence, "check-presence", &room, now);
    }

    fn enter(&mut self, open: bool, now: Instant) {
        let (room, password) = (self.room.clone(), self.password.clone());
        if open {
            self.request(Reply::Opening, "open-room", &RoomRequest::open(&room, password.as_deref()), now);
        } else {
            self.request(Reply::Joining, "join-room", &RoomRequest::join(&room, password.as_deref()), now);
        }
    }

    pub(super) fn on_ack(&mut self, args: &[Value], now: Instant) {
        let Phase::Waiting { what, .. } = self.phase else { return };
        let yes = args.first().and_then(Value::as_bool) == Some(true);
        let why = args.get(1).and_then(Value::as_str).unwrap_or("no reason given");
        match (what, yes) {
            (Reply::Presence, true) => self.enter(false, now),
            (Reply::Presence, false) if self.manner.opens => self.enter(true, now),
            (Reply::Presence, false) => {
                if !std::mem::replace(&mut self.waiting_told, true) {
                    tracing::info!(room = self.room, "the room does not exist yet; waiting for it, as open=no asks");
                }
                self.phase = Phase::Looking { at: now + LOOK };
            }
            (Reply::Joining, true) => {
                self.on_joined();
                self.ask(now + OFFER);
            }
            (Reply::Opening, true) => self.on_joined(),
            // Closed or opened since we looked.
            (Reply::Joining | Reply::Opening, false) if why == "Room not available" => {
                self.phase = Phase::Looking { at: now + SETTLE };
            }
            (Reply::Joining | Reply::Opening, false) => self.on_refused(why),
            (Reply::Engine | Reply::Namespace, _) => {}
        }
    }

    fn on_joined(&mut self) {
        self.phase = Phase::Joined;
        self.joined_once = true;
        self.waiting_told = false;
        self.full_wait = FULL_FIRST;
        // Calls of an earlier connection live on until their peers offer anew or are gone: their media may still flow.
        self.tell([Event::Joined { me: self.me.clone(), ice_servers: Vec::new() }]);
    }

    /// Asks everybody in the room to offer.
    pub(super) fn ask(&mut self, again: Instant) {
        let room = self.room.clone();
        let request = Said::Request {
            new_participation_request: True,
            is_one_way: !self.manner.sends,
            is_data_only: false,
            local_peer_sdp_constraints: true.into(),
            remote_peer_sdp_constraints: self.manner.sends.into(),
        };
        self.say(&room, request);
        self.ask_again = Some(again);
    }

    fn on_refused(&mut self, why: &str) {
        let message: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
        if why == "Room full" {
            let wait = self.full_wait;
            self.full_wait = (wait * 2).min(FULL_LAST);
            return self.reconnect(Some(wait), format!("room \"{}\" refuses us: {message}", self.room));
        }
        let advice = match why {
            "Invalid password" => "; give the right one with password= in the URL",
            _ => "",
        };
        let (room, code) = (self.room.clone(), "join-room".to_owned());
        self.disconnect(Next::Failed(SignalingError::Refused { room, code, message, advice }));
    }

    /// Our id is in use, perhaps by our own ghost. The server does not listen to this connection.
    pub(super) fn on_taken(&mut self) {
        if self.id_is_fixed {
            let error = SignalingError::IdTaken { id: self.me.clone(), room: self.room.clone() };
            return self.fail(error);
        }
        let reason = format!("the id \"{}\" is taken", self.me);
        self.me = ParticipantId::new((self.new_id)());
        self.reconnect(Some(Duration::ZERO), reason);
    }

    fn request(&mut self, what: Reply, name: &str, arg: &impl Serialize, now: Instant) {
        let frame = socketio::request(NUMBER, name, arg);
        self.send(frame);
        self.phase = Phase::Waiting { what, by: now + REPLY };
    }
}
