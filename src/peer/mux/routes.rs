//! The routing table of one shared port: which connection a datagram is for.
//!
//! Pure: datagrams, addresses and instants in, a connection out. Every table is bounded, and everything that belongs to
//! a connection goes when the connection leaves.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::stun::{Kind, Transaction, kind};

/// Ufrags of one connection: an ICE restart brings a new one while the old one is still in use.
pub(super) const UFRAGS: usize = 4;
/// Remote addresses of one connection; somebody who knows its ufrag can invent any number.
pub(super) const REMOTES: usize = 32;
/// Open transactions of all connections. At 50 connections that is more than ICE's pacing lets happen.
pub(super) const TRANSACTIONS: usize = 8192;
/// A STUN request is given up after 39.5 s (RFC 8489, section 6.2.1); checks are repeated much sooner.
const TRANSACTION_LIFE: Duration = Duration::from_secs(10);

/// Names a connection on all shared ports of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// The table. `T` is what stands for a connection: the end of its queue.
#[derive(Debug)]
pub(crate) struct Routes<T> {
    connections: HashMap<ConnectionId, Connection<T>>,
    by_ufrag: HashMap<String, ConnectionId>,
    by_remote: HashMap<SocketAddr, ConnectionId>,
    by_transaction: HashMap<Transaction, (ConnectionId, SocketAddr)>,
    /// The transactions in order of age.
    sent: VecDeque<(Instant, Transaction)>,
}

#[derive(Debug)]
struct Connection<T> {
    target: T,
    ufrags: VecDeque<String>,
    remotes: VecDeque<SocketAddr>,
}

/// How many routes there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteCount {
    /// Connections that have a place on a shared port.
    pub(crate) connections: usize,
    /// Names by which a first datagram finds its connection.
    pub(crate) ufrags: usize,
    /// Remote addresses whose datagrams go to a connection.
    pub(crate) remotes: usize,
    /// STUN requests whose answers are awaited.
    pub(crate) transactions: usize,
}

impl<T> Routes<T> {
    pub(crate) fn new() -> Self {
        Self {
            connections: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_remote: HashMap::new(),
            by_transaction: HashMap::new(),
            sent: VecDeque::new(),
        }
    }

    /// A connection takes its place; one that it had before is given up.
    pub(crate) fn enter(&mut self, id: ConnectionId, target: T) {
        let known = self.connections.remove(&id);
        let (ufrags, remotes) = known.map(|known| (known.ufrags, known.remotes)).unwrap_or_default();
        self.connections.insert(id, Connection { target, ufrags, remotes });
    }

