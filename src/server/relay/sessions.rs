//! All relays of a server: one task owns them, counts them, and waits for their ends.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use super::{Begin, Condition, Opened, Patched, RelayConfig, RelayError, Request, Role, Wish, publisher, viewer};
use crate::signaling::sdpfrag::SdpFragment;
use crate::terms::ParticipantId;

/// Requests that wait for the owner.
const MAILBOX: usize = 64;
/// Requests that wait for one relay: its client has one or two at a time.
const REQUESTS: usize = 8;

/// The way to the owner of the relays.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    orders: mpsc::Sender<Order>,
}

/// The way to one relay.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
enum Order {
    Open { wish: Wish, reply: oneshot::Sender<Result<Opened, RelayError>> },
    Find { role: Role, room: String, id: String, reply: oneshot::Sender<Option<Session>> },
}

impl Sessions {
    /// The relays, and the task that owns them: it ends when `cancel` says so and all relays have left their rooms.
    pub(crate) fn new(
        config: RelayConfig,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (orders, mailbox) = mpsc::channel(MAILBOX);
        let owner = Owner { config: Arc::new(config), relays: HashMap::new(), tasks: JoinSet::new(), cancel };
        (Self { orders }, owner.run(mailbox))
    }

    /// Opens a relay and waits for its answer, which takes seconds.
    pub(crate) async fn open(&self, wish: Wish) -> Result<Opened, RelayError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Open { wish, reply }).await.map_err(|_| RelayError::Closing)?;
        answer.await.unwrap_or(Err(RelayError::Closing))
    }

    /// The relay of this id, if it lives and belongs there.
    pub(crate) async fn find(&self, role: Role, room: &str, id: &str) -> Option<Session> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Find { role, room: room.to_owned(), id: id.to_owned(), reply };
        self.orders.send(order).await.ok()?;
        answer.await.ok().flatten()
    }
}

impl Session {
    /// Passes candidates or new credentials on.
    pub(crate) async fn patch(&self, condition: Condition, fragment: SdpFragment) -> Result<Patched, RelayError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Patch { condition, fragment, reply };
        self.requests.send(request).await.map_err(|_| RelayError::Ended)?;
        answer.await.unwrap_or(Err(RelayError::Ended))
    }

    /// Ends the relay and waits until everything is released.
    pub(crate) async fn close(&self) -> Result<(), RelayError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Close { reply }).await.map_err(|_| RelayError::Ended)?;
        answer.await.map_err(|_| RelayError::Ended)
    }
}

struct Owner {
    config: Arc<RelayConfig>,
    relays: HashMap<Id, Relay>,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

struct Relay {
    role: Role,
    room: String,
    /// The name that its client asked for.
    participant: Option<ParticipantId>,
    /// The id of its session, which changes when a publisher comes back.
    id: watch::Receiver<String>,
    session: Session,
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => break,
                order = mailbox.recv() => match order {
                    Some(Order::Open { wish, reply }) => self.open(wish, reply),
                    Some(Order::Find { role, room, id, reply }) => {
                        let fits = |relay: &&Relay| relay.role == role && relay.room == room && *relay.id.borrow() == id;
                        let found = self.relays.values().find(fits);
                        reply.send(found.map(|relay| relay.session.clone())).ok();
                    }
                    None => break,
                },
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
            }
        }
        // Also when the last handle is gone: nobody could end them any more.
        self.cancel.cancel();
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.forget(ended);
        }
    }

    fn open(&mut self, wish: Wish, reply: oneshot::Sender<Result<Opened, RelayError>>) {
        if let Some(relay) = self.held_by(&wish) {
            let request = Request::TakeOver { offer: wish.offer, reply };
            if let Err(TrySendError::Full(Request::TakeOver { reply, .. })) = relay.session.requests.try_send(request) {
                reply.send(Err(RelayError::Broken("it has too much to do".to_owned()))).ok();
            }
            return;
        }
        if self.relays.len() >= self.config.max_sessions {
            return drop(reply.send(Err(RelayError::TooManySessions(self.config.max_sessions))));
        }
        let (role, room, participant) = (wish.role, wish.room.clone(), wish.participant.clone());
        let (id_writer, id) = watch::channel(super::new_session_id());
        let (requests, mailbox) = mpsc::channel(REQUESTS);
        let span = info_span!("relay", room);
        let (config, cancel) = (Arc::clone(&self.config), self.cancel.child_token());
        let begin = Begin { id: id_writer, wish, config, reply, cancel };
        let task = match role {
            Role::Publish => self.tasks.spawn(publisher::run(begin, mailbox).instrument(span)),
            Role::Watch => self.tasks.spawn(viewer::run(begin, mailbox).instrument(span)),
        };
        self.relays.insert(task.id(), Relay { role, room, participant, id, session: Session { requests } });
    }

    /// The publisher's relay that a publisher of the same name takes over.
    fn held_by(&self, wish: &Wish) -> Option<&Relay> {
        let named = wish.role == Role::Publish && wish.participant.is_some();
        let same = |relay: &&Relay| {
            relay.role == wish.role && relay.room == wish.room && relay.participant == wish.participant
        };
        self.relays.values().filter(|_| named).find(same).filter(|relay| !relay.session.requests.is_closed())
    }

    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let task = match ended {
            Ok((task, ())) => task,
            Err(error) => {
                tracing::error!(%error, "a relay failed; please report it");
                error.id()
            }
        };
        self.relays.remove(&task);
    }
}
