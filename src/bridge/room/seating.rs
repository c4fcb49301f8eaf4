//! Who sits where: participants get a seat, a place on the canvas, and lose both.

use std::collections::HashMap;

use super::super::events::Event;
use super::super::mix;
use super::super::participant::{Ending, Message, Participant, Report};
use super::{CHAT, Own, Room, Seat};
use crate::media::ingest::IngestSettings;
use crate::media::producer::Producer;
use crate::peer::{PACKET_RATE, PeerConfig};
use crate::signaling::Command;
use crate::terms::{MediaKind, ParticipantId};

/// Those who were not let in that are kept in mind.
const REFUSED: usize = 1000;

impl Room {
    pub(super) fn seat(&self, id: &ParticipantId) -> Option<(u64, &Seat)> {
        self.seats.iter().find(|(_, seat)| seat.id == *id).map(|(generation, seat)| (*generation, seat))
    }

    /// Gives somebody a seat who has none; `there` is false when it waits for whoever takes our offer.
    pub(super) async fn admit(&mut self, id: &ParticipantId, there: bool) {
        if self.seat(id).is_none() {
            if self.seats.len() >= self.config.max_participants {
                return self.refuse(id).await;
            }
            self.refused.remove(id);
            self.add_seat(id);
        }
        let seat = self.seats.values_mut().find(|seat| seat.id == *id);
        if let Some(seat) = seat.filter(|seat| there && !seat.taken) {
            seat.taken = true;
            self.everybody.insert(id.clone());
            self.tell(Event::ParticipantJoined { participant: id.clone() }).await;
        }
    }

    /// There are as many as are taken: says so once for each who is one too many.
    async fn refuse(&mut self, id: &ParticipantId) {
        let most = self.config.max_participants;
        self.send(Command::Hangup { peer: id.clone() }).await;
        // Names without end are not noted.
        if self.refused.len() < REFUSED && self.refused.insert(id.clone()) {
            let reason = format!(
                "{most} participants are here, as many as this bridge takes: start it with a larger --max-participants, or let one leave"
            );
            tracing::warn!(participant = %id, reason, "not let in");
            self.tell(Event::ParticipantRefused { participant: id.clone(), reason }).await;
        }
    }

    /// A place is free: somebody who was not let in is called soon.
    fn invite_refused(&mut self) {
        let next = self.refused.iter().find(|id| self.present.contains(*id)).cloned();
        if let Some(id) = next {
            self.redial.lost(&id, tokio::time::Instant::now());
            self.refused.remove(&id);
        }
    }

    fn add_seat(&mut self, id: &ParticipantId) {
        self.generation += 1;
        let mut ice_servers = self.config.ice_servers.clone();
        ice_servers.extend(self.room_ice_servers.iter().cloned());
        let polite = self.me.as_ref().is_none_or(|me| self.config.room.scheme().polite(me, id));
        let (network, codecs) = (self.network.clone(), self.codecs.clone());
        let config = PeerConfig { ice_servers, network, codecs, polite, sends: false };
        self.tell_new_needs();
        let needs = self.told;
        let settings = IngestSettings { jitter: self.config.jitter_latency, decode: needs.decode };
        let media = (self.clock.clone(), settings, needs);
        let renegotiates = self.config.room.scheme().renegotiates();
        let (reports, tasks) = (self.reports.clone(), &mut self.tasks);
        let participant = Participant::start(id.clone(), self.generation, config, media, renegotiates, reports, tasks);
        let seat = Seat {
            id: id.clone(),
            participant,
            inputs: HashMap::new(),
            raw: HashMap::new(),
            copies: HashMap::new(),
            picture_flows: true,
            own: Own::default(),
            taken: false,
        };
        self.seats.insert(self.generation, seat);
    }

    pub(super) async fn pass(&mut self, id: &ParticipantId, message: Message) {
        let Some((generation, seat)) = self.seat(id) else { return };
        if !seat.participant.tell(message) {
            self.drop_seat(generation, "sent more than its connection could take").await;
        }
    }

    /// Ends a participant's call because of what the room said.
    pub(super) async fn dismiss(&mut self, id: &ParticipantId, reason: &str) {
        if let Some((generation, _)) = self.seat(id) {
            self.release(generation, reason).await;
        }
    }

    /// Ends a participant's call because of what happened on it.
    pub(super) async fn drop_seat(&mut self, generation: u64, reason: &str) {
        let Some(id) = self.seats.get(&generation).map(|seat| seat.id.clone()) else { return };
        tracing::warn!(participant = %id, reason, "dropped");
        self.send(Command::Hangup { peer: id }).await;
        self.release(generation, reason).await;
    }

