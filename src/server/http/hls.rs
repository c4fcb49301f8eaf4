//! `hls/FILE`: playlists and segments as the room's bridge has written them.
//!
//! With low latency a request may ask for a playlist that is still to come, or for the part that comes next, and is answered when
//! it is there (draft-pantos-hls-rfc8216bis, section 6.2.5.2). Files appear as a whole, so looking at them is enough.

use std::path::Path as FilePath;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::super::Shared;
use super::super::gateway::LiveMedia;
use super::live::{file, later, ready};
use super::text;
use crate::output::hls::{Awaited, Playlist, Readiness};

/// How often a file is looked at while somebody waits for it: short against a part, and a look costs some microseconds.
const LOOK: Duration = Duration::from_millis(20);

/// What a client may ask of a playlist.
#[derive(Debug, Deserialize)]
pub(super) struct Directives {
    #[serde(rename = "_HLS_msn")]
    segment: Option<u64>,
    #[serde(rename = "_HLS_part")]
    part: Option<u64>,
    #[serde(rename = "_HLS_skip")]
    skip: Option<String>,
}

impl Directives {
    fn is_empty(&self) -> bool {
        self.segment.is_none() && self.part.is_none() && self.skip.is_none()
    }
}

/// `hls/FILE`.
pub(super) async fn hls(
    State(shared): State<Shared>,
    Path((room, name)): Path<(String, String)>,
    directives: Result<Query<Directives>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Some((content_type, caching)) = hls_file(&name) else { return text(StatusCode::NOT_FOUND, "not found") };
    let Ok(Query(directives)) = directives else {
        return text(StatusCode::BAD_REQUEST, "_HLS_msn and _HLS_part are whole numbers");
    };
    let viewing = match ready(&shared, Path(room), LiveMedia::Hls).await {
        Ok(viewing) => viewing,
        Err(answer) => return *answer,
    };
    let directory = &viewing.files().hls;
    let path = directory.join(&name);
    if name.ends_with(".m3u8") && !directives.is_empty() {
        return match awaited(&path, &directives).await {
            Ok(playlist) => {
                let headers =
                    [(CONTENT_TYPE, content_type), (CACHE_CONTROL, caching), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
                (headers, playlist).into_response()
            }
            Err(answer) => *answer,
        };
    }
    if name.ends_with(".m4s") && !path.exists() {
        wait_for_hinted(directory, &name).await;
    }
    file(&path, content_type, caching).await
}

/// The text of a playlist, once it has what is asked for.
async fn awaited(path: &FilePath, directives: &Directives) -> Result<String, Box<Response>> {
    let refuse = |status, reason: &str| Err(Box::new(text(status, reason)));
    let awaited = match (directives.segment, directives.part) {
        (Some(segment), part) => Some(Awaited { segment, part }),
        (None, None) => None,
        (None, Some(_)) => return refuse(StatusCode::BAD_REQUEST, "_HLS_part needs _HLS_msn"),
    };
    let mut waited = Duration::ZERO;
    loop {
        let Ok(whole) = tokio::fs::read_to_string(path).await else {
            return refuse(StatusCode::NOT_FOUND, "not found");
        };
        // Of others than ours a client is told nothing of waiting; a directive that comes nevertheless is ignored.
        let Some(playlist) = Playlist::parse(&whole).filter(|playlist| playlist.part_target.is_some()) else {
            return Ok(whole);
        };
        match awaited.map_or(Readiness::There, |awaited| playlist.readiness(awaited)) {
            // `v2` may leave out date ranges as well, of which there are none.
            Readiness::There if matches!(directives.skip.as_deref(), Some("YES" | "v2")) => return Ok(playlist.delta()),
            Readiness::There => return Ok(whole),
            Readiness::TooFar => return refuse(StatusCode::BAD_REQUEST, "_HLS_msn is too far ahead of the playlist"),
            Readiness::Coming if waited > 3 * Duration::from_secs(playlist.target.into()) => {
                return Err(Box::new(later("the bridge writes nothing at the moment")));
            }
            Readiness::Coming => {}
        }
        waited += unchanged(path).await;
    }
}

/// Waits until a file is replaced, or for a second at most; returns how long that took.
async fn unchanged(path: &FilePath) -> Duration {
    use std::os::unix::fs::MetadataExt;
    let began = tokio::time::Instant::now();
    let look =
        || std::fs::metadata(path).ok().map(|metadata| (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()));
    let before = look();
    let changed = async {
        while look() == before {
            sleep(LOOK).await;
        }
    };
    // A replacement between reading and looking is seen here at the latest.
    timeout(Duration::from_millis(100), changed).await.ok();
    began.elapsed().max(Duration::from_millis(1))
}

/// A part that a playlist has promised is waited for (section 4.4.5.3); of any other it is known that it is not there.
async fn wait_for_hinted(directory: &FilePath, name: &str) {
    let playlist = match name.rsplit_once("-segment") {
        Some((rendition, _)) => format!("{rendition}.m3u8"),
        None => "index.m3u8".to_owned(),
    };
    let path = directory.join(playlist);
    let Ok(whole) = tokio::fs::read_to_string(&path).await else { return };
    let Some(playlist) = Playlist::parse(&whole).filter(|playlist| playlist.hint.as_deref() == Some(name)) else {
        return;
    };
    let path = directory.join(name);
    let appears = async {
        while !path.exists() {
            sleep(LOOK).await;
        }
    };
    timeout(3 * Duration::from_secs(playlist.target.into()), appears).await.ok();
}

/// What a file of an HLS directory is; `None` for names that are none of its files or might lead elsewhere.
pub(in super::super) fn hls_file(name: &str) -> Option<(&'static str, &'static str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if stem.is_empty() || !stem.bytes().all(harmless) {
        return None;
    }
    // A segment's name comes back after a restart of its bridge, so it is not kept for long.
    match extension {
        "m3u8" => Some(("application/vnd.apple.mpegurl", "no-cache")),
        "ts" => Some(("video/mp2t", "max-age=10")),
        "m4s" => Some(("video/iso.segment", "max-age=10")),
        "mp4" => Some(("video/mp4", "max-age=10")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::hls::{Kind, Part, Segment};

    #[test]
    fn only_the_files_of_an_hls_directory_are_served() {
        for (name, expected) in [
            ("index.m3u8", Some("application/vnd.apple.mpegurl")),
            ("segment-00001.ts", Some("video/mp2t")),
            ("360p-segment1-part0.m4s", Some("video/iso.segment")),
            ("init_0.mp4", Some("video/mp4")),
            ("s1.m4s", Some("video/iso.segment")),
            ("..", None),
            ("../live.sdp", None),
            ("..%2flive.ts", None),
            ("a/b.ts", None),
            ("a\\b.ts", None),
            (".hidden.ts", None),
            (".ts", None),
            ("x.y.ts", None),
            ("passwd", None),
            ("", None),
        ] {
            assert_eq!(hls_file(name).map(|(content_type, _)| content_type), expected, "{name}");
        }
    }

    fn asking(segment: u64, part: u64, skip: bool) -> Directives {
        Directives { segment: Some(segment), part: Some(part), skip: skip.then(|| "YES".to_owned()) }
    }

    fn written(directory: &FilePath, parts: usize, target: u32) -> std::path::PathBuf {
        let part = |index| Part {
            uri: format!("p{index}.m4s"),
            duration: Duration::from_millis(500),
            independent: index == 0,
        };
        let segment = |uri: &str| Segment {
            uri: uri.into(),
            duration: Duration::from_secs(target.into()),
            start: jiff::Timestamp::UNIX_EPOCH,
            map: "init0.mp4".into(),
            discontinuity: false,
            parts: Vec::new(),
        };
        let mut playlist = Playlist::new(Kind::Live, target, Some(Duration::from_millis(500)));
        (0..10).for_each(|number| playlist.push(segment(&format!("segment{number}.m4s"))));
        playlist.open = Some(Segment { parts: (0..parts).map(part).collect(), ..segment("segment10.m4s") });
        playlist.hint = Some(format!("p{parts}.m4s"));
        let (path, unfinished) = (directory.join("index.m3u8"), directory.join("unfinished"));
        std::fs::write(&unfinished, playlist.to_string()).unwrap();
        std::fs::rename(unfinished, &path).unwrap();
        path
    }

    #[tokio::test]
    async fn who_asks_for_a_part_that_comes_is_answered_when_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = written(directory.path(), 1, 2);
        let waiting = tokio::spawn({
            let path = path.clone();
            async move { awaited(&path, &asking(10, 1, false)).await.unwrap() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        written(directory.path(), 2, 2);
        let text = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        assert!(text.contains("URI=\"p1.m4s\"") && text.contains("segment0.m4s"), "{text}");
        let delta = awaited(&path, &asking(10, 1, true)).await.unwrap();
        assert!(delta.contains("EXT-X-SKIP:SKIPPED-SEGMENTS=") && !delta.contains("segment0.m4s"), "{delta}");
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_or_for_what_is_far_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = written(directory.path(), 1, 1);
        for (segment, part, status) in [(10, 1, StatusCode::SERVICE_UNAVAILABLE), (12, 0, StatusCode::BAD_REQUEST)] {
            let answer = awaited(&path, &asking(segment, part, false)).await.unwrap_err();
            assert_eq!(answer.status(), status, "{segment} {part}");
        }
        let part_alone = Directives { segment: None, part: Some(1), skip: None };
        assert_eq!(awaited(&path, &part_alone).await.unwrap_err().status(), StatusCode::BAD_REQUEST);
        let missing = awaited(&directory.path().join("none.m3u8"), &asking(1, 0, false)).await.unwrap_err();
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_part_that_was_promised_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), 1, 2);
        let path = directory.path().to_owned();
        let waiting = tokio::spawn(async move { wait_for_hinted(&path, "p1.m4s").await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        std::fs::write(directory.path().join("p1.m4s"), "").unwrap();
        timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        // Of this one nobody has said that it comes.
        timeout(Duration::from_secs(1), wait_for_hinted(directory.path(), "p7.m4s")).await.unwrap();
    }
}
