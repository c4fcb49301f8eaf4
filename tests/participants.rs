//! A file for each participant, the manifest that says how they belong together, and the film that is made of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Roomcast, beeps, flashes, one_at_a_time, probe};

const SOON: Duration = Duration::from_secs(40);

/// Ends up in nobody's file system.
const HOSTILE: &str = "../../etc";

/// How far apart what happened at one moment may be, in seconds.
const TOGETHER: f64 = 0.040;

fn publish(room: &str, name: &str, more: &[&str]) -> Roomcast {
    let always = ["publish", room, "--name", name, "--size", "320x180", "--fps", "15"];
    Roomcast::start(always.into_iter().chain(more.iter().copied()))
}

/// Waits for an event of this name about this participant.
async fn wait_for(bridge: &mut Roomcast, name: &str, participant: &str) -> Value {
    loop {
        let event = bridge.wait_event(name, SOON).await;
        if event["participant"] == participant {
            return event;
        }
    }
}

fn manifest(directory: &Path) -> Value {
    let text = std::fs::read_to_string(directory.join("session.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn files_of(manifest: &Value, participant: &str) -> Vec<Value> {
    let files = manifest["files"].as_array().unwrap().iter();
    files.filter(|file| file["participant"] == participant).cloned().collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// Asserts that a file has these kinds of streams and that all of them decode. Returns the probe's report.
async fn assert_streams(path: &Path, kinds: &[&str]) -> Value {
    let report = probe(path.to_str().unwrap(), &[]).await;
    let streams = report["streams"].as_array().unwrap();
    let mut found: Vec<_> = streams.iter().map(|stream| stream["kind"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, kinds, "{report:#}");
    for stream in streams {
        assert_eq!((&stream["decode_errors"], &stream["regressions"]), (&json!(0), &json!(0)), "{report:#}");
    }
    report
}

/// The moment in its second at which a test participant flashes and beeps.
async fn phase(publisher: &mut Roomcast) -> f64 {
    let started = publisher.wait_event("started", SOON).await;
    let zero: jiff::Timestamp = started["zero"].as_str().unwrap().parse().unwrap();
    f64::from(zero.subsec_nanosecond()) / 1e9
}

/// The moment in its second at which all of these happen: the median, seen from the first.
fn moment(times: &[f64]) -> f64 {
    let first = *times.first().expect("it happens");
    let mut from_first: Vec<_> = times.iter().map(|time| (time - first + 0.5).rem_euclid(1.0) - 0.5).collect();
    from_first.sort_by(f64::total_cmp);
    (first + from_first[from_first.len() / 2]).rem_euclid(1.0)
}

fn apart(a: f64, b: f64) -> f64 {
    ((a - b + 0.5).rem_euclid(1.0) - 0.5).abs()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_participant_has_files_that_the_manifest_puts_together() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    // A protocol in which an id may be any word.
    let room = format!("{}/gst/demo", base.replace("http", "gst+ws"));
    let directory = tempfile::tempdir().unwrap();
    let recordings = directory.path().join("rec");
    let pattern = format!("{}/{{participant}}.mkv", recordings.display());
    let mut bridge = Roomcast::start(["bridge", &room, "-o", &pattern]);
    bridge.wait_event("joined", SOON).await;

    let mut etc = publish(&room, HOSTILE, &[]);
    let mut phases = vec![phase(&mut etc).await];
    let ready = wait_for(&mut bridge, "output_ready", HOSTILE).await;
    assert!(ready["output"].as_str().unwrap().starts_with(recordings.to_str().unwrap()), "{ready}");
    for part in ["bob.mkv", "bob.part2.mkv"] {
        let mut bob = publish(&room, "bob", &[]);
        phases.push(phase(&mut bob).await);
        let ready = wait_for(&mut bridge, "output_ready", "bob").await;
        assert!(ready["output"].as_str().unwrap().ends_with(&format!("/{part}")), "{ready}");
        // What flows for this long is what is looked for below.
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(bob.terminate(SOON).await.success(), "{}", bob.log());
        let stopped = wait_for(&mut bridge, "output_stopped", "bob").await;
        assert_eq!((&stopped["output"], &stopped["complete"]), (&ready["output"], &json!(true)));
    }
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());

    let session = manifest(&recordings);
    assert!(number(&session["ended"]) > 10.0, "{session:#}");
    let names: Vec<_> = session["participants"].as_array().unwrap().iter().map(|person| person["id"].clone()).collect();
    assert_eq!(names, [HOSTILE, "bob"], "{session:#}");
    let visits = session["participants"][1]["visits"].as_array().unwrap();
    assert_eq!(visits.iter().map(|visit| visit["reason"].clone()).collect::<Vec<_>>(), ["left", "left"], "{session:#}");
    assert_eq!(visits[0]["tracks"].as_array().unwrap().len(), 2, "{session:#}");
    let (etc, bob) = (files_of(&session, HOSTILE), files_of(&session, "bob"));
    assert_eq!((etc.len(), bob.len(), &bob[1]["part"]), (1, 2, &json!(2)), "{session:#}");
    let mut marks = Vec::new();
    for (file, phase) in etc.iter().chain(&bob).zip(&phases) {
        assert_eq!((&file["complete"], &file["tracks"]), (&json!(true), &json!(["video", "audio"])), "{session:#}");
        let path = recordings.join(file["path"].as_str().unwrap());
        let report = assert_streams(&path, &["audio", "video"]).await;
        let longest =
            report["streams"].as_array().unwrap().iter().map(|stream| number(&stream["duration"])).fold(0.0, f64::max);
        assert!((number(&file["duration"]) - longest).abs() < 0.3, "{file:#} {report:#}");
        let offset = number(&file["offset"]);
        // Seen from the wall clock, all flash at the same moment of each second: as much later as a call takes.
        let on_session = |times: Vec<f64>| times.into_iter().map(|time| time + offset - phase).collect::<Vec<_>>();
        let (flashes, beeps) = (on_session(flashes(&path, "iw:ih:0:0").await), on_session(beeps(&path).await));
        eprintln!("{}: flashes {flashes:.3?} beeps {beeps:.3?}", path.display());
        assert!(flashes.len() > 2 && beeps.len() > 2, "{path:?}");
        marks.push((moment(&flashes), moment(&beeps)));
    }
    for (flash, beep) in &marks {
        assert!(apart(*flash, marks[0].0) < TOGETHER, "flashes of all fall on one moment: {marks:?}");
        assert!(apart(*beep, marks[0].1) < TOGETHER, "beeps of all fall on one moment: {marks:?}");
    }

    let film = directory.path().join("film.mp4");
    let manifest_path = recordings.join("session.json");
    let mut mix = Roomcast::start([
        "mix".as_ref(),
        manifest_path.as_os_str(),
        "-o".as_ref(),
        film.as_os_str(),
        "--size".as_ref(),
        "640x360".as_ref(),
    ]);
    let ended = mix.ended(Duration::from_secs(90)).await;
    assert_eq!(ended.code(), Some(0), "{:?} {}", mix.events(), mix.log());
    let report = assert_streams(&film, &["audio", "video"]).await;
    let end = |file: &Value| number(&file["offset"]) + number(&file["duration"]);
    let whole = session["files"].as_array().unwrap().iter().map(end).fold(0.0, f64::max);
    for stream in report["streams"].as_array().unwrap() {
        assert!((number(&stream["duration"]) - whole).abs() < 0.3, "{whole} {report:#}");
    }
    // While both are there each has a half; alone, the first has all of it.
    let (from, to) = (number(&bob[0]["offset"]), end(&bob[0]));
    let both =
        |times: Vec<f64>| times.into_iter().filter(|time| (from + 0.5..to - 0.5).contains(time)).collect::<Vec<_>>();
    let (left, right) =
        (flashes(&film, "iw/4:ih/4:iw/8:3*ih/8").await, flashes(&film, "iw/4:ih/4:5*iw/8:3*ih/8").await);
    eprintln!("left {left:.3?} right {right:.3?}, both from {from:.3} to {to:.3}");
    let (left, right) = (both(left), both(right));
    assert!(left.len() > 2 && right.len() > 2, "both are seen");
    assert!(apart(moment(&left) - phases[0], moment(&right) - phases[1]) <= TOGETHER, "left {left:?} right {right:?}");
    let (film_flashes, film_beeps) = (flashes(&film, "iw/4:ih/4:3*iw/8:3*ih/8").await, beeps(&film).await);
    let mut skews: Vec<_> = film_flashes
        .iter()
        .filter(|flash| **flash < from - 0.2 || **flash > end(&bob[1]) + 0.2)
        .filter_map(|flash| film_beeps.iter().map(|beep| beep - flash).min_by(|a, b| a.abs().total_cmp(&b.abs())))
        .collect();
    skews.sort_by(f64::total_cmp);
    eprintln!("sound after picture in the film: {skews:.3?}");
    assert!(skews[skews.len() / 2].abs() <= TOGETHER, "{skews:?}");
    let again =
        Roomcast::start(["mix".as_ref(), manifest_path.as_os_str(), "-o".as_ref(), film.as_os_str()]).ended(SOON).await;
    assert_eq!(again.code(), Some(2), "a film is never overwritten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_bridge_leaves_files_and_a_manifest_that_the_next_one_takes_up() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let directory = tempfile::tempdir().unwrap();
    let pattern = format!("{}/{{participant}}.mkv", directory.path().display());
    let playlists = format!("hls:{}/live/{{participant}}", directory.path().display());
    let start = || Roomcast::start(["bridge", &room, "--size", "320x180", "-o", &pattern]);
    let _voice = publish(&room, "voice", &["--no-video"]);
    let mut alice = publish(&room, "alice", &[]);
    let mut bridge = start();
    let mut ready: Vec<_> = Vec::new();
    for _ in ["voice", "alice"] {
        ready.push(bridge.wait_event("output_ready", SOON).await["participant"].as_str().unwrap().to_owned());
    }
    ready.sort();
    assert_eq!(ready, ["alice", "voice"]);
    bridge.wait_event("stats", SOON).await;
    bridge.kill().await;

    let session = manifest(directory.path());
    assert_eq!((&session["ended"], session["files"].as_array().unwrap().len()), (&Value::Null, 2), "{session:#}");
    for (person, kinds) in [("voice", &["audio"][..]), ("alice", &["audio", "video"][..])] {
        let files = files_of(&session, person);
        assert_eq!((&files[0]["complete"], &files[0]["duration"]), (&json!(false), &Value::Null), "{session:#}");
        assert_streams(&directory.path().join(files[0]["path"].as_str().unwrap()), kinds).await;
    }

    let mut bridge = Roomcast::start(["bridge", &room, "--size", "320x180", "-o", &pattern, "-o", &playlists]);
    let live = directory.path().join("live/alice").display().to_string();
    loop {
        let ready = wait_for(&mut bridge, "output_ready", "alice").await;
        if ready["output"] == format!("hls:{live}") {
            break;
        }
    }
    assert!(alice.terminate(SOON).await.success(), "{}", alice.log());
    for _ in ["file", "playlist"] {
        assert_eq!(wait_for(&mut bridge, "output_stopped", "alice").await["complete"], true);
    }
    assert!(bridge.terminate(SOON).await.success(), "{}", bridge.log());
    assert_streams(&Path::new(&live).join("index.m3u8"), &["audio", "video"]).await;
    let session = manifest(directory.path());
    let files = files_of(&session, "alice");
    assert_eq!(session["restarts"].as_array().unwrap().len(), 1, "{session:#}");
    assert_eq!((&files[1]["path"], &files[1]["part"]), (&json!("alice.part2.mkv"), &json!(2)), "{session:#}");
    assert!(number(&files[1]["offset"]) > number(&session["restarts"][0]), "{session:#}");

    std::fs::remove_file(directory.path().join("voice.mkv")).unwrap();
    let (manifest, film) = (directory.path().join("session.json"), directory.path().join("film.webm"));
    let arguments = ["--size", "320x180", "--fps", "15"].map(std::ffi::OsStr::new);
    let mut mix = Roomcast::start(
        ["mix".as_ref(), manifest.as_os_str(), "-o".as_ref(), film.as_os_str()].into_iter().chain(arguments),
    );
    assert_eq!(mix.ended(Duration::from_secs(90)).await.code(), Some(5), "{}", mix.log());
    assert!(format!("{:?}", mix.events()).contains("voice.mkv"), "{:?}", mix.events());
    assert_streams(&film, &["audio", "video"]).await;
}
