//! Shared ports over real loopback sockets: who gets what, and that nothing stays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;
use webrtc::runtime::{AsyncUdpSocket, Transmit};

use super::port::Port;
use super::routes::{ConnectionId, RouteCount};
use super::socket::SharedSocket;
use super::stun::tests::{check, message};

const PATIENCE: Duration = Duration::from_secs(10);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);

struct Shared {
    port: Arc<Port>,
    _tasks: JoinSet<()>,
}

impl Shared {
    fn on(ip: IpAddr) -> Self {
        let port = Arc::new(Port::new(StdSocket::bind((ip, 0)).unwrap()).unwrap());
        let mut tasks = JoinSet::new();
        port.run(&mut tasks);
        Self { port, _tasks: tasks }
    }

    fn socket(&self, id: ConnectionId, uses_turn: bool) -> SharedSocket {
        let bound = StdSocket::bind((self.port.address().ip(), 0)).unwrap();
        SharedSocket::new(Arc::clone(&self.port), id, bound, uses_turn).unwrap()
    }
}

async fn remote(ip: IpAddr) -> UdpSocket {
    UdpSocket::bind((ip, 0)).await.unwrap()
}

async fn received(socket: &SharedSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2000];
    let (length, from) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("a datagram arrives").unwrap();
    (buffer[..length].to_vec(), from)
}

async fn at_remote(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2000];
    let (length, from) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("a datagram arrives").unwrap();
    (buffer[..length].to_vec(), from)
}

/// Media that says who sent it.
fn media(number: u8) -> Vec<u8> {
    vec![0x80, number]
}

async fn each_gets_its_own(ip: IpAddr) {
    let shared = Shared::on(ip);
    let (a, b) = (shared.socket(A, false), shared.socket(B, false));
    shared.port.name(A, "ufrag-a");
    shared.port.name(B, "ufrag-b");
    let (to_a, to_b) = (remote(ip).await, remote(ip).await);
    let address = shared.port.address();
    to_a.send_to(&check("ufrag-a"), address).await.unwrap();
    to_b.send_to(&check("ufrag-b"), address).await.unwrap();
    assert_eq!(received(&a).await, (check("ufrag-a"), to_a.local_addr().unwrap()));
    assert_eq!(received(&b).await, (check("ufrag-b"), to_b.local_addr().unwrap()));
    for number in 0..50 {
        to_a.send_to(&media(number), address).await.unwrap();
        to_b.send_to(&media(number + 100), address).await.unwrap();
    }
    for number in 0..50 {
        assert_eq!(received(&a).await.0, media(number));
        assert_eq!(received(&b).await.0, media(number + 100));
    }
    // Both send from the one port.
    a.send_to(&media(1), to_a.local_addr().unwrap()).await.unwrap();
    b.send_to(&media(2), to_b.local_addr().unwrap()).await.unwrap();
    assert_eq!(at_remote(&to_a).await, (media(1), address));
    assert_eq!(at_remote(&to_b).await, (media(2), address));
    shared.port.leave(A);
    shared.port.leave(B);
    assert_eq!(shared.port.routes_left(), RouteCount::default());
}

#[tokio::test]
async fn each_connection_gets_what_is_for_it() {
    each_gets_its_own(V4).await;
}

#[tokio::test]
async fn ipv6_works_alike() {
    each_gets_its_own(IpAddr::V6(Ipv6Addr::LOCALHOST)).await;
}

