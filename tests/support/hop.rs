//! A hop on the way to a TCP server: it may speak TLS to those who come, and it may stop reading.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::process::piped;

/// Forwards connections from a free port of loopback to another. Dropping it closes all of them.
pub(crate) struct Hop {
    /// Where it listens.
    pub(crate) port: u16,
    reads: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Hop {
    /// In plain TCP.
    pub(crate) fn plain(to: u16) -> Self {
        Self::start(to, None)
    }

    /// With TLS, and a certificate that nobody vouches for, which is made in `directory`.
    pub(crate) async fn tls(to: u16, directory: &Path) -> Self {
        let (certificate, key) = (directory.join("hop.crt"), directory.join("hop.key"));
        let mut openssl = piped("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", "-subj", "/CN=hop"]);
        let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output().await;
        let made = made.expect("openssl is installed: apt-get install openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        rustls::crypto::ring::default_provider().install_default().ok();
        let chain = vec![CertificateDer::from_pem_file(&certificate).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(&key).expect("a key");
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        Self::start(to, Some(TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))))
    }

    fn start(to: u16, tls: Option<TlsAcceptor>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // What waits in a kernel delays the moment at which a sender notices that nobody reads.
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port of loopback");
        let listener = socket.listen(16).expect("a listener");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (reads, reading) = watch::channel(true);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (tls, reading) = (tls.clone(), reading.clone());
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    match tls {
                        Some(tls) => {
                            // Who does not trust the certificate goes away.
                            if let Ok(near) = tls.accept(near).await {
                                forward(near, far, reading).await;
                            }
                        }
                        None => forward(near, far, reading).await,
                    }
                });
            }
        });
        Self { port, reads, task }
    }

    /// Stops or begins to read what comes.
    pub(crate) fn read(&self, reads: bool) {
        self.reads.send(reads).expect("somebody forwards");
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(near: impl AsyncRead + AsyncWrite, mut far: TcpStream, mut reading: watch::Receiver<bool>) {
    let (mut near_reads, mut near_writes) = tokio::io::split(near);
    let (mut far_reads, mut far_writes) = far.split();
    let there = async {
        let mut buffer = vec![0; 16 * 1024];
        while reading.wait_for(|reads| *reads).await.is_ok() {
            let read = tokio::io::AsyncReadExt::read(&mut near_reads, &mut buffer).await;
            let Ok(count @ 1..) = read else { return };
            if far_writes.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        _ = tokio::io::copy(&mut far_reads, &mut near_writes) => {}
    }
}
