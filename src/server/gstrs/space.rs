//! One space of producers and consumers, as gst-plugins-rs' signalling server keeps it: who is there with which roles, and
//! which sessions join them. Pure: messages in, messages with their receivers out, word for word as the original says them.

use std::collections::BTreeMap;

use crate::signaling::gstrs::wire::{FromClient, FromServer, Peer, PeerMessage, PeerStatus, Role};
use crate::terms::SdpType;

/// More than its peers need, even if each consumes each.
const MAX_SESSIONS: usize = 1000;

/// The peers of a space and their sessions.
#[derive(Debug, Default)]
pub(crate) struct Space {
    peers: BTreeMap<String, PeerStatus>,
    sessions: BTreeMap<String, Session>,
}

#[derive(Clone, Debug)]
struct Session {
    producer: String,
    consumer: String,
}

/// Messages, each with its receiver.
pub(crate) type Outgoing = Vec<(String, FromServer)>;

impl Space {
    /// How many are here.
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Somebody comes.
    pub(crate) fn enter(&mut self, id: &str) -> Outgoing {
        self.peers.insert(id.to_owned(), PeerStatus::default());
        vec![(id.to_owned(), FromServer::Welcome { peer_id: id.to_owned() })]
    }

    /// Somebody is gone, and all sessions with them.
    pub(crate) fn leave(&mut self, id: &str) -> Outgoing {
        let Some(status) = self.peers.remove(id) else { return Vec::new() };
        let mut out = self.end_sessions(id, |_| true);
        out.extend(self.tell_listeners(id, &PeerStatus { roles: Vec::new(), ..status }));
        out
    }

    /// Somebody says something that is not for the other side of a session; `new_id` makes ids for sessions.
    pub(crate) fn hear(&mut self, id: &str, message: FromClient, new_id: impl FnOnce() -> String) -> Outgoing {
        let said = match message {
            FromClient::SetPeerStatus(status) => self.set_status(id, status),
            FromClient::StartSession { peer_id, offer } => self.start_session(id, &peer_id, offer, new_id),
            FromClient::EndSession { session_id } => Ok(self.end_session(id, &session_id)),
            FromClient::List => Ok(vec![(id.to_owned(), FromServer::List { producers: self.all(Role::Producer) })]),
            FromClient::ListConsumers => {
                Ok(vec![(id.to_owned(), FromServer::ListConsumers { consumers: self.all(Role::Consumer) })])
            }
            FromClient::Peer(_) | FromClient::Unknown => Ok(Vec::new()),
        };
        said.unwrap_or_else(|details| vec![(id.to_owned(), FromServer::Error { details })])
    }

    /// Who gets a message of one side of a session. Nobody, if the session is unknown or the sender is not in it.
    ///
    /// # Errors
    /// The original's words for what a consumer may not say.
    pub(crate) fn receiver(&self, id: &str, message: &PeerMessage) -> Result<Option<&str>, String> {
        let Some(Session { producer, consumer }) = self.sessions.get(&message.session_id) else { return Ok(None) };
        let offers = message.sdp.as_ref().is_some_and(|sdp| sdp.kind == SdpType::Offer);
        if id == consumer && offers {
            return Err(format!(
                "cannot forward offer from \"{id}\" to \"{producer}\" as \"{id}\" is not the producer"
            ));
        }
        Ok(if id == consumer {
            Some(producer)
        } else if id == producer {
            Some(consumer)
        } else {
            None
        })
    }

    fn set_status(&mut self, id: &str, mut status: PeerStatus) -> Result<Outgoing, String> {
        status.roles.retain(|role| *role != Role::Unknown);
        status.peer_id = None;
        if status.is(Role::Producer) && status.is(Role::Consumer) {
            return Err(format!("Cannot register peer {id} as both producer and passive consumer"));
        }
        let Some(old) = self.peers.get_mut(id) else { return Ok(Vec::new()) };
        if *old == status {
            return Ok(Vec::new());
        }
        let old = std::mem::replace(old, status.clone());
        let no_more = |role| old.is(role) && !status.is(role);
        let mut out = if no_more(Role::Producer) {
            self.end_sessions(id, |session| session.producer == id)
        } else if no_more(Role::Consumer) {
            self.end_sessions(id, |session| session.consumer == id)
        } else {
            Vec::new()
        };
        out.extend(self.tell_listeners(id, &status));
        Ok(out)
    }

