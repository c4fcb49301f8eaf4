//! Playlists as texts, and what they say to a client that waits.

use std::time::Duration;

use super::playlist::{Kind, Part, Playlist, Report, Segment};
use super::reading::{Awaited, Readiness};

const PART: Duration = Duration::from_millis(500);

fn segment(number: u64, seconds: u64, parts: usize) -> Segment {
    let part =
        |index| Part { uri: format!("segment{number}-part{index}.m4s"), duration: PART, independent: index == 0 };
    Segment {
        uri: format!("segment{number}.m4s"),
        duration: Duration::from_secs(seconds),
        start: jiff::Timestamp::from_second(1_700_000_000 + i64::try_from(number * seconds).unwrap()).unwrap(),
        map: "init0.mp4".into(),
        discontinuity: false,
        parts: (0..parts).map(part).collect(),
    }
}

fn playlist(kind: Kind, segments: u64) -> Playlist {
    let mut playlist = Playlist::new(kind, 2, None);
    (0..segments).for_each(|number| playlist.push(segment(number, 2, 0)));
    playlist
}

fn low_latency(segments: u64, open: usize) -> Playlist {
    let mut playlist = Playlist { part_target: Some(PART), ..Playlist::new(Kind::Live, 2, None) };
    (0..segments).for_each(|number| playlist.push(segment(number, 2, 4)));
    let open = Segment { duration: PART * u32::try_from(open).unwrap(), ..segment(segments, 2, open) };
    playlist.hint = Some(format!("segment{segments}-part{}.m4s", open.parts.len()));
    playlist.open = (!open.parts.is_empty()).then_some(open);
    playlist
}

#[test]
fn a_live_window_moves_and_counts_what_has_left_it() {
    let mut playlist = playlist(Kind::Live, 4);
    playlist.segments[1].discontinuity = true;
    let gone: Vec<_> = playlist.trim(2).into_iter().map(|segment| segment.uri).collect();
    assert_eq!(gone, ["segment0.m4s", "segment1.m4s"]);
    assert_eq!(
        playlist.to_string(),
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MEDIA-SEQUENCE:2\n\
         #EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-MAP:URI=\"init0.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:24.000Z\n#EXTINF:2.00000,\nsegment2.m4s\n\
         #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:26.000Z\n#EXTINF:2.00000,\nsegment3.m4s\n"
    );
}

/// Without the bounds in `reading.rs` it is one, and the fuzzing target `playlist` said `attempt to add with overflow`: in the numbers of
/// segments, in the sum of their lengths, in multiples of the target. `serve` reads what the process of a bridge has written, and that process decodes what strangers send.
#[test]
fn a_playlist_whose_numbers_nobody_can_count_on_is_none() {
    let text = playlist(Kind::Live, 2).to_string();
    assert!(Playlist::parse(&text).is_some());
    for (line, hostile) in [
        ("TARGETDURATION:2", "TARGETDURATION:4294967295"),
        ("MEDIA-SEQUENCE:0", "MEDIA-SEQUENCE:18446744073709551615"),
        ("EXTINF:2.00000", "EXTINF:1e19"),
    ] {
        assert!(text.contains(line), "{line} in {text}");
        assert_eq!(Playlist::parse(&text.replace(line, hostile)), None, "{hostile}");
    }
}

#[test]
fn an_event_keeps_everything_and_a_vod_is_complete() {
    for (kind, word) in [(Kind::Event, "EVENT"), (Kind::Vod, "VOD")] {
        let mut playlist = playlist(kind, 5);
        assert!(playlist.trim(3).is_empty());
        playlist.ended = true;
        let text = playlist.to_string();
        assert!(text.contains(&format!("#EXT-X-PLAYLIST-TYPE:{word}\n")), "{text}");
        assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:0\n") && text.contains("segment0.m4s"), "{text}");
        assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    }
}

#[test]
fn a_discontinuity_has_its_own_map() {
    let mut playlist = playlist(Kind::Live, 3);
    playlist.segments[2].discontinuity = true;
    playlist.segments[2].map = "init1.mp4".into();
    let text = playlist.to_string();
    assert!(
        text.contains("segment1.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init1.mp4\"\n#EXT-X-PROGRAM"),
        "{text}"
    );
    assert!(text.contains("#EXT-X-DISCONTINUITY-SEQUENCE:0\n"), "{text}");
}