#[tokio::test]
async fn strangers_and_those_who_left_are_not_heard() {
    let shared = Shared::on(V4);
    let a = shared.socket(A, false);
    shared.port.name(A, "ufrag-a");
    let (stranger, friend) = (remote(V4).await, remote(V4).await);
    let address = shared.port.address();
    for datagram in [media(9), check("ufrag-x"), message(0x0101, &[]), vec![], vec![22; 100]] {
        stranger.send_to(&datagram, address).await.unwrap();
    }
    friend.send_to(&check("ufrag-a"), address).await.unwrap();
    assert_eq!(received(&a).await.1, friend.local_addr().unwrap());
    assert_eq!(shared.port.losses(), (4, 0), "an empty datagram counts as nothing");
    shared.port.leave(A);
    let b = shared.socket(B, false);
    shared.port.name(B, "ufrag-b");
    for datagram in [media(1), check("ufrag-a")] {
        friend.send_to(&datagram, address).await.unwrap();
    }
    stranger.send_to(&check("ufrag-b"), address).await.unwrap();
    assert_eq!(received(&b).await.1, stranger.local_addr().unwrap());
    assert_eq!(shared.port.losses().0, 6);
}

#[tokio::test]
async fn the_answer_to_a_request_goes_to_who_asked() {
    let shared = Shared::on(V4);
    let (_a, b) = (shared.socket(A, false), shared.socket(B, false));
    let server = remote(V4).await;
    b.send_to(&message(0x0001, &[]), server.local_addr().unwrap()).await.unwrap();
    let (request, from) = at_remote(&server).await;
    assert_eq!((request, from), (message(0x0001, &[]), shared.port.address()));
    server.send_to(&message(0x0101, &[]), from).await.unwrap();
    assert_eq!(received(&b).await, (message(0x0101, &[]), server.local_addr().unwrap()));
}

#[tokio::test]
async fn turn_goes_over_a_port_of_the_connections_own() {
    let shared = Shared::on(V4);
    let (a, b) = (shared.socket(A, true), shared.socket(B, true));
    let server = remote(V4).await;
    let allocate = message(0x0003, &[]);
    let mut ports = Vec::new();
    for socket in [&a, &b] {
        // The driver waits for datagrams already when the first request is sent.
        let answer = async { received(socket).await };
        let talk = async {
            socket.send_to(&allocate, server.local_addr().unwrap()).await.unwrap();
            let (request, from) = at_remote(&server).await;
            assert_eq!(request, allocate);
            assert_eq!(from, socket.local_addr().unwrap());
            ports.push(from);
            server.send_to(&message(0x0103, &[]), from).await.unwrap();
        };
        let ((answer, from), ()) = tokio::join!(answer, talk);
        assert_eq!((answer, from), (message(0x0103, &[]), server.local_addr().unwrap()));
    }
    assert_ne!(ports[0], ports[1]);
    let without = shared.socket(ConnectionId(3), false);
    assert!(without.send_to(&allocate, server.local_addr().unwrap()).await.is_err());
}

#[tokio::test]
async fn a_batch_is_sent_and_received_whole() {
    let shared = Shared::on(V4);
    let (a, b) = (shared.socket(A, false), shared.socket(B, false));
    let other = Shared::on(V4);
    let far = other.socket(A, false);
    other.port.name(A, "far");
    a.send_to(&check("far"), other.port.address()).await.unwrap();
    received(&far).await;
    // Ten datagrams in one system call, the last one shorter.
    let segment = 500;
    let contents: Vec<u8> = (0..9 * segment + 100).map(|at| if at % segment == 0 { 0x80 } else { 1 }).collect();
    let segments = if a.max_gso_segments() >= 10 { 10 } else { 1 };
    let sent = if segments > 1 { &contents[..] } else { &contents[..segment] };
    let transmit = Transmit {
        destination: other.port.address(),
        ecn: None,
        contents: sent,
        segment_size: (segments > 1).then_some(segment),
        src_ip: None,
    };
    std::future::poll_fn(|cx| a.poll_send(cx, &transmit)).await.unwrap();
    let mut all: Vec<u8> = Vec::new();
    while all.len() < sent.len() {
        let mut buffer = vec![0; 30_000];
        let (length, _) = timeout(PATIENCE, far.recv_from(&mut buffer)).await.expect("all of it arrives").unwrap();
        all.extend(&buffer[..length]);
    }
    assert_eq!(all, sent);
    drop(b);
}
