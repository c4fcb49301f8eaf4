//! A server and a test participant with a small picture: a room to bridge on a machine that has other work.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::roomcast::{Roomcast, probe};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A room with somebody in it, and a directory for what the bridge writes.
pub(crate) struct Scene {
    /// The signaling server.
    pub(crate) server: Roomcast,
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
    /// Flashes and beeps once a second.
    pub(crate) publisher: Roomcast,
    /// Goes with the scene.
    pub(crate) directory: TempDir,
    /// Real time needs the machine: one scene of a test binary at a time.
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Scene {
    /// Starts the server and the participant, and waits until the participant is in the room.
    pub(crate) async fn start() -> Self {
        let turn = super::one_at_a_time().await;
        let (server, base) = Roomcast::serve(&["--no-bridges"]).await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let room = room_url(&base);
        let mut publisher = Roomcast::start(["publish", &room, "--name", "publisher", "--size", "320x180"]);
        publisher.wait_event("joined", SOON).await;
        Self { server, base, publisher, directory, _turn: turn }
    }

    /// The room's URL.
    pub(crate) fn room(&self) -> String {
        room_url(&self.base)
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    /// Starts a bridge of the room with these outputs and further arguments, and waits until it is in the room.
    pub(crate) async fn bridge(&self, outputs: &[&str], args: &[&str]) -> (Roomcast, Wall) {
        let room = self.room();
        let outputs = outputs.iter().flat_map(|output| ["-o", output]);
        let mut bridge = Roomcast::start(
            ["bridge", &room, "--size", "320x180"].into_iter().chain(outputs).chain(args.iter().copied()),
        );
        let joined = bridge.wait_event("joined", SOON).await;
        (bridge, Wall { joined: time_of(&joined) })
    }
}

fn room_url(base: &str) -> String {
    format!("{}/ws?room=r", base.replace("http", "mesh+ws"))
}

/// When an event happened.
pub(crate) fn time_of(event: &Value) -> jiff::Timestamp {
    let time = event["time"].as_str().unwrap_or_else(|| panic!("an event without time: {event}"));
    time.parse().unwrap_or_else(|error| panic!("{time}: {error}"))
}

/// The wall clock of a recording: it begins when the room is joined.
#[derive(Clone, Copy)]
pub(crate) struct Wall {
    joined: jiff::Timestamp,
}

impl From<jiff::Timestamp> for Wall {
    fn from(joined: jiff::Timestamp) -> Self {
        Self { joined }
    }
}

impl Wall {
    /// Seconds since the bridge joined.
    pub(crate) fn now(self) -> f64 {
        self.until(jiff::Timestamp::now())
    }

    /// Seconds from then to `moment`.
    pub(crate) fn until(self, moment: jiff::Timestamp) -> f64 {
        moment.duration_since(self.joined).as_secs_f64()
    }
}

/// Asserts that a recording of a bridge that has stopped plays without a fault and is as long as the wall clock says,
/// within 0.3 s. Returns the probe's report.
pub(crate) async fn assert_whole(path: &str, wall: f64, bridge: &Roomcast) -> Value {
    let report = assert_flawless(path, bridge).await;
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let streams = report["streams"].as_array().cloned().unwrap_or_default();
    // An encoder that the machine is too slow for is up to half a second behind when the bridge ends.
    let behind = if pictures_lost_by_the_mix(bridge) > 0.0 { 0.5 } else { 0.0 };
    for stream in &streams {
        let end = number(&stream["start"]) + number(&stream["duration"]);
        let whole = (wall - behind - 0.3..=wall + 0.3).contains(&end);
        assert!(whole, "{path}: {} ends at {end} s instead of {wall} s: {report:#}", stream["kind"]);
    }
    report
}

/// Asserts that what a stopped bridge has written has sound and picture without a decode error and without a gap.
/// Returns the probe's report.
///
/// Only as much may be missing as the bridge itself says it lost, because the machine was too busy to encode it: no
/// output may lose anything.
pub(crate) async fn assert_flawless(path: &str, bridge: &Roomcast) -> Value {
    assert!(Path::new(path).exists(), "{path} was not written");
    let admitted = pictures_lost_by_the_mix(bridge);
    let report = probe(path, &[]).await;
    assert_eq!(report["problems"], serde_json::json!([]), "{path}: {report:#}");
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let streams = report["streams"].as_array().cloned().unwrap_or_default();
    for kind in ["audio", "video"] {
        assert!(streams.iter().any(|stream| stream["kind"] == kind), "{path} has no {kind}: {report:#}");
    }
    for stream in &streams {
        assert_eq!((&stream["decode_errors"], &stream["regressions"]), (&0.into(), &0.into()), "{path}: {report:#}");
        let (lost, slack) = match stream["kind"].as_str() {
            // As long as one picture is in this stream, each; a gap is rounded to a millisecond.
            Some("video") => {
                let shown = number(&stream["frames"]);
                (admitted * number(&stream["duration"]) / (shown + admitted), 0.01)
            }
            // Codecs take sound in blocks of up to 22 ms.
            _ => (sound_lost_by_the_mix(bridge), 0.022),
        };
        let allowed = if lost > 0.0 { lost + slack } else { 0.0 };
        let missing = number(&stream["gaps"]["total"]);
        assert!(missing <= allowed, "{path}: {missing} s are missing, {admitted} pictures lost by the mix: {report:#}");
    }
    report
}

/// Asserts that a recording has so many seconds of sound and of picture without a decode error. For tests about rooms:
/// whether anything is missing is asked by those about outputs, which have the machine to themselves.
pub(crate) async fn assert_decodes(path: &str, seconds: f64) {
    let report = probe(path, &[]).await;
    assert_eq!(report["problems"], serde_json::json!([]), "{path}: {report:#}");
    let streams = report["streams"].as_array().cloned().unwrap_or_default();
    for kind in ["audio", "video"] {
        let stream = streams.iter().find(|stream| stream["kind"] == kind);
        let stream = stream.unwrap_or_else(|| panic!("{path} has no {kind}: {report:#}"));
        assert_eq!(stream["decode_errors"], 0, "{path}: {report:#}");
        assert!(stream["duration"].as_f64() >= Some(seconds), "{path}: {report:#}");
    }
}

/// How many seconds of sound a stopped bridge says that it could not encode in time.
fn sound_lost_by_the_mix(bridge: &Roomcast) -> f64 {
    summary(bridge)["sound_lost"].as_f64().expect("seconds of lost sound")
}

/// How many pictures a stopped bridge says that it could not encode in time.
fn pictures_lost_by_the_mix(bridge: &Roomcast) -> f64 {
    summary(bridge)["frames_dropped"].as_f64().expect("a number of lost pictures")
}

fn summary(bridge: &Roomcast) -> Value {
    let events = bridge.events();
    let stopped = events.iter().find(|event| event["event"] == "stopped").expect("a bridge that has stopped");
    stopped["summary"].clone()
}
