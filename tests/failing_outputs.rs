//! An output that fails, fails alone: the others lose nothing, it is tried again, and the exit code tells.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{Roomcast, Scene, assert_flawless, assert_whole, even_rtp_ports, free_tcp_port, free_udp_port, time_of};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(30);

/// A small file system that fills up in seconds.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts it. Where that is not permitted the test fails and says what it needs: a full disk cannot be pretended.
    fn mount(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "roomcast-test"])
            .arg(directory.path())
            .output()
            .unwrap_or_else(|error| panic!("mount is not installed ({error}): apt-get install mount"));
        assert!(
            mounted.status.success(),
            "a full disk needs a small file system, which only root may mount: run this test as root (docker run \
             --cap-add SYS_ADMIN): {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still writes to it must not keep it.
        Command::new("umount").arg("-l").arg(self.directory.path()).status().ok();
    }
}

/// The `output_failed` events of an output.
fn failures(bridge: &Roomcast, output: &str) -> Vec<Value> {
    bridge.events().into_iter().filter(|event| event["event"] == "output_failed" && event["output"] == output).collect()
}

/// How an output ended.
async fn ended(bridge: &mut Roomcast, output: &str) -> Value {
    let stopped = bridge.wait_event("stopped", SOON).await;
    let outputs = stopped["summary"]["outputs"].as_array().unwrap();
    outputs.iter().find(|summary| summary["output"] == output).unwrap_or_else(|| panic!("{stopped:#}")).clone()
}

