//! Playlists that somebody else wrote, and pictures that come at any time: what `output::fuzzing` calls for them.

use super::playlist::Playlist;
use super::reading::{Awaited, Readiness};

/// `serve` reads what the process of a bridge has written, and an output goes on where an earlier one was killed.
pub(in super::super) fn fuzz_playlist(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Some(mut playlist) = Playlist::parse(&text) else { return };
    let next = playlist.next_sequence();
    for segment in [0, next.saturating_sub(1), next, next.saturating_add(1), u64::MAX] {
        for part in [None, Some(0), Some(3), Some(u64::MAX)] {
            let readiness = playlist.readiness(Awaited { segment, part });
            assert!(!playlist.ended || readiness == Readiness::There, "nobody waits for what has ended");
        }
    }
    let (whole, delta) = (playlist.to_string(), playlist.delta());
    assert!(delta.len() <= whole.len() + 64);
    // What we write, we can read.
    let again = Playlist::parse(&whole);
    assert!(again.is_some_and(|again| again.segments.len() == playlist.segments.len()), "{whole}");
    playlist.last();
    playlist.trim(2);
    playlist.to_string();
}
