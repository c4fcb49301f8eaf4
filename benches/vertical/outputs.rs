//! What outputs cost: copying beside transcoding, and ten outputs beside one.
//!
//! Each pair of bridges runs at the same time, in the same room, with the same participant: a neighbour who disturbs one
//! disturbs the other as well.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use super::cpu::{over_window, threads};
use super::ports::even_rtp_ports;
use super::roomcast::Roomcast;
use super::table::{Table, percentile};

const ROUNDS: usize = 3;
const SOON: Duration = Duration::from_secs(30);

/// A participant of 720p30 in H.264 to RTP, HLS and MP4: as it comes, and decoded, mixed and encoded.
pub(crate) async fn measure_copy(directory: &Path, table: &mut Table) {
    let mut receivers = Vec::new();
    let outputs = |directory: &Path| {
        let path = |name: &str| directory.join(name).display().to_string();
        let mut rtp = |name: &str| format!("rtp://127.0.0.1:{}?sdp={}", listen(&mut receivers), path(name));
        let copied = [
            format!("{}&video=copy&audio=copy", rtp("copy.sdp")),
            format!("hls:{}?video=copy&audio=copy&format=fmp4", path("copy-hls")),
            format!("{}?video=copy&audio=copy", path("copy.mp4")),
        ];
        let mixed = [rtp("mix.sdp"), format!("hls:{}", path("mix-hls")), path("mix.mp4")];
        [copied.to_vec(), mixed.to_vec()]
    };
    let [copying, transcoding, ratio] = compare(directory, "copy", outputs).await;
    table.add("CPU of copying 720p H.264 to RTP, HLS and MP4", copying, "% of a core", None);
    table.add("CPU of transcoding it", transcoding, "% of a core", None);
    table.add(format!("CPU, copying to transcoding, median of {ROUNDS}"), ratio, "x", Some(0.08));
}

/// Opens four ports, and returns the first. For what comes to a closed port the kernel writes a refusal in the sender's time, and in
/// the sender's time it would wake a reader, which in a real network is on another machine: so they are open and nobody reads.
fn listen(receivers: &mut Vec<UdpSocket>) -> u16 {
    let first = even_rtp_ports(4);
    receivers.extend((first..first + 4).map(|port| UdpSocket::bind(("127.0.0.1", port)).expect("a free port")));
    first
}

/// The mix to ten outputs, and to one.
pub(crate) async fn measure_ten(directory: &Path, table: &mut Table) {
    let mut receivers = Vec::new();
    let outputs = |directory: &Path| {
        let path = |name: String| directory.join(name).display().to_string();
        let mut ten: Vec<_> = (0..3).map(|number| path(format!("ten-{number}.mkv"))).collect();
        ten.extend((0..3).map(|number| path(format!("ten-{number}.mp4"))));
        ten.extend((0..2).map(|number| format!("hls:{}", path(format!("ten-{number}")))));
        let mut rtp =
            |number| format!("rtp://127.0.0.1:{}?sdp={}", listen(&mut receivers), path(format!("ten-{number}.sdp")));
        ten.extend((0..2).map(&mut rtp));
        [ten, vec![path("one.mkv".to_owned())]]
    };
    let [many, one, ratio] = compare(directory, "ten", outputs).await;
    table.add("CPU of ten outputs of one mix", many, "% of a core", None);
    table.add("CPU of one", one, "% of a core", None);
    table.add(format!("CPU, ten outputs to one, median of {ROUNDS}"), ratio, "x", Some(1.25));
}

/// The medians of two sets of outputs, in percent of a core, and of one to the other in the same round.
async fn compare(directory: &Path, name: &str, mut outputs: impl FnMut(&Path) -> [Vec<String>; 2]) -> [f64; 3] {
    let mut rounds = [const { Vec::new() }; 3];
    for round in 1..=ROUNDS {
        let directory = directory.join(format!("{name}-{round}"));
        std::fs::create_dir(&directory).expect("a directory");
        let [first, second] = outputs(&directory);
        let (first, second) = side_by_side(&first, &second).await;
        eprintln!("round {round}: {first:.2} % to {second:.2} %, {:.4} x", first / second);
        for (figures, figure) in rounds.iter_mut().zip([first, second, first / second]) {
            figures.push(figure);
        }
    }
    rounds.map(|figures| percentile(&figures, 0.5))
}

/// Percent of a core of two bridges in one room.
async fn side_by_side(first: &[String], second: &[String]) -> (f64, f64) {
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=outputs", base.replace("http", "mesh+ws"));
    let start = |outputs: &[String]| {
        let mut arguments = vec!["bridge".to_owned(), room.clone(), "--codecs".to_owned(), "h264".to_owned()];
        arguments.extend(outputs.iter().flat_map(|output| ["-o".to_owned(), output.clone()]));
        Roomcast::start(arguments)
    };
    let mut bridges = [start(first), start(second)];
    for bridge in &mut bridges {
        bridge.wait_event("joined", SOON).await;
    }
    let _person = Roomcast::start(["publish", &room, "--codec", "h264"]);
    for (bridge, outputs) in bridges.iter_mut().zip([first, second]) {
        for _ in outputs {
            bridge.wait_event("output_ready", SOON).await;
        }
    }
    let began = std::time::Instant::now();
    let percent = tokio::join!(over_window(bridges[0].id(), began), over_window(bridges[1].id(), began));
    for bridge in &mut bridges {
        eprintln!("  a bridge's threads since its start: {}", threads(bridge.id()));
        // An output that has failed costs nothing.
        let failed = bridge.events().into_iter().find(|event| event["event"] == "output_failed");
        assert!(failed.is_none(), "an output failed: {failed:?}\n{}", bridge.log());
        assert!(bridge.terminate(SOON).await.success(), "a bridge ended badly:\n{}", bridge.log());
    }
    percent
}