    fn start_session(
        &mut self,
        from: &str,
        to: &str,
        offer: Option<String>,
        new_id: impl FnOnce() -> String,
    ) -> Result<Outgoing, String> {
        let Some(other) = self.peers.get(to).filter(|_| to != from) else {
            return Err(format!("Peer with ID '{}' not found", shown(to)));
        };
        let (producer, consumer) = if other.is(Role::Producer) {
            (to, from)
        } else if other.is(Role::Consumer) {
            (from, to)
        } else {
            return Err(format!("Missing a producer or a consumer: id {to} is neither"));
        };
        if self.sessions.len() >= MAX_SESSIONS {
            return Err("Too many sessions".to_owned());
        }
        let (session_id, producer, consumer) = (new_id(), producer.to_owned(), consumer.to_owned());
        let session = Session { producer: producer.clone(), consumer: consumer.clone() };
        self.sessions.insert(session_id.clone(), session);
        let started = FromServer::SessionStarted { peer_id: producer.clone(), session_id: session_id.clone() };
        let start = FromServer::StartSession { peer_id: consumer.clone(), session_id, offer };
        Ok(vec![(consumer, started), (producer, start)])
    }

    fn end_session(&mut self, id: &str, session_id: &str) -> Outgoing {
        match self.sessions.get(session_id) {
            Some(session) if session.producer == id || session.consumer == id => {}
            _ => return Vec::new(),
        }
        self.sessions.remove(session_id).map(|session| ended(id, &session, session_id)).into_iter().collect()
    }

    /// Ends those sessions of somebody that `which` picks.
    fn end_sessions(&mut self, id: &str, which: impl Fn(&Session) -> bool) -> Outgoing {
        let theirs = |session: &Session| (session.producer == id || session.consumer == id) && which(session);
        let out = self.sessions.iter().filter(|(_, session)| theirs(session));
        let out = out.map(|(session_id, session)| ended(id, session, session_id)).collect();
        self.sessions.retain(|_, session| !theirs(session));
        out
    }

    fn tell_listeners(&self, id: &str, status: &PeerStatus) -> Outgoing {
        let status = PeerStatus { peer_id: Some(id.to_owned()), ..status.clone() };
        let listeners = self.peers.iter().filter(|(_, peer)| peer.is(Role::Listener));
        listeners.map(|(listener, _)| (listener.clone(), FromServer::PeerStatusChanged(status.clone()))).collect()
    }

    fn all(&self, role: Role) -> Vec<Peer> {
        let all = self.peers.iter().filter(|(_, peer)| peer.is(role));
        all.map(|(id, peer)| Peer { id: id.clone(), meta: peer.meta.clone() }).collect()
    }
}

/// What the other side hears of a session that `id` has ended.
fn ended(id: &str, session: &Session, session_id: &str) -> (String, FromServer) {
    let other = if session.producer == id { &session.consumer } else { &session.producer };
    (other.clone(), FromServer::EndSession { session_id: session_id.to_owned() })
}