    /// Calls those whose connection was lost and whom the room still lists. They count as there when they answer.
    pub(super) async fn call_again(&mut self) {
        for id in self.redial.take_due(tokio::time::Instant::now()) {
            if self.present.contains(&id) && self.seat(&id).is_none() {
                self.admit(&id, false).await;
                self.pass(&id, Message::Call { there: true }).await;
            }
        }
    }

    /// Frees a seat: out of the mix at once, the connection closes in its own time.
    pub(super) async fn release(&mut self, generation: u64, reason: &str) {
        let Some(mut seat) = self.seats.remove(&generation) else { return };
        seat.copies.values().for_each(Producer::release);
        self.invite_refused();
        self.mix.detach(seat.inputs.drain()).await;
        self.arrange();
        self.choose_copy();
        self.end_instances(generation, std::mem::take(&mut seat.own)).await;
        seat.participant.stop();
        if seat.taken {
            self.tell(Event::ParticipantLeft { participant: seat.id, reason: reason.to_owned() }).await;
        }
    }

    pub(super) async fn report(&mut self, id: &ParticipantId, generation: u64, report: Report) {
        // What a participant says after its seat was freed is of no more use.
        let Some(seat) = self.seats.get_mut(&generation) else { return };
        match report {
            Report::Description(description) => {
                self.send(Command::Description { peer: id.clone(), description }).await;
            }
            Report::Candidate(candidate) => self.send(Command::Candidate { peer: id.clone(), candidate }).await,
            Report::TrackStarted { kind, codec, ssrc, raw, encoded } => {
                match self.mix.attach(kind, raw.clone()).await {
                    Ok(input) => {
                        seat.inputs.extend(input.map(|input| (kind, input)));
                        seat.raw.insert(kind, raw);
                        seat.copies.insert(kind, encoded);
                        self.redial.forget(id);
                        self.arrange();
                        self.choose_copy();
                        self.track_began(generation, codec);
                        let participant = id.clone();
                        self.tell(Event::TrackStarted { participant, kind, codec, ssrc }).await;
                    }
                    Err(error) => self.drop_seat(generation, &error.to_string()).await,
                }
            }
            Report::TrackFlows { kind, flows } => {
                if kind == MediaKind::Video {
                    seat.picture_flows = flows;
                    self.arrange();
                }
                self.track_flows(generation, kind, flows);
                let participant = id.clone();
                self.tell(if flows {
                    Event::TrackResumed { participant, kind }
                } else {
                    Event::TrackStalled { participant, kind }
                })
                .await;
            }
            Report::Reconnecting { attempt } => {
                let what = id.to_string();
                let reason = "the connection was lost".to_owned();
                self.tell(Event::Reconnecting { what, attempt, retry_in: 0.0, reason }).await;
            }
            Report::Limited => {
                let rate = self.config.network.packet_rate.unwrap_or(PACKET_RATE);
                let reason = format!(
                    "more than {rate} packets a second: what exceeds them is not taken; let it send less, or start the bridge with a larger \
                     --max-packet-rate"
                );
                tracing::warn!(participant = %id, reason, "sends too much");
                self.tell(Event::ParticipantLimited { participant: id.clone(), reason }).await;
            }
            Report::Chat(text) => {
                let text: String = text.chars().filter(|character| !character.is_control()).take(CHAT).collect();
                tracing::info!(participant = %id, text, "chat");
            }
            Report::Closed(Ending { reason, lost }) => {
                self.drop_seat(generation, &reason).await;
                if lost && self.present.contains(id) {
                    self.redial.lost(id, tokio::time::Instant::now());
                }
            }
        }
    }

    /// Gives everybody with a picture a place on the canvas.
    pub(super) fn arrange(&self) {
        let pictures: Vec<_> = self
            .seats
            .values()
            .filter_map(|seat| Some((seat.inputs.get(&MediaKind::Video)?, seat.picture_flows)))
            .collect();
        mix::place(&pictures, &self.config.layout.arrange(self.config.canvas.size, pictures.len()));
    }

    /// Outputs that copy take the first participant who sends pictures, until that one leaves; as long as nobody does, the
    /// first who sends sound.
    pub(super) fn choose_copy(&mut self) {
        let first = |kind| self.seats.iter().find(|(_, seat)| seat.copies.contains_key(&kind));
        let source = first(MediaKind::Video).or_else(|| first(MediaKind::Audio));
        let chosen = source.map(|(generation, seat)| (*generation, seat.copies.len()));
        if chosen != self.copied {
            self.copied = chosen;
            let taps = source.map(|(_, seat)| seat.participant.taps());
            self.mix.copy(source.map_or(&HashMap::new(), |(_, seat)| &seat.copies), taps);
        }
    }
}
