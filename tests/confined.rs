//! What a bridge may do on its machine: no more than its outputs need.

#![allow(clippy::unwrap_used, reason = "a test that fails here has failed")]
#![allow(clippy::print_stderr, reason = "what could not be seen belongs to the output of a test")]

mod support;

use std::time::Duration;

use roomcast::sandbox::{self, Confinement};
use support::{Roomcast, one_at_a_time};

const SOON: Duration = Duration::from_secs(30);

/// The lines of this name in the status of each thread.
fn of_each_thread(pid: u32, name: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
    let line = |status: String| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned());
    status.filter_map(line).collect()
}

/// Where a bridge ends up whose output's directory somebody replaces, while it runs, by a link to another place: the files there,
/// the threads without `no_new_privs`, and whether its output has failed. With `--no-sandbox` the first of these tests fails.
async fn led_astray(options: &[&str]) -> (usize, usize, bool) {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = directory.path().join("www");
    let output = format!("hls:{}?format=fmp4&segment=1&list=3", place.display());
    let mut bridge =
        Roomcast::start(["bridge", &room, "--size", "320x180", "--gop", "1", "-o", &output].iter().chain(options));
    bridge.wait_event("output_ready", SOON).await;
    let bound = of_each_thread(bridge.id(), "NoNewPrivs:");
    assert!(bound.len() > 10, "{bound:?}");
    std::fs::rename(&place, directory.path().join("before")).unwrap();
    std::os::unix::fs::symlink(other.path(), &place).unwrap();
    let mut seen = 0;
    for _ in 0..2 {
        bridge.wait_event("stats", SOON).await;
        seen = seen.max(std::fs::read_dir(other.path()).unwrap().count());
    }
    let failed = bridge.events().iter().any(|event| event["event"] == "output_failed");
    bridge.terminate(SOON).await;
    (seen, bound.iter().filter(|bound| *bound != "1").count(), failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_writes_only_where_its_outputs_go() {
    if sandbox::available() == Confinement::None {
        eprintln!("this kernel has no Landlock: what a bridge may not do cannot be seen here, only that it says so");
        let mut bridge = Roomcast::start(["bridge", "mesh+ws://127.0.0.1:9/ws?room=demo", "-o", "call.mkv"]);
        bridge.ended(SOON).await;
        assert!(bridge.log().contains("no Landlock"), "{}", bridge.log());
        return;
    }
    assert_eq!(led_astray(&[]).await, (0, 0, true), "files elsewhere, threads that may gain rights, the output failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sandbox_it_has_the_rights_of_its_user() {
    let (files, unbound, failed) = led_astray(&["--no-sandbox"]).await;
    assert!(files > 0 && unbound > 0 && !failed, "{files} files, {unbound} threads, failed: {failed}");
}
