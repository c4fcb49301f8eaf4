//! Bridges of `serve` that are killed while they record: what a crash costs, and that it costs one room only.
//!
//! Seen to fail: with a first wait of 5 s in `server::gateway` the process comes too late; without `--resume` the playlist begins anew
//! instead of going on; with `buffer-mode=full buffer-size=1000000` in `pipelines/mkv.launch` more than a second is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]
#![allow(clippy::print_stderr, reason = "what was measured belongs to the output of a test")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{Browser, BrowserOptions, FlashAndBeep, flash_and_beep_js};
use support::{Roomcast, flash_times, one_at_a_time, packets_end, piped, probe, read_with_ffmpeg};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(40);

/// What a kill may cost of what was recorded before it, in seconds.
const LOST: f64 = 1.0;

/// How soon the next process must run, in seconds.
const AGAIN: f64 = 2.0;

/// A browser that gets no processor sends its first keyframe late: until then there is no recording.
const TRIES: usize = 3;

/// A `serve` that records, as its API shows it.
struct Serving {
    server: Roomcast,
    base: String,
    http: reqwest::Client,
}

impl Serving {
    async fn start(args: &[&str]) -> Self {
        let (server, base) = Roomcast::serve(args).await;
        Self { server, base, http: reqwest::Client::new() }
    }

    fn room(&self, room: &str) -> String {
        format!("{}/ws?room={room}", self.base.replace("http", "mesh+ws"))
    }

    async fn get(&self, path: &str) -> String {
        let answer = self.http.get(format!("{}{path}", self.base)).timeout(SOON).send().await.expect("an answer");
        answer.text().await.expect("text")
    }

    async fn bridge(&self, room: &str) -> Value {
        let room: Value = serde_json::from_str(&self.get(&format!("/api/v1/rooms/{room}")).await).unwrap_or_default();
        room["bridge"].clone()
    }

