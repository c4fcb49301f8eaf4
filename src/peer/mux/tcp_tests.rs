//! A shared TCP port over real loopback streams: the first frame says whose a stream is.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use webrtc::runtime::AsyncTcpListener;

use super::routes::ConnectionId;
use super::stream::SharedListener;
use super::stun::tests::{check, message};
use super::tcp_port::TcpPort;

const PATIENCE: Duration = Duration::from_secs(10);

fn shared() -> (Arc<TcpPort>, JoinSet<()>) {
    let port = Arc::new(TcpPort::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap());
    let mut tasks = JoinSet::new();
    port.run(&mut tasks);
    (port, tasks)
}

fn listener(port: &TcpPort, number: u64, ufrag: &str) -> SharedListener {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listener = SharedListener::new(port, ConnectionId(number), &bound).unwrap();
    port.name(ConnectionId(number), ufrag);
    listener
}

/// RFC 4571: two bytes of length, then the packet.
fn frame(packet: &[u8]) -> Vec<u8> {
    let mut frame = u16::try_from(packet.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(packet);
    frame
}

#[tokio::test]
async fn a_stream_goes_to_whom_its_first_check_names_with_nothing_missing() {
    let (port, _tasks) = shared();
    let (a, b) = (listener(&port, 1, "ufrag-a"), listener(&port, 2, "ufrag-b"));
    for (listener, ufrag) in [(&b, "ufrag-b"), (&a, "ufrag-a")] {
        let mut client = TcpStream::connect(port.address()).await.unwrap();
        let said = [frame(&check(ufrag)), frame(b"more")].concat();
        // In pieces, as networks do it.
        for piece in said.chunks(7) {
            client.write_all(piece).await.unwrap();
        }
        let (stream, from) = timeout(PATIENCE, listener.accept()).await.expect("a stream").unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        assert_eq!(stream.local_addr().unwrap(), listener.local_addr().unwrap());
        let mut heard: Vec<u8> = Vec::new();
        while heard.len() < said.len() {
            let mut buffer = [0; 16];
            let length = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("bytes").unwrap();
            heard.extend(&buffer[..length]);
        }
        assert_eq!(heard, said);
        stream.write_all(&frame(b"answer")).await.unwrap();
        let mut answer = [0; 8];
        timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("an answer").unwrap();
        assert_eq!(answer[..], frame(b"answer"));
    }
    port.leave(ConnectionId(1));
    port.leave(ConnectionId(2));
    assert_eq!(port.connections(), 0);
}

#[tokio::test]
async fn strangers_are_hung_up_on() {
    let (port, _tasks) = shared();
    let _a = listener(&port, 1, "ufrag-a");
    listener(&port, 2, "left");
    port.leave(ConnectionId(2));
    let cases: [(&str, Vec<u8>); 6] = [
        ("a check for nobody", frame(&check("unknown"))),
        ("a check for who left", frame(&check("left"))),
        ("no check", frame(&message(0x0101, &[]))),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a frame that is too long", vec![0xff; 100]),
        ("an empty frame", vec![0, 0]),
    ];
    for (what, said) in cases {
        let mut client = TcpStream::connect(port.address()).await.unwrap();
        client.write_all(&said).await.unwrap();
        let mut buffer = [0; 16];
        let answer = timeout(PATIENCE, client.read(&mut buffer)).await.unwrap_or_else(|_| panic!("{what}: still open"));
        // Closed, or reset because something was left unread.
        assert!(matches!(answer, Ok(0) | Err(_)), "{what}: {answer:?}");
    }
}