async fn ready(bridge: &mut Roomcast, count: usize) {
    for _ in 0..count {
        bridge.wait_event("output_ready", SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_its_recordings_alone_and_keeps_what_was_written() {
    let scene = Scene::start().await;
    let disk = SmallDisk::mount("1M");
    let outputs =
        [disk.path("full.mkv"), disk.path("full.mp4"), scene.path("good.mkv"), format!("hls:{}", scene.path("www"))];
    // 2 Mb/s fill one MiB in seconds.
    let (mut bridge, wall) =
        scene.bridge(&outputs.each_ref().map(String::as_str), &["--gop", "1", "--disk-floor", "0"]).await;
    let mut failed = bridge.wait_event("output_failed", SOON).await;
    while failures(&bridge, &outputs[0]).is_empty() || failures(&bridge, &outputs[1]).is_empty() {
        failed = bridge.wait_event("output_failed", SOON).await;
    }
    assert!(failed["error"].as_str().unwrap().to_lowercase().contains("no space"), "{failed}");
    for output in &outputs[..2] {
        assert!(failures(&bridge, output)[0]["retry_in"].as_f64().unwrap() > 0.0);
    }
    bridge.wait_event("stats", SOON).await;
    // It is tried again, fails again, and the others go on. Then it waits for two seconds at least: while it is tried a third time it
    // would be an output that works.
    while failures(&bridge, &outputs[0]).len() < 2 {
        bridge.wait_event("output_failed", SOON).await;
    }
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(4), "{}", bridge.log());
    let failed = ended(&mut bridge, &outputs[0]).await;
    assert_eq!(failed["ok"], false, "{failed}");
    assert!(failed["error"].as_str().unwrap().to_lowercase().contains("no space"), "{failed}");
    assert_whole(&outputs[2], end, &bridge).await;
    assert_flawless(&format!("{}/index.m3u8", scene.path("www")), &bridge).await;
    // What fitted is kept and plays: one of the two had room for a while.
    let kept: Vec<_> =
        outputs[..2].iter().filter(|file| Path::new(file).metadata().is_ok_and(|file| file.len() > 100_000)).collect();
    assert!(!kept.is_empty(), "{:?}", std::fs::read_dir(disk.directory.path()).unwrap().collect::<Vec<_>>());
    for file in kept {
        let reading = support::read_with_ffmpeg(&[file], SOON).await;
        assert!(reading.frames > 30, "{file}: {reading:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_space_again_is_written_again_in_a_further_part() {
    let scene = Scene::start().await;
    let disk = SmallDisk::mount("1M");
    let ballast = PathBuf::from(disk.path("ballast"));
    std::fs::write(&ballast, vec![0; 900_000]).unwrap();
    let (full, good) = (disk.path("call.mkv"), scene.path("good.mkv"));
    let args = ["--video-bitrate", "300k", "--disk-floor", "0", "--verify", "always"];
    let (mut bridge, wall) = scene.bridge(&[&full, &good], &args).await;
    let failed = bridge.wait_event("output_failed", SOON).await;
    assert_eq!(failed["output"], *full, "{failed}");
    std::fs::remove_file(&ballast).unwrap();
    loop {
        let ready = bridge.wait_event("output_ready", SOON).await;
        if ready["output"] == *full && time_of(&ready) > time_of(&failed) {
            break;
        }
    }
    // Something to record.
    sleep(Duration::from_secs(2)).await;
    let end = wall.now();
    // It works at the end: nothing failed for good. But a part has no end, and whoever started the bridge should know.
    assert_eq!(bridge.terminate(SOON).await.code(), Some(5), "{}", bridge.log());
    let verdicts: Vec<_> = bridge.events().into_iter().filter(|event| event["event"] == "verified").collect();
    for verified in &verdicts {
        let expected = if verified["file"] == *full { "fault" } else { "ok" };
        assert_eq!(verified["verdict"], expected, "{verified:#}");
        assert_eq!(verified["complete"], verified["file"] != *full, "{verified:#}");
    }
    assert!(verdicts.len() >= 3, "{verdicts:#?}");
    let summary = ended(&mut bridge, &full).await;
    assert_eq!(summary["ok"], true, "{summary}");
    assert!(summary["failures"].as_u64().unwrap() >= 1, "{summary}");
    assert!(Path::new(&full).exists(), "the first part is kept");
    let parts: Vec<_> = (2..10)
        .map(|part| disk.path(&format!("call.part{part}.mkv")))
        .filter(|path| Path::new(path).exists())
        .collect();
    assert_flawless(parts.last().expect("a further part"), &bridge).await;
    assert_whole(&good, end, &bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_removed_fails_its_output_alone() {
    let scene = Scene::start().await;
    let (doomed, good) = (format!("hls:{}?segment=1", scene.path("doomed")), scene.path("good.mkv"));
    let (mut bridge, wall) = scene.bridge(&[&doomed, &good], &["--gop", "1"]).await;
    ready(&mut bridge, 2).await;
    // A file of this name: the directory cannot simply be made again.
    std::fs::remove_dir_all(scene.path("doomed")).unwrap();
    std::fs::write(scene.path("doomed"), "in the way").unwrap();
    let failed = bridge.wait_event("output_failed", SOON).await;
    assert_eq!(failed["output"], *doomed, "{failed}");
    assert!(failed["retry_in"].as_f64().unwrap() > 0.0, "{failed}");
    // A second attempt fails too, and names the directory.
    let failed = bridge.wait_event("output_failed", SOON).await;
    assert!(failed["error"].as_str().unwrap().contains("doomed"), "{failed}");
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(4), "{}", bridge.log());
    assert_eq!(ended(&mut bridge, &doomed).await["ok"], false);
    assert_whole(&good, end, &bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_comes_back_is_used_again() {
    let scene = Scene::start().await;
    let (hls, good) = (format!("hls:{}?segment=1", scene.path("www")), scene.path("good.mkv"));
    let (mut bridge, wall) = scene.bridge(&[&hls, &good], &["--gop", "1"]).await;
    ready(&mut bridge, 2).await;
    std::fs::remove_dir_all(scene.path("www")).unwrap();
    bridge.wait_event("output_failed", SOON).await;
    // The next attempt makes the directory itself.
    let again = bridge.wait_event("output_ready", SOON).await;
    assert_eq!(again["output"], *hls, "{again}");
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    assert_flawless(&format!("{}/index.m3u8", scene.path("www")), &bridge).await;
    assert_whole(&good, end, &bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_not_there_is_no_failure() {
    let scene = Scene::start().await;
    let ports = even_rtp_ports(4);
    // Nobody holds these ports: each packet comes back as an ICMP error.
    let (rtp, good) = (format!("rtp://127.0.0.1:{ports}?sdp={}", scene.path("call.sdp")), scene.path("good.mkv"));
    let (mut bridge, wall) = scene.bridge(&[&rtp, &good], &[]).await;
    ready(&mut bridge, 2).await;
    bridge.wait_event("stats", SOON).await;
    bridge.wait_event("stats", SOON).await;
    assert!(failures(&bridge, &rtp).is_empty(), "{:#?}", bridge.events());
    // A receiver that comes now plays, from the next keyframe on, which may be two seconds away.
    let report = support::probe(&scene.path("call.sdp"), &["--duration", "4"]).await;
    for stream in report["streams"].as_array().expect("streams") {
        assert!(stream["decode_errors"] == 0 && stream["frames"].as_u64().unwrap() > 15, "{report:#}");
    }
    assert_eq!(report["streams"].as_array().map(Vec::len), Some(2), "{report:#}");
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    assert_whole(&good, end, &bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_exists_is_kept() {
    let scene = Scene::start().await;
    let file = scene.path("call.mkv");
    std::fs::write(&file, "an earlier recording").unwrap();
    let (mut bridge, wall) = scene.bridge(&[&file], &[]).await;
    ready(&mut bridge, 1).await;
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());
    assert_eq!(std::fs::read_to_string(scene.path("call.1.mkv")).unwrap(), "an earlier recording");
    assert_whole(&file, end, &bridge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_ends_its_recordings_whole_and_nothing_live() {
    let scene = Scene::start().await;
    let disk = SmallDisk::mount("8M");
    let (first, second) = (disk.path("call.mkv"), disk.path("call.mp4"));
    let live = format!("hls:{}", disk.path("www"));
    let outputs = [first.as_str(), &second, &live];
    let (mut bridge, _) = scene.bridge(&outputs, &["--video-bitrate", "1M", "--disk-floor", "6M"]).await;
    ready(&mut bridge, 3).await;
    for _ in 0..2 {
        let stopped = bridge.wait_event("output_stopped", SOON).await;
        assert_eq!(stopped["complete"], true, "{stopped}");
        assert_ne!(stopped["output"], live, "what is live goes on");
    }
    for file in [&first, &second] {
        let failed = failures(&bridge, file);
        let error = failed.first().map(|event| event["error"].to_string()).unwrap_or_default();
        assert!(failed.len() == 1 && error.contains("--disk-floor 6 MB"), "{failed:#?}");
        assert_eq!(failed[0].get("retry_in"), None, "it is not tried again");
    }
    let mut stats = bridge.wait_event("stats", SOON).await;
    while stats["outputs"].get(&first).is_some() {
        stats = bridge.wait_event("stats", SOON).await;
    }
    assert_eq!(stats["outputs"][&live]["state"], "ready", "{stats:#}");
    // Something was ended before its time: whoever started the bridge should know.
    assert_eq!(bridge.terminate(SOON).await.code(), Some(4), "{}", bridge.log());
    for file in [&first, &second] {
        let report = assert_flawless(file, &bridge).await;
        assert!(report["streams"][0]["duration"].as_f64() > Some(1.0), "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_outputs_that_fail_in_every_way_leave_the_tenth_every_frame() {
    let scene = Scene::start().await;
    let disk = SmallDisk::mount("1M");
    // Connections wait in its queue for ever: nobody accepts them, nobody reads.
    let hole = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let hole = hole.local_addr().unwrap().port();
    let [nobody, no_server, no_endpoint] = [(); 3].map(|()| free_tcp_port());
    let [no_receiver, guarded] = [(); 2].map(|()| free_udp_port());
    let failing = [
        format!("rtmp://127.0.0.1:{nobody}/live/key"),
        format!("rtmp://127.0.0.1:{hole}/live/key"),
        format!("srt://127.0.0.1:{no_receiver}"),
        format!("srt://127.0.0.1:{guarded}?passphrase=wrong-passphrase"),
        format!("rtsp://127.0.0.1:{no_server}/live"),
        format!("whip+http://127.0.0.1:{no_endpoint}/whip/x"),
        disk.path("full.mkv"),
        disk.path("full.mp4"),
        format!("hls:{}", disk.path("www")),
    ];
    let listener = format!("srt://127.0.0.1:{guarded}?mode=listener&passphrase=right-passphrase");
    let good = scene.path("good.mkv");
    let outputs: Vec<_> = failing.iter().chain([&listener, &good]).map(String::as_str).collect();
    let (mut bridge, wall) = scene.bridge(&outputs, &["--disk-floor", "0"]).await;
    // Names in events are without secrets: the order of the events says nothing, their number does.
    let mut failed = std::collections::BTreeSet::new();
    while failed.len() < failing.len() {
        failed.insert(bridge.wait_event("output_failed", SOON).await["output"].to_string());
    }
    assert!(!failed.contains(&format!("\"{good}\"")), "{failed:?}");
    // They are tried again, and fail again.
    bridge.wait_event("stats", SOON).await;
    bridge.wait_event("stats", SOON).await;
    let end = wall.now();
    assert_eq!(bridge.terminate(SOON).await.code(), Some(4), "{}", bridge.log());
    assert_whole(&good, end, &bridge).await;
}
