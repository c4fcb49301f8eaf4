//! What a bridge that was killed leaves behind, made whole by `roomcast repair`.

#![allow(clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::{Roomcast, one_at_a_time, read_with_ffmpeg, stream_summary};

const SOON: Duration = Duration::from_secs(30);

/// The length that a recording says it has.
async fn said_length(file: &Path) -> Option<f64> {
    let summary = stream_summary(&[file.to_str().expect("UTF-8")]).await;
    summary["format"]["duration"].as_str()?.parse().ok()
}

/// The events of `roomcast repair`, by file name.
async fn repair(directory: &Path) -> Vec<(String, Value)> {
    let mut repair = Roomcast::start(["repair", directory.to_str().expect("UTF-8"), "--force"]);
    let status = repair.ended(Duration::from_secs(60)).await;
    assert!(status.success(), "{:#?}\n{}", repair.events(), repair.log());
    let named = repair.events().into_iter().map(|event| {
        let file = Path::new(event["file"].as_str().expect("a file")).file_name().expect("a name");
        (file.to_string_lossy().into_owned(), event.clone())
    });
    named.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_a_killed_bridge_become_whole_and_lose_nothing() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let directory = tempfile::tempdir().expect("a directory");
    let names = ["call.mkv", "call.mp4", "call.webm", "copy.mkv?video=copy&audio=copy", "sound.mkv?video=none"];
    let outputs = names.map(|name| directory.path().join(name).to_string_lossy().into_owned());
    let mut args = vec!["bridge", &room, "--size", "320x180", "--fps", "15"];
    args.extend(outputs.iter().flat_map(|output| ["-o", output]));
    let mut bridge = Roomcast::start(args);
    bridge.wait_event("joined", SOON).await;
    let _person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
    for _ in names {
        bridge.wait_event("output_ready", SOON).await;
    }
    // What flows for this long is what is looked for below.
    tokio::time::sleep(Duration::from_secs(5)).await;
    bridge.kill().await;

    let files = names.map(|name| directory.path().join(name.split('?').next().expect("a name")));
    let mut before = Vec::new();
    for file in &files {
        let reading = read_with_ffmpeg(&[file.to_str().expect("UTF-8")], Duration::from_secs(100)).await;
        assert!(reading.seconds > 4.0, "{}: {reading:?}", file.display());
        before.push(reading);
    }
    assert_eq!(
        said_length(&files[0]).await,
        None,
        "a killed Matroska says no length: otherwise nothing is repaired here"
    );

    let events = repair(directory.path()).await;
    assert_eq!(events.len(), names.len(), "{events:#?}");
    for (name, event) in &events {
        assert_eq!(event["event"], "repaired", "{name}: {event}");
    }
    for (file, before) in files.iter().zip(&before) {
        let shown = file.display();
        let path = file.to_str().expect("UTF-8");
        let after = read_with_ffmpeg(&[path], Duration::from_secs(100)).await;
        assert_eq!(after.errors, [""; 0], "{shown}");
        // A fragment that was cut off in its middle may hold some pictures more, at most a second of them.
        assert!(after.frames + 15 >= before.frames, "{shown}: {} of {} pictures", after.frames, before.frames);
        let length = said_length(file).await.unwrap_or_else(|| panic!("{shown} says no length"));
        assert!((before.seconds - 1.0..before.seconds + 1.0).contains(&length), "{shown}: {length} s of {before:?}");
        let late = read_with_ffmpeg(&["-ss", "3", path], Duration::from_secs(100)).await;
        assert!(late.seconds < length - 1.5, "{shown}: a player can jump into it: {late:?} of {length} s");
    }
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("a directory").collect();
    assert_eq!(left.len(), names.len(), "no copies stay: {left:?}");

    for (name, event) in repair(directory.path()).await {
        assert_eq!(event["event"], "complete", "{name}: {event}");
    }
}

/// The most memory that `roomcast repair` took for a file, in kB.
async fn memory_to_repair(file: &Path) -> u64 {
    let mut repair = Roomcast::start(["repair", file.to_str().expect("UTF-8"), "--force"]);
    let status = format!("/proc/{}/status", repair.id());
    let watching = tokio::spawn(async move {
        let mut most = 0;
        while let Ok(status) = tokio::fs::read_to_string(&status).await {
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            most = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok()).unwrap_or(most).max(most);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        most
    });
    let ended = repair.ended(Duration::from_secs(60)).await;
    assert!(ended.success(), "{:#?}\n{}", repair.events(), repair.log());
    drop(repair);
    watching.await.expect("the memory that it took")
}

/// With a queue without a limit between demuxer and muxer the long file takes 64 MB more than the short one.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_recording_takes_no_more_memory_to_repair_than_a_short_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut peaks = Vec::new();
    for seconds in ["20", "2000"] {
        let file = directory.path().join(format!("{seconds}.mp4"));
        make_fragmented(&file, seconds).await;
        peaks.push(memory_to_repair(&file).await);
    }
    assert!(peaks[0] > 10_000 && peaks[1] < peaks[0] + 25_000, "{peaks:?} kB");
}

/// A recording of so many seconds as a killed bridge leaves it.
async fn make_fragmented(file: &Path, seconds: &str) {
    let made = tokio::process::Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=s=160x90:r=5", "-f", "lavfi", "-i", "sine", "-t", seconds])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-c:a", "aac"])
        .args(["-movflags", "frag_keyframe+empty_moov"])
        .arg(file)
        .status();
    assert!(made.await.expect("ffmpeg (apt install ffmpeg)").success());
}

/// How many are completed, one after the other.
const MANY: usize = 6;

/// With as many heaps as the C library makes by itself on two processors (`MALLOC_ARENA_MAX=16`, which `limit_heaps` leaves as it is) it
/// keeps 29, 40, 42, 44, 49 and 52 MB after each of them, and 62 after the twelfth; otherwise 23 to 31 after each.
#[tokio::test(flavor = "multi_thread")]
async fn completing_many_recordings_keeps_no_more_memory_than_completing_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let original = directory.path().join("original.mp4");
    make_fragmented(&original, "1000").await;
    let files: Vec<_> = (0..MANY).map(|number| directory.path().join(format!("{number}.mp4"))).collect();
    for file in &files {
        // Each is replaced by its seekable copy; the original stays as it is.
        std::fs::hard_link(&original, file).expect("another name for it");
    }
    let mut repair = Roomcast::start(
        [Path::new("repair"), Path::new("--force")].into_iter().chain(files.iter().map(PathBuf::as_path)),
    );
    let status = format!("/proc/{}/status", repair.id());
    let mut kept = Vec::new();
    for _ in &files {
        repair.wait_event("repaired", Duration::from_secs(60)).await;
        let status = std::fs::read_to_string(&status).expect("it runs");
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
        kept.push(anonymous.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("kB"));
    }
    assert!(repair.ended(Duration::from_secs(60)).await.success(), "{}", repair.log());
    println!("{kept:?} kB");
    let most = |of: &[u64]| of.iter().max().copied().unwrap_or_default();
    let (first, later) = kept.split_at(1);
    assert!(most(first) > 5_000 && most(later) < most(first) + 14_000, "{kept:?} kB");
}