/// An id that somebody made up, short enough to be repeated.
fn shown(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::gstrs::wire;

    /// A producer p, a listener c, and what everybody has heard.
    fn space() -> Space {
        let mut space = Space::default();
        space.enter("p");
        space.enter("c");
        hear(&mut space, "p", r#"{"type":"setPeerStatus","roles":["producer"],"meta":{"name":"cam"}}"#);
        hear(&mut space, "c", r#"{"type":"setPeerStatus","roles":["listener"],"meta":null}"#);
        space
    }

    fn hear(space: &mut Space, from: &str, text: &str) -> Vec<String> {
        shown(space.hear(from, wire::parse(text).unwrap(), || "s1".into()))
    }

    fn shown(out: Outgoing) -> Vec<String> {
        out.iter().map(|(to, message)| format!("{to} {}", wire::write(message))).collect()
    }

    const START: &str = r#"{"type":"startSession","peerId":"p"}"#;
    const END_P: &str = r#"p {"type":"endSession","sessionId":"s1"}"#;
    const END_C: &str = r#"c {"type":"endSession","sessionId":"s1"}"#;

    #[test]
    fn listeners_hear_of_roles_also_of_their_own() {
        let mut space = Space::default();
        assert_eq!(shown(space.enter("c")), [r#"c {"type":"welcome","peerId":"c"}"#]);
        let listen = r#"{"type":"setPeerStatus","roles":["listener","juggler"],"meta":{"a":1}}"#;
        assert_eq!(
            hear(&mut space, "c", listen),
            [r#"c {"type":"peerStatusChanged","roles":["listener"],"meta":{"a":1},"peerId":"c"}"#]
        );
        assert!(hear(&mut space, "c", listen).is_empty(), "nothing new");
        space.enter("p");
        assert_eq!(
            hear(&mut space, "p", r#"{"type":"setPeerStatus","roles":["producer"],"meta":null,"peerId":"c"}"#),
            [r#"c {"type":"peerStatusChanged","roles":["producer"],"meta":null,"peerId":"p"}"#],
            "who says it is ours to say"
        );
        assert_eq!(shown(space.leave("p")), [r#"c {"type":"peerStatusChanged","roles":[],"meta":null,"peerId":"p"}"#]);
        assert_eq!(space.len(), 1);
    }

    #[test]
    fn lists_are_by_role() {
        let mut space = space();
        let list = r#"c {"type":"list","producers":[{"id":"p","meta":{"name":"cam"}}]}"#;
        assert_eq!(hear(&mut space, "c", r#"{"type":"list"}"#), [list]);
        let consumers = r#"c {"type":"listConsumers","consumers":[]}"#;
        assert_eq!(hear(&mut space, "c", r#"{"type":"listConsumers"}"#), [consumers]);
    }

    #[test]
    fn a_session_joins_two_and_whatever_they_say() {
        let mut space = space();
        assert_eq!(
            hear(&mut space, "c", START),
            [
                r#"c {"type":"sessionStarted","peerId":"p","sessionId":"s1"}"#,
                r#"p {"type":"startSession","peerId":"c","sessionId":"s1","offer":null}"#
            ]
        );
        let message = |text: &str| {
            let FromClient::Peer(message) = wire::parse(text).unwrap() else { panic!("no peer message") };
            message
        };
        let offer = message(r#"{"type":"peer","sessionId":"s1","sdp":{"type":"offer","sdp":"v=0"}}"#);
        let ice = message(r#"{"type":"peer","sessionId":"s1","ice":{"candidate":"x","sdpMLineIndex":0}}"#);
        let unknown = message(r#"{"type":"peer","sessionId":"s2","ice":{"candidate":"x","sdpMLineIndex":0}}"#);
        space.enter("x");
        assert_eq!(space.receiver("p", &offer), Ok(Some("c")));
        assert_eq!(space.receiver("c", &ice), Ok(Some("p")));
        assert_eq!(space.receiver("x", &ice), Ok(None), "not in this session");
        assert_eq!(space.receiver("c", &unknown), Ok(None));
        assert_eq!(
            space.receiver("c", &offer).unwrap_err(),
            r#"cannot forward offer from "c" to "p" as "c" is not the producer"#
        );
        let end = r#"{"type":"endSession","sessionId":"s1"}"#;
        assert!(hear(&mut space, "x", end).is_empty(), "not theirs to end");
        assert_eq!(hear(&mut space, "c", end), [END_P]);
        assert!(hear(&mut space, "c", end).is_empty());
    }

    #[test]
    fn sessions_end_with_either_side_and_with_the_role() {
        let mut space = space();
        hear(&mut space, "c", START);
        let status = r#"c {"type":"peerStatusChanged","roles":[],"meta":{"name":"cam"},"peerId":"p"}"#;
        assert_eq!(shown(space.leave("p")), [END_C, status]);
        assert!(space.sessions.is_empty() && space.leave("p").is_empty());

        let mut space = self::space();
        hear(&mut space, "c", START);
        assert_eq!(shown(space.leave("c")), [END_P]);

        let mut space = self::space();
        hear(&mut space, "c", START);
        let no_more = r#"{"type":"setPeerStatus","roles":["listener"],"meta":null}"#;
        assert_eq!(hear(&mut space, "p", no_more)[0], END_C);
    }

    #[test]
    fn a_passive_consumer_is_offered_by_whoever_starts() {
        let mut space = space();
        space.enter("w");
        hear(&mut space, "w", r#"{"type":"setPeerStatus","roles":["consumer"],"meta":null}"#);
        assert_eq!(
            hear(&mut space, "p", r#"{"type":"startSession","peerId":"w","offer":"v=0"}"#),
            [
                r#"w {"type":"sessionStarted","peerId":"p","sessionId":"s1"}"#,
                r#"p {"type":"startSession","peerId":"w","sessionId":"s1","offer":"v=0"}"#
            ]
        );
    }

    #[test]
    fn vector_9_refusals_are_in_the_originals_words() {
        for (from, text, details) in [
            ("c", r#"{"type":"startSession","peerId":"x"}"#, "Peer with ID 'x' not found"),
            ("p", START, "Peer with ID 'p' not found"),
            ("p", r#"{"type":"startSession","peerId":"c"}"#, "Missing a producer or a consumer: id c is neither"),
            (
                "c",
                r#"{"type":"setPeerStatus","roles":["producer","consumer"],"meta":null}"#,
                "Cannot register peer c as both producer and passive consumer",
            ),
        ] {
            let error = FromServer::Error { details: details.to_owned() };
            assert_eq!(hear(&mut space(), from, text), [format!("{from} {}", wire::write(&error))]);
        }
    }

    #[test]
    fn sessions_have_their_bound() {
        let mut space = space();
        for number in 0..=MAX_SESSIONS {
            let said = space.hear("c", wire::parse(START).unwrap(), || number.to_string());
            assert_eq!(said.len(), if number < MAX_SESSIONS { 2 } else { 1 });
        }
    }
}
