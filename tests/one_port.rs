//! Everybody on one port: the real `roomcast bridge --udp-port` and as many test participants as a call has.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::collections::HashSet;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Browser, BrowserOptions, MeshMember, Roomcast, one_at_a_time};
use tokio::process::Command;

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A room of our server, and a bridge of it on these ports.
async fn room(options: &[&str]) -> (Roomcast, String, Roomcast, tempfile::TempDir) {
    let (server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("call.mkv").display().to_string();
    let url = format!("{}/ws?room=r", base.replace("http", "mesh+ws"));
    let arguments = ["bridge", &url, "-o", &recording, "--size", "320x180", "--fps", "15", "--bind", "127.0.0.1"];
    let mut bridge = Roomcast::start(arguments.iter().chain(options));
    bridge.wait_event("joined", PATIENCE).await;
    (server, base, bridge, directory)
}

/// The next figures of a bridge for which this is true.
async fn figures(bridge: &mut Roomcast, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..8 {
        let figures = bridge.wait_event("stats", PATIENCE).await;
        if holds(&figures) {
            return figures;
        }
    }
    panic!("never {what}: {:#?}\n{}", bridge.events().last(), bridge.log());
}

/// The UDP ports that a process of this machine is bound to on 127.0.0.1.
fn udp_ports(process: u32) -> HashSet<u16> {
    let sockets: HashSet<String> = std::fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .filter_map(|fd| Some(std::fs::read_link(fd.ok()?.path()).ok()?.to_str()?.to_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    // sl local_address rem_address st … inode: addresses are ADDRESS:PORT in hexadecimal.
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.get(9).is_some_and(|inode| sockets.contains(*inode)))
        .filter_map(|words| words[1].strip_prefix("0100007F:"))
        .map(|port| u16::from_str_radix(port, 16).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn six_participants_share_one_port_and_leave_nothing_behind() {
    const PEOPLE: usize = 6;
    let _turn = one_at_a_time().await;
    let (_server, base, mut bridge, _directory) = room(&["--udp-port", "0"]).await;
    let url = format!("{}/ws?room=r&call=none", base.replace("http", "mesh+ws"));
    let small = ["--size", "160x90", "--fps", "5", "--bind", "127.0.0.1", "--no-audio"];
    let mut people: Vec<_> = (0..PEOPLE).map(|_| Roomcast::start(["publish", &url].iter().chain(&small))).collect();
    let mut sending = HashSet::new();
    while sending.len() < PEOPLE {
        let track = bridge.wait_event("track_started", PATIENCE).await;
        sending.insert(track["participant"].to_string());
    }
    let all_flow = |figures: &Value| {
        let participants = figures["participants"].as_array().unwrap();
        participants.len() == PEOPLE && participants.iter().all(|person| person["fps"].as_f64().unwrap() > 0.0)
    };
    let flowing = figures(&mut bridge, "six pictures", all_flow).await;
    let ports = &flowing["ports"];
    assert_eq!((&ports["connections"], &ports["dropped"]), (&json!(PEOPLE), &json!(0)), "{ports}");
    let address: std::net::SocketAddr = ports["udp"][0].as_str().unwrap().parse().unwrap();
    assert_eq!(udp_ports(bridge.id()), HashSet::from([address.port()]), "media on other ports too");

    for person in &mut people {
        assert!(person.terminate(PATIENCE).await.success(), "{}", person.log());
    }
    let empty = |figures: &Value| figures["participants"].as_array().unwrap().is_empty();
    let left = figures(&mut bridge, "an empty room", empty).await;
    assert_eq!((&left["ports"]["connections"], &left["ports"]["routes"]), (&json!(0), &json!(0)), "{left}");
    assert!(bridge.terminate(PATIENCE).await.success(), "{}", bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_uses_the_one_port() {
    let _turn = one_at_a_time().await;
    let (figures, path) = path_of_a_browser(&["--udp-port", "0"], Vec::new()).await;
    assert_eq!(path, json!(["udp", port(&figures["ports"]["udp"])]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_udp_comes_in_over_tcp() {
    let _turn = one_at_a_time().await;
    let no_udp = vec!["--webrtc-ip-handling-policy=disable_non_proxied_udp".to_owned()];
    let options = ["--udp-port", "0", "--tcp-port", "0", "--ice-lite"];
    let (figures, path) = path_of_a_browser(&options, no_udp).await;
    assert_eq!(path, json!(["tcp", port(&figures["ports"]["tcp"])]));
}

/// The bridge's figures once a browser's picture flows, and how that browser reaches it: protocol and port.
async fn path_of_a_browser(options: &[&str], flags: Vec<String>) -> (Value, Value) {
    let (_server, base, mut bridge, _directory) = room(options).await;
    let page = Browser::start_with(BrowserOptions { flags, ..BrowserOptions::default() }).await;
    page.goto(&format!("{base}/?room=r")).await;
    page.wait_for("typeof connect === 'function'", PATIENCE).await;
    page.eval("document.getElementById('join').click()").await;
    bridge.wait_event("track_started", PATIENCE).await;
    bridge.wait_event("track_started", PATIENCE).await;
    let flows = |figures: &Value| figures["participants"][0]["fps"].as_f64().is_some_and(|fps| fps > 0.0);
    let flowing = figures(&mut bridge, "a picture", flows).await;
    assert_eq!(flowing["ports"]["connections"], 1, "{flowing}");
    let path = page
        .eval(
            "(async () => { for (const { pc } of state.peers.values()) {
               const all = [...(await pc.getStats()).values()];
               const transport = all.find((one) => one.type === 'transport');
               const pair = all.find((one) => one.id === transport?.selectedCandidatePairId);
               const remote = all.find((one) => one.id === pair?.remoteCandidateId);
               if (remote) return [remote.protocol, remote.port]; } })()",
        )
        .await;
    assert!(bridge.terminate(PATIENCE).await.success(), "{}", bridge.log());
    (flowing, path)
}

/// The port of the first of these addresses.
fn port(addresses: &Value) -> u16 {
    addresses[0].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_names_the_shared_port_and_the_public_address_alone() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("call.mkv").display().to_string();
    let url = format!("{}/ws?room=r", base.replace("http", "mesh+ws"));
    let mut member = MeshMember::join(&base, "r", "aaa").await;
    let bind = roomcast::peer::ice::local_addresses(false)[0].to_string();
    // Documentation addresses: nobody is reached there, which is not what this is about.
    let public = if bind.contains(':') { "2001:db8::7" } else { "198.51.100.7" };
    let ports = ["--bind", &bind, "--udp-port", "0", "--tcp-port", "0"];
    let arguments = ["bridge", &url, "-o", &recording, "--size", "320x180"];
    // On a machine with loopback alone there is nothing that could be behind a NAT, which is an error of its own.
    let loopback = bind.parse::<std::net::IpAddr>().unwrap().is_loopback();
    let output = Command::new(env!("CARGO_BIN_EXE_roomcast"))
        .args(arguments)
        .args(["--bind", "127.0.0.1", "--public-ip", public])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("--public-ip {public}: media is received on no address of this kind")), "{said}");
    assert!(!loopback, "this machine has no address but loopback: connect it to a network to test --public-ip");

    let mut bridge = Roomcast::start(arguments.iter().chain(&ports).chain(&["--public-ip", public]));
    bridge.wait_event("joined", PATIENCE).await;
    let ports = figures(&mut bridge, "its ports", |figures| figures["ports"].is_object()).await["ports"].clone();
    let (udp, tcp) = (port(&ports["udp"]).to_string(), port(&ports["tcp"]).to_string());
    let mut found = HashSet::new();
    let mut offered = false;
    while found.len() < 3 || !offered {
        let message = member.hear().await.expect("the room goes on");
        let candidate = message["candidate"]["candidate"].as_str().unwrap_or_default();
        let sdp = message["sdp"]["sdp"].as_str().unwrap_or_default();
        offered |= !sdp.is_empty();
        let in_sdp = sdp.lines().filter_map(|line| line.strip_prefix("a=")).filter(|line| line.starts_with("cand"));
        for candidate in in_sdp.chain([candidate]).filter(|candidate| !candidate.is_empty()) {
            assert!(!candidate.contains(&bind), "the original is kept out: {candidate}");
            let words: Vec<_> = candidate.split(' ').collect();
            found.insert((words[2].to_lowercase(), words[4].to_owned(), words[5].to_owned()));
        }
    }
    let expected = [("udp", udp), ("tcp", tcp), ("tcp", "9".to_owned())];
    let expected = expected.map(|(transport, port)| (transport.to_owned(), public.to_owned(), port));
    assert_eq!(found, HashSet::from(expected));
    assert!(bridge.terminate(PATIENCE).await.success(), "{}", bridge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_said_before_anything_is_joined() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("call.mkv").display().to_string();
    let url = "mesh+ws://127.0.0.1:9/ws?room=nobody-is-there";
    for command in [vec!["bridge", url, "-o", &recording], vec!["publish", url]] {
        let output = Command::new(env!("CARGO_BIN_EXE_roomcast"))
            .args(&command)
            .args(["--bind", "127.0.0.1", "--udp-port", &port])
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("--udp-port {port}: the port is taken on 127.0.0.1")), "{said}");
        assert!(said.contains(&format!("--udp-port {port}-")), "no way out: {said}");
    }
}