#[test]
fn low_latency_lists_parts_at_the_end_only() {
    let mut playlist = low_latency(6, 2);
    playlist.reports = vec![Report { uri: "360p.m3u8".into(), segment: 6, part: Some(1) }];
    let text = playlist.to_string();
    for line in [
        "#EXT-X-VERSION:9",
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.500,HOLD-BACK=6.0,CAN-SKIP-UNTIL=12.0",
        "#EXT-X-PART-INF:PART-TARGET=0.500",
        "#EXT-X-PART:DURATION=0.50000,URI=\"segment6-part0.m4s\",INDEPENDENT=YES",
        "#EXT-X-PART:DURATION=0.50000,URI=\"segment6-part1.m4s\"",
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"segment6-part2.m4s\"",
        "#EXT-X-RENDITION-REPORT:URI=\"360p.m3u8\",LAST-MSN=6,LAST-PART=1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    // Three target durations before the end: of 13 seconds the last 6.
    assert!(!text.contains("segment3-part") && text.contains("segment4-part0"), "{text}");
    playlist.ended = true;
    assert!(!playlist.to_string().contains("PRELOAD-HINT"));
}

#[test]
fn a_delta_leaves_out_what_is_older_than_six_target_durations() {
    for (segments, skipped) in [(5, 0), (6, 0), (7, 1), (10, 4)] {
        let delta = low_latency(segments, 0).delta();
        let line = format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n");
        assert_eq!(delta.contains(&line), skipped > 0, "{delta}");
        assert!(delta.contains("#EXT-X-MEDIA-SEQUENCE:0\n"), "{delta}");
        assert_eq!(delta.matches("#EXTINF").count() as u64, segments - skipped, "{delta}");
        assert_eq!(delta.contains("EXT-X-MAP"), skipped == 0, "{delta}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let mut playlist = low_latency(3, 2);
    playlist.discontinuity_sequence = 4;
    playlist.sequence = 17;
    playlist.segments[0].parts.clear();
    playlist.segments[1].discontinuity = true;
    playlist.segments[1].map = "init1.mp4".into();
    playlist.segments[2].map = "init1.mp4".into();
    playlist.open.as_mut().unwrap().map = "init1.mp4".into();
    playlist.reports = vec![Report { uri: "audio.m3u8".into(), segment: 20, part: None }];
    let mut read = Playlist::parse(&playlist.to_string()).unwrap();
    read.open.as_mut().unwrap().uri = "segment3.m4s".into();
    assert_eq!(read, playlist);
    for other in
        ["", "#EXTM3U", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8", "<html>", "#EXTM3U\n#EXT-X-TARGETDURATION:x"]
    {
        assert_eq!(Playlist::parse(other), None, "{other}");
    }
}

#[test]
fn who_waits_is_told_when_it_is_there() {
    use Readiness::{Coming, There, TooFar};
    // Segments 0 to 2 with four parts each, and two parts of segment 3; half a second each, so up to six ahead.
    let playlist = low_latency(3, 2);
    for (segment, part, expected) in [
        (2, None, There),
        (2, Some(3), There),
        (2, Some(4), There),
        (3, None, Coming),
        (3, Some(1), There),
        (3, Some(2), Coming),
        (3, Some(7), Coming),
        (3, Some(8), TooFar),
        (4, Some(0), Coming),
        (4, None, Coming),
        (5, None, TooFar),
        (u64::MAX, Some(u64::MAX), TooFar),
    ] {
        assert_eq!(playlist.readiness(Awaited { segment, part }), expected, "{segment} {part:?}");
    }
    let between = low_latency(3, 0);
    assert_eq!(between.readiness(Awaited { segment: 2, part: Some(4) }), Coming, "it is part 0 of segment 3");
    let ended = Playlist { ended: true, ..playlist };
    assert_eq!(ended.readiness(Awaited { segment: 9, part: None }), There);
}

#[test]
fn a_segment_that_is_too_long_raises_the_target() {
    let mut playlist = playlist(Kind::Live, 1);
    playlist.push(Segment { duration: Duration::from_millis(2499), ..segment(1, 2, 0) });
    assert_eq!(playlist.target, 2);
    playlist.push(Segment { duration: Duration::from_millis(2500), ..segment(2, 2, 0) });
    assert_eq!(playlist.target, 3);
}
