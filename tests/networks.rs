//! Networks as they are: a 1:1 NAT, no UDP, nothing but a TURN server, IPv6 alone. Each is made of network namespaces, in
//! which the real `roomcast serve`, `bridge` and `publish` run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::{Namespace, Roomcast, Running, one_at_a_time};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A room's server, a bridge and a test participant, each in a network.
struct Call {
    _server: Roomcast,
    bridge: Roomcast,
    publishers: Vec<Roomcast>,
    directory: tempfile::TempDir,
}

impl Call {
    /// Starts a server at `host` (which it must be reachable by from everywhere), and a bridge with these options.
    async fn start(server: (&Namespace, &str), bridge: &Namespace, options: &[&str]) -> Self {
        let (namespace, host) = server;
        let mut server = namespace.roomcast(["serve", "--listen", &format!("{host}:8080"), "--no-bridges"]);
        server.wait_event("listening", PATIENCE).await;
        let directory = tempfile::tempdir().unwrap();
        let recording = directory.path().join("call.mkv").display().to_string();
        let url = format!("mesh+ws://{host}:8080/ws?room=r");
        let arguments = ["bridge", &url, "-o", &recording, "--size", "320x180", "--fps", "15"];
        let mut bridge = bridge.roomcast(arguments.iter().chain(options));
        bridge.wait_event("joined", PATIENCE).await;
        Self { _server: server, bridge, publishers: Vec::new(), directory }
    }

    /// Lets somebody join at `host` and waits until the bridge receives both tracks.
    async fn join(&mut self, network: &Namespace, host: &str, options: &[&str]) {
        let url = format!("mesh+ws://{host}:8080/ws?room=r&call=none");
        let arguments = ["publish", &url, "--size", "320x180", "--fps", "15"];
        self.publishers.push(network.roomcast(arguments.iter().chain(options)));
        let tracks = [
            self.bridge.wait_event("track_started", PATIENCE).await,
            self.bridge.wait_event("track_started", PATIENCE).await,
        ];
        assert_eq!(tracks[0]["participant"], tracks[1]["participant"]);
    }

    /// Waits for figures that say that pictures flow, and returns them.
    async fn figures(&mut self) -> serde_json::Value {
        for _ in 0..6 {
            let figures = self.bridge.wait_event("stats", PATIENCE).await;
            let participants = figures["participants"].as_array().unwrap();
            let flows = |participant: &serde_json::Value| participant["fps"].as_f64().unwrap() > 0.0;
            if participants.len() == self.publishers.len() && participants.iter().all(flows) {
                return figures;
            }
        }
        panic!("pictures do not flow: {:#?}\n{}", self.bridge.events().last(), self.bridge.log());
    }