    /// Checks with this ufrag are for this connection from now on. A name that another connection has stays its own.
    pub(crate) fn name(&mut self, id: ConnectionId, ufrag: &str) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if self.by_ufrag.contains_key(ufrag) {
            return;
        }
        self.by_ufrag.insert(ufrag.to_owned(), id);
        connection.ufrags.push_back(ufrag.to_owned());
        if connection.ufrags.len() > UFRAGS
            && let Some(oldest) = connection.ufrags.pop_front()
        {
            self.by_ufrag.remove(&oldest);
        }
    }

    /// Notes what a connection sends: the answer to a request goes to who asked.
    pub(crate) fn sent(&mut self, id: ConnectionId, transaction: Transaction, to: SocketAddr, now: Instant) {
        if !self.connections.contains_key(&id) {
            return;
        }
        while let Some((at, oldest)) = self.sent.front()
            && (self.sent.len() >= TRANSACTIONS || now.saturating_duration_since(*at) > TRANSACTION_LIFE)
        {
            self.by_transaction.remove(oldest);
            self.sent.pop_front();
        }
        // A request that is repeated has the same transaction and keeps its age.
        if self.by_transaction.insert(transaction, (id, to)).is_none() {
            self.sent.push_back((now, transaction));
        }
    }

    /// The connection that a datagram is for, if any. A check, or the answer to one, makes its sender known.
    pub(crate) fn find(&mut self, datagram: &[u8], from: SocketAddr) -> Option<&T> {
        let id = match kind(datagram) {
            Kind::Check { ufrag: Some(ufrag), .. } => {
                let id = *self.by_ufrag.get(ufrag)?;
                self.learn(id, from);
                id
            }
            Kind::Answer(transaction) => {
                let (id, asked) = *self.by_transaction.get(&transaction)?;
                // An ICE-lite peer never checks by itself: its answer is all that says where its media comes from.
                if asked == from {
                    self.learn(id, from);
                }
                id
            }
            Kind::Check { ufrag: None, .. } | Kind::Turn | Kind::Media => *self.by_remote.get(&from)?,
        };
        self.connections.get(&id).map(|connection| &connection.target)
    }

    fn learn(&mut self, id: ConnectionId, from: SocketAddr) {
        if !self.connections.contains_key(&id) {
            return;
        }
        match self.by_remote.insert(from, id) {
            Some(before) if before == id => return,
            Some(before) => {
                if let Some(before) = self.connections.get_mut(&before) {
                    before.remotes.retain(|remote| *remote != from);
                }
            }
            None => {}
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.remotes.push_back(from);
        if connection.remotes.len() > REMOTES
            && let Some(oldest) = connection.remotes.pop_front()
        {
            self.by_remote.remove(&oldest);
        }
    }

    /// Forgets a connection and everything that leads to it.
    pub(crate) fn leave(&mut self, id: ConnectionId) -> Option<T> {
        let connection = self.connections.remove(&id)?;
        for ufrag in connection.ufrags {
            self.by_ufrag.remove(&ufrag);
        }
        for remote in connection.remotes {
            self.by_remote.remove(&remote);
        }
        self.by_transaction.retain(|_, (of, _)| *of != id);
        self.sent.retain(|(_, transaction)| self.by_transaction.contains_key(transaction));
        Some(connection.target)
    }

    /// What stands for each connection.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &T> {
        self.connections.values().map(|connection| &connection.target)
    }

    pub(crate) fn count(&self) -> RouteCount {
        RouteCount {
            connections: self.connections.len(),
            ufrags: self.by_ufrag.len(),
            remotes: self.by_remote.len(),
            transactions: self.by_transaction.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stun::tests::{TRANSACTION, check, message};
    use super::*;

    const A: ConnectionId = ConnectionId(1);
    const B: ConnectionId = ConnectionId(2);
    const RTP: &[u8] = &[0x80; 20];

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    fn two() -> Routes<char> {
        let mut routes = Routes::new();
        routes.enter(A, 'a');
        routes.enter(B, 'b');
        routes.name(A, "ufrag-a");
        routes.name(B, "ufrag-b");
        routes
    }

    fn transaction(number: u64) -> Transaction {
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&number.to_be_bytes());
        transaction
    }

    #[test]
    fn a_check_opens_the_way_for_media() {
        let mut routes = two();
        assert_eq!(routes.find(RTP, address(1)), None, "media before any check");
        assert_eq!(routes.find(&check("ufrag-a"), address(1)), Some(&'a'));
        assert_eq!(routes.find(&check("ufrag-b"), address(2)), Some(&'b'));
        assert_eq!(routes.find(RTP, address(1)), Some(&'a'));
        assert_eq!(routes.find(RTP, address(2)), Some(&'b'));
        assert_eq!(routes.find(RTP, address(3)), None);
        assert_eq!(routes.find(&check("unknown"), address(1)), None, "another room's check is nobody's here");
    }

    #[test]
    fn an_address_belongs_to_who_was_checked_last() {
        let mut routes = two();
        routes.find(&check("ufrag-a"), address(1));
        routes.find(&check("ufrag-b"), address(1));
        assert_eq!(routes.find(RTP, address(1)), Some(&'b'));
        routes.leave(A);
        assert_eq!(routes.find(RTP, address(1)), Some(&'b'), "A left, the address is B's");
        assert_eq!(routes.count().remotes, 1);
    }

    #[test]
    fn an_answer_goes_to_who_asked() {
        let mut routes = two();
        let answer = message(0x0101, &[]);
        assert_eq!(routes.find(&answer, address(1)), None);
        routes.sent(B, TRANSACTION, address(1), Instant::now());
        assert_eq!(routes.find(&answer, address(2)), Some(&'b'), "from another address: the connection decides");
        assert_eq!(routes.find(RTP, address(2)), None, "but it says nothing about that address");
        assert_eq!(routes.find(&answer, address(1)), Some(&'b'));
        assert_eq!(routes.find(RTP, address(1)), Some(&'b'));
    }

    #[test]
    fn transactions_age_and_are_bounded() {
        let mut routes = two();
        let start = Instant::now();
        routes.sent(A, TRANSACTION, address(1), start);
        routes.sent(A, transaction(1), address(1), start + TRANSACTION_LIFE * 2);
        assert_eq!(routes.find(&message(0x0101, &[]), address(1)), None);
        for number in 0..2 * TRANSACTIONS as u64 {
            routes.sent(A, transaction(number), address(1), start + TRANSACTION_LIFE * 2);
        }
        assert!(routes.count().transactions <= TRANSACTIONS && routes.sent.len() <= TRANSACTIONS);
    }

    #[test]
    fn ufrags_and_addresses_of_a_connection_are_bounded() {
        let mut routes = two();
        for number in 0..1000 {
            routes.name(A, &format!("restart-{number}"));
            routes.find(&check("ufrag-b"), address(number));
        }
        assert_eq!(routes.count().ufrags, UFRAGS + 1);
        assert_eq!(routes.count().remotes, REMOTES);
        assert_eq!(routes.find(&check("restart-999"), address(1)), Some(&'a'));
        assert_eq!(routes.find(&check("ufrag-a"), address(1)), None, "the first of many generations is forgotten");
        assert_eq!(routes.find(RTP, address(999)), Some(&'b'));
    }

    #[test]
    fn a_name_is_not_taken_away() {
        let mut routes = two();
        routes.name(B, "ufrag-a");
        assert_eq!(routes.find(&check("ufrag-a"), address(1)), Some(&'a'));
        routes.leave(B);
        assert_eq!(routes.find(&check("ufrag-a"), address(1)), Some(&'a'));
    }

    #[test]
    fn nothing_stays_of_who_left() {
        let mut routes = two();
        for (id, ufrag) in [(A, "ufrag-a"), (B, "ufrag-b")] {
            routes.find(&check(ufrag), address(u16::try_from(id.0).unwrap()));
            routes.sent(id, transaction(id.0), address(9), Instant::now());
        }
        routes.leave(A);
        assert_eq!(routes.count(), RouteCount { connections: 1, ufrags: 1, remotes: 1, transactions: 1 });
        assert_eq!(routes.find(RTP, address(1)), None);
        routes.leave(B);
        routes.leave(B);
        assert_eq!(routes.count(), RouteCount::default());
        assert!(routes.sent.is_empty());
        routes.name(A, "late");
        routes.sent(A, TRANSACTION, address(1), Instant::now());
        assert_eq!(routes.count(), RouteCount::default(), "who left cannot come back by itself");
    }

    #[test]
    fn a_new_socket_of_a_connection_keeps_its_routes() {
        let mut routes = two();
        routes.find(&check("ufrag-a"), address(1));
        routes.enter(A, 'n');
        assert_eq!(routes.find(RTP, address(1)), Some(&'n'));
        assert_eq!(routes.find(&check("ufrag-a"), address(1)), Some(&'n'));
    }
}
