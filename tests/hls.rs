//! HLS in all its forms, read by ffmpeg and by hls.js in a real browser.

#![allow(clippy::unwrap_used, reason = "a test that fails here has failed")]

mod support;

use std::path::Path;
use std::time::Duration;

use support::{
    Browser, BrowserOptions, Reading, Roomcast, Scene, assert_flawless, one_at_a_time, probe, read_with_ffmpeg,
    stream_summary,
};

const SOON: Duration = Duration::from_secs(30);

/// Decodes everything. What ffmpeg says of its own output is left out: it guesses a constant frame rate from the first pictures, of
/// which the mixer moves some by fractions of a millisecond towards those of the participant.
async fn decode(playlist: &str, length: Duration) -> Reading {
    let mut reading = read_with_ffmpeg(&[playlist], length).await;
    reading
        .errors
        .retain(|line| !line.starts_with("[null @") || !line.contains("non monotonically increasing dts to muxer"));
    reading
}

/// The lengths behind a tag.
fn lengths(playlist: &str, tag: &str) -> Vec<f64> {
    let value = |line: &str| line.strip_prefix(tag)?.split(',').next()?.parse().ok();
    playlist.lines().filter_map(value).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

async fn ready(bridge: &mut Roomcast, outputs: usize) {
    for _ in 0..outputs {
        bridge.wait_event("output_ready", SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_and_parts_of_fragmented_mp4_are_even_and_flawless() {
    let scene = Scene::start().await;
    let directories = ["fmp4", "event", "vod", "ll"].map(|name| scene.path(name));
    let [fmp4, event, vod, low] = &directories;
    let outputs = [
        format!("hls:{fmp4}?format=fmp4&segment=1&list=3"),
        format!("hls:{event}?format=fmp4&segment=1&mode=event&video=none"),
        format!("hls:{vod}?format=fmp4&segment=1&mode=vod&audio=none"),
        format!("hls:{low}?format=ll&mode=event"),
    ];
    let outputs: Vec<_> = outputs.iter().map(String::as_str).collect();
    let (mut bridge, _) = scene.bridge(&outputs, &[]).await;
    ready(&mut bridge, 4).await;
    // A player that joins in the middle.
    let live = decode(&format!("{fmp4}/index.m3u8"), Duration::from_secs(5)).await;
    assert!(live.errors.is_empty() && live.frames >= 120, "{live:?}");
    assert!(!Path::new(&format!("{vod}/index.m3u8")).exists(), "a VOD is listed when it is complete");
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());

    let playlist = read(format!("{fmp4}/index.m3u8"));
    assert_eq!(lengths(&playlist, "#EXTINF:").len(), 3, "{playlist}");
    let segments = std::fs::read_dir(fmp4).unwrap().flatten();
    let segments = segments.filter(|entry| entry.file_name().to_string_lossy().starts_with("segment")).count();
    assert!((3..=7).contains(&segments), "{segments} segments are on the disk");
    for (directory, kind) in [(event, "EVENT"), (vod, "VOD"), (low, "EVENT")] {
        let playlist = read(format!("{directory}/index.m3u8"));
        assert!(playlist.contains(&format!("#EXT-X-PLAYLIST-TYPE:{kind}\n")), "{playlist}");
        assert!(playlist.contains("segment0.m4s\n") && playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
        let all = lengths(&playlist, "#EXTINF:");
        let whole = &all[1..all.len() - 1];
        let target = lengths(&playlist, "#EXT-X-TARGETDURATION:")[0];
        assert!(whole.iter().all(|length| (length - target).abs() < 0.05), "{directory}: {playlist}");
        let reading = decode(&format!("{directory}/index.m3u8"), Duration::from_secs(60)).await;
        assert!(reading.success && reading.errors.is_empty(), "{directory}: {reading:?}");
        assert!((reading.seconds - all.iter().sum::<f64>()).abs() < 0.2, "{directory}: {reading:?}\n{playlist}");
    }
    assert_flawless(&format!("{low}/index.m3u8"), &bridge).await;

    let playlist = read(format!("{low}/index.m3u8"));
    let target = lengths(&playlist, "#EXT-X-PART-INF:PART-TARGET=")[0];
    let parts = lengths(&playlist, "#EXT-X-PART:DURATION=");
    assert!(parts.len() > 10 && parts.iter().all(|part| *part <= target), "{playlist}");
    // Of each segment, all but the last part have at least 85 % of the target (bis, section 4.4.4.9).
    let lines: Vec<_> = playlist.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair.iter().all(|line| line.starts_with("#EXT-X-PART:"))) {
        assert!(lengths(pair[0], "#EXT-X-PART:DURATION=")[0] >= 0.85 * target, "{playlist}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renditions_begin_their_segments_together_and_say_what_they_are() {
    let scene = Scene::start().await;
    let www = scene.path("www");
    let hls = format!("hls:{www}?format=fmp4&segment=1&mode=event&renditions=180p,90p,audio");
    let refused =
        Roomcast::start(["bridge", &scene.room(), "--size", "320x180", "-o", "hls:x?format=ll&renditions=360p"])
            .ended(SOON)
            .await;
    assert_eq!(refused.code(), Some(2), "a rendition larger than the picture");
    let (mut bridge, _) = scene.bridge(&[&hls], &[]).await;
    ready(&mut bridge, 1).await;
    // What is made in this time is what is looked at below.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());

    let master = read(format!("{www}/index.m3u8"));
    for expected in
        ["RESOLUTION=320x180,FRAME-RATE=30.000", "RESOLUTION=160x90", "avc1.42", "mp4a.40.2", "AUDIO=\"audio\""]
    {
        assert!(master.contains(expected), "{expected}: {master}");
    }
    assert_eq!(master.matches("#EXT-X-STREAM-INF").count(), 3, "{master}");
    let starts = ["180p", "90p", "audio"].map(|rendition| {
        let playlist = read(format!("{www}/{rendition}.m3u8"));
        let start = |line: &str| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:")?.parse::<jiff::Timestamp>().ok();
        playlist.lines().filter_map(start).collect::<Vec<_>>()
    });
    let [high, low, sound] = &starts;
    assert!(high.len() >= 5 && high.len() == low.len(), "{starts:?}");
    // Each rendition measures the wall clock once by itself.
    let apart = |a: &jiff::Timestamp, b: &jiff::Timestamp| (a.as_millisecond() - b.as_millisecond()).abs();
    for number in 1..high.len().min(sound.len()) {
        assert!(apart(&high[number], &low[number]) <= 40, "{number}: {starts:?}");
        assert!(apart(&high[number], &sound[number]) <= 80, "{number}: {starts:?}");
    }
    let summary = stream_summary(&[&format!("{www}/index.m3u8")]).await;
    let mut heights: Vec<_> =
        summary["streams"].as_array().unwrap().iter().filter_map(|s| s["height"].as_u64()).collect();
    heights.sort_unstable();
    assert_eq!(heights, [90, 180], "{summary:#}");
    for rendition in ["180p", "90p", "audio"] {
        let reading = decode(&format!("{www}/{rendition}.m3u8"), Duration::from_secs(60)).await;
        assert!(reading.success && reading.errors.is_empty() && reading.seconds > 4.0, "{rendition}: {reading:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_every_rendition_of_a_server() {
    let _turn = one_at_a_time().await;
    let arguments = ["--size", "320x180", "--low-latency", "--renditions", "180p,90p,audio"];
    let (server, base) = Roomcast::serve(&arguments).await;
    let room = format!("{}/ws?room=demo", base.replace("http", "mesh+ws"));
    let _person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15"]);
    let viewer = Browser::start().await;
    viewer.goto(&format!("{base}/watch/demo")).await;
    viewer.wait_for("window.__watch.state === 'live' && __watch.stats.frames > 0", Duration::from_secs(40)).await;
    viewer.eval("(window.__from = { ...__watch.stats })").await;
    viewer.wait_for("__watch.stats.time > __from.time + 4", Duration::from_secs(20)).await;
    let (stats, errors) = (viewer.eval("__watch.stats").await, viewer.eval("__watch.errors").await);
    assert_eq!(stats["levels"], serde_json::json!([90, 180]), "{stats} {errors}\n{}", server.log());
    assert!(!errors.to_string().contains("(fatal)"), "{stats} {errors}\n{}", server.log());
    assert!(stats["latency"].as_f64().is_some_and(|seconds| seconds < 4.0), "{stats} {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_failed_goes_on_in_the_same_playlist_after_a_discontinuity() {
    let scene = Scene::start().await;
    let (www, away) = (scene.path("www"), scene.path("away"));
    let (mut bridge, _) = scene.bridge(&[&format!("hls:{www}?format=ll&segment=1&list=100")], &[]).await;
    ready(&mut bridge, 1).await;
    std::fs::rename(&www, &away).unwrap();
    let failed = bridge.wait_event("output_failed", SOON).await;
    assert!(failed["error"].as_str().unwrap().contains("www"), "{failed}");
    std::fs::rename(&away, &www).unwrap();
    ready(&mut bridge, 1).await;
    // What is made in this time is what is looked at below.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());

    let playlist = read(format!("{www}/index.m3u8"));
    assert!(playlist.contains("segment0.m4s\n"), "{playlist}");
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{playlist}");
    let numbers = playlist.lines().filter_map(|line| line.strip_prefix("segment")?.strip_suffix(".m4s")?.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{playlist}");
    let reading = decode(&format!("{www}/index.m3u8"), Duration::from_secs(60)).await;
    let pictures = 30.0 * lengths(&playlist, "#EXTINF:").iter().sum::<f64>();
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let decoded = reading.frames as f64;
    assert!(reading.success && (decoded - pictures).abs() <= 3.0, "of {pictures}: {reading:?}\n{playlist}");
}

/// The segments of a playlist, and what is in their files.
fn segments(directory: &str) -> Vec<(String, Vec<u8>)> {
    let playlist = read(format!("{directory}/index.m3u8"));
    let names = playlist.lines().filter(|line| line.starts_with("segment"));
    names.map(|name| (name.to_owned(), std::fs::read(Path::new(directory).join(name)).unwrap())).collect()
}

/// Seen to fail with `left` in `output/hls/earlier.rs` always `None`: `ts: what was there is still there`.
#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_was_killed_and_is_started_again_goes_on_in_the_same_playlists() {
    let scene = Scene::start().await;
    let forms = [
        ("ts", "format=ts&list=100"),
        ("window", "format=ts&list=3"),
        ("event", "format=fmp4&mode=event"),
        ("ll", "format=ll&list=100"),
    ];
    let outputs = forms.map(|(name, settings)| format!("hls:{}?segment=1&{settings}", scene.path(name)));
    let outputs = outputs.each_ref().map(String::as_str);
    let arguments = ["--gop", "1"];
    let (mut bridge, _) = scene.bridge(&outputs, &arguments).await;
    ready(&mut bridge, forms.len()).await;
    // So that something has left the window.
    tokio::time::sleep(Duration::from_secs(4)).await;
    bridge.kill().await;
    let before = forms.map(|(name, _)| segments(&scene.path(name)));

    let (mut bridge, _) = scene.bridge(&outputs, &arguments).await;
    ready(&mut bridge, forms.len()).await;
    for (index, (name, _)) in forms.iter().enumerate().filter(|(_, (name, _))| *name != "window") {
        let now = segments(&scene.path(name));
        assert!(before[index].len() > 3 && now.starts_with(&before[index]), "{name}: what was there is still there");
        let playlist = read(format!("{}/index.m3u8", scene.path(name)));
        let (old, new) = playlist.split_once("#EXT-X-DISCONTINUITY\n").unwrap_or_else(|| panic!("{name}: {playlist}"));
        // With parts, what was announced of the segment in the making has become one.
        let completed = if *name == "ll" { 0..=1 } else { 0..=0 };
        assert!(completed.contains(&(old.matches("#EXTINF").count() - before[index].len())), "{name}: {playlist}");
        assert!(new.contains("#EXTINF"), "{name}: {playlist}");
    }
    // The window moves on over the old segments.
    let window = scene.path("window");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let first = segments(&window)[0].0.clone();
    assert!(!before[1].iter().any(|(name, _)| *name == first), "{first} is new, and numbered on");
    assert_eq!(bridge.terminate(SOON).await.code(), Some(0), "{}", bridge.log());

    let number = |line: &str| line.strip_prefix("segment")?.split_once('.')?.0.parse::<u64>().ok();
    for (name, _) in forms {
        let playlist = read(format!("{}/index.m3u8", scene.path(name)));
        let numbers: Vec<_> = playlist.lines().filter_map(number).collect();
        let sequence = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse().ok());
        let sequence: u64 = sequence.unwrap_or_else(|| panic!("{name}: {playlist}"));
        assert!(numbers.iter().copied().eq(sequence..sequence + numbers.len() as u64), "{name}: {playlist}");
        assert!(playlist.ends_with("#EXT-X-ENDLIST\n"), "{name}: {playlist}");
        if name == "window" {
            assert!(sequence > 3 && playlist.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{playlist}");
            let files = std::fs::read_dir(&window).unwrap().flatten();
            let files: Vec<_> = files.filter_map(|entry| number(&entry.file_name().into_string().unwrap())).collect();
            assert!(files.len() <= 7, "what has left the window is deleted: {files:?}");
            continue;
        }
        assert_eq!((sequence, playlist.matches("#EXT-X-DISCONTINUITY\n").count()), (0, 1), "{name}: {playlist}");
        let reading = decode(&format!("{}/index.m3u8", scene.path(name)), Duration::from_secs(60)).await;
        let pictures = 30.0 * lengths(&playlist, "#EXTINF:").iter().sum::<f64>();
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let decoded = reading.frames as f64;
        eprintln!("{name}: {decoded} of {pictures:.1} pictures decoded");
        // Less than a segment: where the times jump, ffmpeg leaves out what overlaps.
        let all = reading.success && reading.errors.is_empty() && decoded >= pictures - 20.0;
        assert!(all, "{name}: {decoded} of {pictures}: {reading:?}\n{playlist}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_begins_its_segments_with_keyframes_that_were_asked_for() {
    let _turn = one_at_a_time().await;
    let (_server, base) = Roomcast::serve(&["--no-bridges"]).await;
    for (codec, forms) in [("h264", &[("ts", "aac"), ("fmp4", "copy")][..]), ("vp9", &[("fmp4", "copy")])] {
        let room = format!("{}/ws?room={codec}", base.replace("http", "mesh+ws"));
        let directory = tempfile::tempdir().unwrap();
        let www = |format: &str| directory.path().join(format).to_string_lossy().into_owned();
        let hls = |format: &str, audio: &str| {
            format!("hls:{}?format={format}&segment=2&list=100&video=copy&audio={audio}", www(format))
        };
        let mut outputs: Vec<_> = forms.iter().map(|(format, audio)| hls(format, audio)).collect();
        if codec == "vp9" {
            outputs.push(format!("hls:{}?format=ts&video=copy", www("wrong")));
        }
        let arguments = outputs.iter().flat_map(|output| ["-o", output]);
        let mut bridge = Roomcast::start(["bridge", &room].into_iter().chain(arguments));
        bridge.wait_event("joined", SOON).await;
        let mut person = Roomcast::start(["publish", &room, "--size", "320x180", "--fps", "15", "--codec", codec]);
        if codec == "vp9" {
            let failed = bridge.wait_event("output_failed", SOON).await;
            assert!(failed["error"].as_str().unwrap().contains("VP9, which HLS of MPEG-TS cannot carry"), "{failed}");
        }
        ready(&mut bridge, forms.len()).await;
        // What is made in this time is what is looked at below.
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(person.terminate(SOON).await.success(), "{}", person.log());
        bridge.terminate(SOON).await;
        for (format, _) in forms {
            let index = format!("{}/index.m3u8", www(format));
            let playlist = read(&index);
            let all = lengths(&playlist, "#EXTINF:");
            assert!(all.len() >= 4, "{codec} {format}: {playlist}");
            // The flashes are scene cuts, and bring keyframes that nobody asked for: where the one that was asked for would make a
            // segment of MPEG-TS too long, it ends with the one before it.
            let least = if *format == "ts" { 1.0 } else { 1.5 };
            assert!(
                all[1..all.len() - 1].iter().all(|length| (least..4.0).contains(length)),
                "{codec} {format}: {playlist}"
            );
            // A player begins with whatever segment is the newest: with `config-interval=0` in `pipelines/hls.launch` two of three
            // have no parameter sets, and none of their pictures can be decoded.
            for segment in playlist.lines().filter(|line| line.ends_with(".ts")) {
                let alone = decode(&format!("{}/{segment}", www(format)), Duration::from_secs(60)).await;
                assert!(alone.success && alone.errors.is_empty(), "{segment}: {alone:?}\n{playlist}");
            }
            let report = probe(&index, &[]).await;
            let streams = report["streams"].as_array().unwrap();
            let video = streams.iter().find(|stream| stream["kind"] == "video").unwrap();
            assert_eq!((&video["codec"], &video["decode_errors"]), (&codec.into(), &0.into()), "{report:#}");
            let reading = decode(&index, Duration::from_secs(60)).await;
            assert!(reading.success && reading.errors.is_empty(), "{codec} {format}: {reading:?}\n{playlist}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn low_latency_is_less_than_two_seconds_from_glass_to_glass() {
    let _turn = one_at_a_time().await;
    let (server, base) = Roomcast::serve(&["--size", "320x180", "--low-latency"]).await;
    let options =
        || BrowserOptions { before_load: include_str!("support/stamp.js").into(), ..BrowserOptions::default() };
    let (viewer, caller) = tokio::join!(Browser::start_with(options()), Browser::start_with(options()));
    caller.goto(&format!("{base}/?room=demo")).await;
    caller.eval("connect('demo').then(() => true)").await;
    viewer.goto(&format!("{base}/watch/demo")).await;
    viewer.wait_for("window.__watch.state === 'live' && __watch.stats.frames > 0", Duration::from_secs(40)).await;
    // What it was before the player had caught up is of no interest.
    viewer.wait_for("__watch.stats.time > 0 && performance.now() > 8000", Duration::from_secs(20)).await;
    viewer.eval("(window.__from = { ...__watch.stats }, __eye.start(document.getElementById('video')), true)").await;
    viewer.wait_for("__watch.stats.time > __from.time + 10", Duration::from_secs(25)).await;
    let seen = viewer
        .eval(
            "({ median: __eye.median, read: __eye.delays.length, unread: __eye.unread, errors: __watch.errors, stats: __watch.stats,
                reloads: performance.getEntriesByType('resource').filter((entry) => entry.name.includes('_HLS_msn='))
                  .map((entry) => Math.round(entry.duration)) })",
        )
        .await;
    let context = || format!("{seen:#}\n{}", server.log());
    eprintln!(
        "glass to glass: {} ms, of {} pictures; {} could not be read",
        seen["median"], seen["read"], seen["unread"]
    );
    assert!(seen["read"].as_u64() > Some(60), "{}", context());
    assert!(seen["median"].as_f64().is_some_and(|median| (200.0..2000.0).contains(&median)), "{}", context());
    let fatal = |error: &&serde_json::Value| error.as_str().is_some_and(|error| error.contains("(fatal)"));
    assert_eq!(seen["errors"].as_array().unwrap().iter().find(fatal), None, "{}", context());
    // Most reloads were answered when the part was there, not at once.
    let reloads: Vec<_> = seen["reloads"].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).collect();
    let held = reloads.iter().filter(|duration| **duration > 50).count();
    assert!(reloads.len() > 20 && 2 * held > reloads.len(), "{held} of {} were held: {}", reloads.len(), context());
}