    /// The process of a room's bridge: a child of the server's that was told this room.
    fn process(&self, room: &str) -> Option<Pid> {
        let (parent, room) = (format!("PPid:\t{}\n", self.server.id()), format!("room={room}\0"));
        let ours = |pid: &PathBuf| {
            let read = |name: &str| std::fs::read_to_string(pid.join(name)).unwrap_or_default();
            read("status").contains(&parent) && read("cmdline").contains(&room)
        };
        let found = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).find(ours)?;
        Pid::from_raw(found.file_name()?.to_str()?.parse().ok()?)
    }

    /// Waits until a room's bridge is so; fails with what it is instead.
    async fn wait(&self, room: &str, what: &str, so: impl Fn(&Value) -> bool) -> Timestamp {
        let deadline = Instant::now() + SOON;
        loop {
            let bridge = self.bridge(room).await;
            if so(&bridge) {
                return Timestamp::now();
            }
            assert!(Instant::now() < deadline, "{room}: {what}: {bridge:#}\n{}", self.server.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn wait_running(&self, room: &str) -> Timestamp {
        self.wait(room, "is not in its room", |bridge| bridge["status"] == "running").await
    }

    /// Until its recordings and its playlist are known to play.
    async fn wait_recording(&self, room: &str) -> Timestamp {
        let ready = |bridge: &Value, ending: &str| {
            let outputs = bridge["outputs"].as_object().into_iter().flatten();
            outputs.clone().any(|(name, output)| name.contains(ending) && output["ready"] == true)
        };
        let all = ["{room}.mkv", "{room}.mp4", "hls:"];
        self.wait(room, "does not record", |bridge| all.iter().all(|ending| ready(bridge, ending))).await
    }

    async fn wait_process(&self, room: &str) -> (Pid, Timestamp) {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(pid) = self.process(room) {
                return (pid, Timestamp::now());
            }
            assert!(Instant::now() < deadline, "no process for {room}: {}", self.server.log());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

fn publish(room: &str) -> Roomcast {
    Roomcast::start(["publish", room, "--size", "320x180", "--fps", "15"])
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// When the picture turns white, in seconds of the file.
async fn flashes(file: &Path) -> Vec<f64> {
    let mut command = piped("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-nostats", "-i"]).arg(file);
    command.args(["-vf", "signalstats,metadata=mode=print:key=lavfi.signalstats.YAVG", "-an", "-f", "null", "-"]);
    let output = command.output().await.expect("ffmpeg is installed: apt-get install ffmpeg");
    flash_times(String::from_utf8_lossy(&output.stderr).lines())
}

fn manifest(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A number that is never more than half a second from one before it, so that a kill falls on any place between two fragments.
fn any_moment() -> Duration {
    Duration::from_secs_f64(3.0 + 2.0 * rand::random::<f64>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_bridge_goes_on_in_a_next_part_and_other_rooms_do_not_notice() {
    let _turn = one_at_a_time().await;
    rustls::crypto::ring::default_provider().install_default().ok();
    let directory = tempfile::tempdir().unwrap();
    let record = ["mkv", "mp4"].map(|ending| format!("{}/{{room}}.{ending}", directory.path().display()));
    let mut arguments = vec!["--size", "320x180", "--fps", "15", "--low-latency"];
    arguments.extend(record.iter().flat_map(|path| ["--record", path]));
    let mut serving = Serving::start(&arguments).await;
    let mut people = ["doomed", "spared"].map(|room| publish(&serving.room(room)));
    let zero: Timestamp = people[0].wait_event("started", SOON).await["zero"].as_str().unwrap().parse().unwrap();

    // What a start takes on this machine now, while another one starts as well.
    let (_, first) = serving.wait_process("doomed").await;
    let start = seconds(first, serving.wait_running("doomed").await);
    let ready = seconds(first, serving.wait_recording("doomed").await);
    serving.wait_recording("spared").await;
    let spared = serving.process("spared").unwrap();

    let mut kills = Vec::new();
    for signal in [Signal::KILL, Signal::ABORT] {
        let sequence = media_sequence(&serving.get("/rooms/doomed/hls/index.m3u8").await);
        sleep(any_moment()).await;
        let doomed = serving.process("doomed").unwrap();
        let killed = Timestamp::now();
        kill_process(doomed, signal).unwrap();
        kills.push(killed);
        serving.wait("doomed", "its end is not noticed", |bridge| bridge["restarts"] == json!(kills.len())).await;
        let process = seconds(killed, serving.wait_process("doomed").await.1);
        let joined = seconds(killed, serving.wait_running("doomed").await);
        let recording = seconds(killed, serving.wait_recording("doomed").await);
        eprintln!(
            "{signal:?}: process after {process:.2} s, in the room after {joined:.2} s ({start:.2} s for a start), \
             ready after {recording:.2} s ({ready:.2} s)"
        );
        assert!(process <= AGAIN, "a new process after {process} s");
        assert!(joined <= AGAIN + 2.0 * start, "in the room after {joined} s; a start took {start} s");
        let playlist = serving.get("/rooms/doomed/hls/index.m3u8").await;
        assert!(playlist.contains("#EXT-X-DISCONTINUITY\n"), "{playlist}");
        assert!(media_sequence(&playlist) >= sequence, "from {sequence}: {playlist}");
    }
    sleep(any_moment()).await;
    assert_eq!((serving.process("spared"), &serving.bridge("spared").await["restarts"]), (Some(spared), &json!(0)));
    assert!(serving.server.terminate(SOON).await.success(), "{}", serving.server.log());

    let session = manifest(&directory.path().join("doomed.session.json"));
    let began: Timestamp = session["started"].as_str().unwrap().parse().unwrap();
    assert_eq!(session["restarts"].as_array().unwrap().len(), 2, "{session:#}");
    assert!(session["ended"].is_number(), "{session:#}");
    let mixes = session["mixes"].as_array().unwrap();
    assert_eq!(mixes.len(), 6, "{session:#}");
    for ending in ["mkv", "mp4"] {
        let parts: Vec<_> = mixes.iter().filter(|part| part["path"].as_str().unwrap().ends_with(ending)).collect();
        for (index, part) in parts.iter().enumerate() {
            let name =
                if index == 0 { format!("doomed.{ending}") } else { format!("doomed.part{}.{ending}", index + 1) };
            let last = index == 2;
            assert_eq!((&part["path"], &part["part"]), (&json!(name), &json!(index + 1)), "{session:#}");
            assert_eq!((&part["complete"], part["duration"].is_number()), (&json!(last), last), "{session:#}");
            let path = directory.path().join(&name);
            let offset = number(&part["offset"]);
            let wall = |time: f64| began + jiff::SignedDuration::from_secs_f64(offset + time);
            if let Some(killed) = kills.get(index) {
                let lost = seconds(wall(packets_end(&path).await), *killed);
                eprintln!("{name}: {lost:.2} s lost at its end");
                assert!(lost <= LOST, "{name}: {lost} s are lost: {session:#}\n{}", serving.server.log());
            }
            // The manifest's times are those of the wall clock: the participant flashes at each full second from its zero.
            let flashes = flashes(&path).await;
            assert!(flashes.len() > 1, "{name}: {flashes:?}");
            for flash in flashes {
                let late = seconds(zero, wall(flash)).rem_euclid(1.0);
                assert!(late < 0.7, "{name}: a flash at {flash} s of the file came {late} s late");
            }
        }
    }
    let spared = manifest(&directory.path().join("spared.session.json"));
    assert_eq!((spared["restarts"].as_array().unwrap().len(), spared["mixes"].as_array().unwrap().len()), (0, 2));
    for part in spared["mixes"].as_array().unwrap() {
        assert_eq!(part["complete"], true, "{spared:#}");
        let report = probe(directory.path().join(part["path"].as_str().unwrap()).to_str().unwrap(), &[]).await;
        for stream in report["streams"].as_array().unwrap() {
            assert_eq!((&stream["decode_errors"], &stream["regressions"]), (&json!(0), &json!(0)), "{report:#}");
            assert!((number(&stream["duration"]) - number(&part["duration"])).abs() < 0.5, "{part} {report:#}");
        }
    }

    let repair = Roomcast::start(["repair", directory.path().to_str().unwrap(), "--force"]).ended(SOON).await;
    assert!(repair.success());
    for part in mixes {
        let path = directory.path().join(part["path"].as_str().unwrap());
        let (path, shown) = (path.to_str().unwrap(), path.display());
        let (whole, late) = (read_with_ffmpeg(&[path], SOON).await, read_with_ffmpeg(&["-ss", "2", path], SOON).await);
        assert!(whole.success && late.success && late.errors.is_empty(), "{shown}: {late:?}");
        assert!((1..whole.frames - 15).contains(&late.frames), "a player can jump into {shown}: {late:?} of {whole:?}");
    }
}

fn media_sequence(playlist: &str) -> u64 {
    let value = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    value.unwrap_or("0").parse().unwrap_or_else(|_| panic!("{playlist}"))
}

/// When a bridge is killed after its participant's sound and picture have begun, in seconds. A browser reports of sound after 2.5 s: what is
/// copied waits for that, and 3 s at most.
const FIRST_SECONDS: [f64; 4] = [1.5, 1.8, 2.3, 3.0];

/// Records a participant in a directory of its own and is killed. Returns what is lost of each recording, in seconds, or nothing of one that has
/// not begun.
async fn lost_when_killed(room: String, after: f64) -> Vec<(PathBuf, Option<f64>)> {
    let directory = tempfile::tempdir().unwrap().keep();
    let patterns = ["mkv", "mp4"].map(|ending| format!("{}/{{participant}}.{ending}", directory.display()));
    let of_room = format!("{}/room.mkv?video=copy&audio=copy", directory.display());
    let mut bridge = Roomcast::start(["bridge", &room, "-o", &patterns[0], "-o", &patterns[1], "-o", &of_room]);
    bridge.wait_sound_and_picture(SOON).await;
    sleep(Duration::from_secs_f64(after)).await;
    let killed = Timestamp::now();
    bridge.kill().await;
    let session = manifest(&directory.join("session.json"));
    let started: Timestamp = session["started"].as_str().unwrap().parse().unwrap();
    let parts: Vec<_> = ["files", "mixes"].into_iter().flat_map(|list| session[list].as_array()).flatten().collect();
    let mut lost = Vec::new();
    for ending in [".mkv", ".mp4", "room.mkv"] {
        let part = parts.iter().find(|part| part["path"].as_str().unwrap().ends_with(ending));
        let path = directory.join(part.map_or(ending, |part| part["path"].as_str().unwrap()));
        let lost_here = match part {
            Some(part) => Some(seconds(started, killed) - number(&part["offset"]) - packets_end(&path).await),
            None => None,
        };
        eprintln!("killed after {after} s: {lost_here:.2?} s lost of {}", path.display());
        lost.push((path, lost_here));
    }
    lost
}

/// Records a browser in directories of their own and kills the bridges. Returns what is wrong.
async fn kill_in_the_first_seconds() -> Vec<String> {
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=r", base.replace("http", "mesh+ws"));
    let before_load = flash_and_beep_js(FlashAndBeep { width: 320, height: 180, ..FlashAndBeep::default() });
    let page = Browser::start_with(BrowserOptions { before_load, ..BrowserOptions::default() }).await;
    page.goto(&format!("{base}/?room=r")).await;
    page.eval("connect('r').then(() => true)").await;
    let killed = FIRST_SECONDS.map(|after| tokio::spawn(lost_when_killed(room.clone(), after)));
    let (mut recordings, mut wrong) = (Vec::new(), Vec::new());
    for killed in killed {
        recordings.extend(killed.await.unwrap());
    }
    drop(page);
    let directories: Vec<_> = recordings.iter().map(|(path, _)| path.parent().unwrap().to_owned()).collect();
    let directories = directories.iter().map(|directory| directory.as_os_str());
    let arguments = ["repair".as_ref(), "--force".as_ref()].into_iter().chain(directories.clone());
    let repaired = Roomcast::start(arguments).ended(SOON).await;
    // None has begun before its first keyframe, which a busy browser sends late; but those that are killed first are enough.
    let early = &recordings[..6];
    if early.iter().all(|(_, lost)| lost.is_none()) {
        wrong.push(format!("nothing was written before the times were known: {early:?}"));
    }
    for (path, lost) in &recordings {
        // A manifest that says when another file began would have it end after its end.
        let Some(lost) = lost else { continue };
        if !(-0.1..=LOST).contains(lost) {
            wrong.push(format!("{}: {lost:.2} s are lost", path.display()));
            continue;
        }
        // An MP4 of the first quarter of a second is not there yet.
        let has_bytes = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        assert!(repaired.success() || !recordings.iter().all(|(path, _)| has_bytes(path)), "{}", path.display());
        if !has_bytes(path) {
            continue;
        }
        let report = probe(path.to_str().unwrap(), &[]).await;
        // One that has only just begun may have its pictures and not yet its sound.
        assert!(!report["streams"].as_array().unwrap().is_empty(), "{report:#}");
        for stream in report["streams"].as_array().unwrap() {
            assert_eq!((&stream["decode_errors"], &stream["regressions"]), (&json!(0), &json!(0)), "{report:#}");
        }
    }
    for directory in directories {
        let names = std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let beside: Vec<_> = names.filter(|name| name.to_string_lossy().contains(".placing.")).collect();
        assert!(beside.is_empty(), "{beside:?} of {directory:?}");
        std::fs::remove_dir_all(directory).ok();
    }
    wrong
}

/// Seen to fail without `early::show` in `media/ingest/sync.rs`: of what is killed after 1.5 and 1.8 s nothing has begun, three times in three; without `keep_rate` in
/// `media/remux.rs` the repaired MP4 has 1 to 8 decode errors.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_first_seconds_costs_a_copied_recording_no_more_than_later() {
    let _turn = one_at_a_time().await;
    let mut wrong = Vec::new();
    for _ in 0..TRIES {
        wrong = kill_in_the_first_seconds().await;
        if wrong.is_empty() {
            return;
        }
    }
    panic!("{}", wrong.join("\n"));
}