    /// Everybody leaves, the bridge ends, and its recording is there.
    async fn end(mut self) {
        for publisher in &mut self.publishers {
            assert!(publisher.terminate(PATIENCE).await.success(), "{}", publisher.log());
        }
        assert!(self.bridge.terminate(PATIENCE).await.success(), "{}", self.bridge.log());
        let recorded = std::fs::metadata(self.directory.path().join("call.mkv")).unwrap().len();
        assert!(recorded > 10_000, "{recorded} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_one_to_one_nat_the_public_address_is_the_way_in() {
    let _turn = one_at_a_time().await;
    let (inside, nat, outside) = (Namespace::new("in").await, Namespace::new("nat").await, Namespace::new("out").await);
    inside.connect(&["10.0.0.2/24"], &nat, &["10.0.0.1/24"]).await;
    inside.ip("route add default via 10.0.0.1").await;
    outside.connect(&["203.0.113.9/24"], &nat, &["203.0.113.1/24", "203.0.113.7/24"]).await;
    nat.sysctl("net.ipv4.ip_forward=1").await;
    // Nobody inside can begin to talk over UDP: only who knows the public address can.
    nat.nft(
        "table ip nat {
            chain before { type nat hook prerouting priority dstnat; ip daddr 203.0.113.7 dnat to 10.0.0.2; }
            chain after { type nat hook postrouting priority srcnat; ip saddr 10.0.0.2 snat to 203.0.113.7; }
            chain forward {
                type filter hook forward priority filter;
                ct state established,related accept
                ip saddr 10.0.0.2 meta l4proto udp drop
            }
        }",
    )
    .await;
    let options = ["--udp-port", "40000", "--public-ip", "203.0.113.7"];
    let mut call = Call::start((&outside, "203.0.113.9"), &inside, &options).await;
    call.join(&outside, "203.0.113.9", &[]).await;
    let figures = call.figures().await;
    assert_eq!(figures["ports"]["udp"][0], "10.0.0.2:40000", "{figures}");
    call.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_without_udp_comes_in_over_tcp() {
    let _turn = one_at_a_time().await;
    let (host, client) = (Namespace::new("host").await, Namespace::new("client").await);
    host.connect(&["10.0.0.1/24"], &client, &["10.0.0.2/24"]).await;
    // A strict firewall: neither UDP nor connections from outside.
    client
        .nft(
            "table ip no_udp {
                chain in {
                    type filter hook input priority filter;
                    meta l4proto udp drop
                    tcp flags & (syn | ack) == syn drop
                }
                chain out { type filter hook output priority filter; meta l4proto udp drop; }
            }",
        )
        .await;
    let ports = ["--udp-port", "40000-40009", "--tcp-port", "40000-40009"];
    let mut call = Call::start((&host, "10.0.0.1"), &host, &ports).await;
    call.join(&client, "10.0.0.1", &["--tcp-port", "0"]).await;
    let figures = call.figures().await;
    assert_eq!(figures["ports"]["tcp"][0], "10.0.0.1:40000", "{figures}");
    call.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_a_turn_server_is_reachable_it_relays_for_everybody() {
    let _turn = one_at_a_time().await;
    let (left, middle, right) =
        (Namespace::new("left").await, Namespace::new("middle").await, Namespace::new("right").await);
    // The middle forwards nothing: left and right have no way to each other but what is relayed.
    left.connect(&["10.1.0.2/24"], &middle, &["10.1.0.1/24"]).await;
    right.connect(&["10.2.0.2/24"], &middle, &["10.2.0.1/24"]).await;
    left.ip("route add default via 10.1.0.1").await;
    right.ip("route add default via 10.2.0.1").await;
    let _coturn = start_coturn(&middle, "10.1.0.1").await;
    let turn = ["--ice-server", "turn:user:secret@10.1.0.1:3478"];
    let bridge = [&turn[..], &["--udp-port", "40000"]].concat();
    let mut call = Call::start((&middle, "10.1.0.1"), &left, &bridge).await;
    // Two, because each needs an allocation of its own though both share the bridge's port.
    for _ in 0..2 {
        call.join(&right, "10.1.0.1", &turn).await;
    }
    call.figures().await;
    call.end().await;
}

/// A TURN server that listens and relays at one address.
async fn start_coturn(network: &Namespace, address: &str) -> Running {
    let mut command = network.command("turnserver");
    let (listen, relay) = (format!("--listening-ip={address}"), format!("--relay-ip={address}"));
    command.args(["-n", &listen, &relay, "--user=user:secret", "--realm=test", "--lt-cred-mech", "--no-cli"]);
    command.args(["--no-tls", "--no-dtls", "--log-file=stdout", "--simple-log", "--pidfile=/dev/null"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut coturn = Running::start(command, "coturn iproute2");
    let mut log = BufReader::new(coturn.child.stdout.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains("Total General servers") {
                // Its log is read on, or it would wait for us.
                tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
                return;
            }
        }
        panic!("turnserver is not installed or ended at once: apt-get install coturn");
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("turnserver starts");
    coturn
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_alone_is_enough() {
    let _turn = one_at_a_time().await;
    let (host, client) = (Namespace::new("host").await, Namespace::new("client").await);
    host.connect(&["2001:db8::1/64"], &client, &["2001:db8::2/64"]).await;
    let mut call = Call::start((&host, "[2001:db8::1]"), &host, &["--udp-port", "40000"]).await;
    call.join(&client, "[2001:db8::1]", &[]).await;
    let figures = call.figures().await;
    assert_eq!(figures["ports"]["udp"], serde_json::json!(["[2001:db8::1]:40000"]), "no link-local address: {figures}");
    call.end().await;
}
