//! What an earlier run has left in the directory: a playlist without an end goes on, everything else goes.
//!
//! A player that has read the playlist before a crash asks for the numbers that follow, and takes a smaller one for a fault (RFC 8216,
//! section 6.2.2).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::super::OutputError;
use super::directory::{Directory, INDEX};
use super::playlist::Playlist;
use super::rendition::Rendition;

/// A playlist that was written so long ago is another call's, unless we are told that it is ours: its end would be shown to who watches
/// the next one.
const WAITED_FOR: Duration = Duration::from_secs(600);

/// Lets each rendition go on with what was left of it, and deletes what no playlist has any more. `ours`: an earlier attempt of this
/// bridge, or the bridge that this one follows, has left it.
pub(super) fn take_up<'a>(
    directory: &Directory,
    renditions: impl Iterator<Item = &'a mut Rendition>,
    ours: bool,
) -> Result<(), (PathBuf, io::Error)> {
    directory.create()?;
    let mut kept = BTreeSet::new();
    for rendition in renditions {
        if let Some(earlier) = left(directory, rendition, ours) {
            rendition.resume(earlier)?;
            kept.extend(rendition.files());
            // The one that lists the renditions.
            kept.insert(INDEX.to_owned());
        }
    }
    directory.sweep(&kept)
}

/// Waits for a segment that is not of an earlier run: those play as well, and prove nothing.
pub(super) async fn first_of_ours(complete: &watch::Receiver<u64>, patience: Duration) -> Result<(), OutputError> {
    let mut complete = complete.clone();
    let first = tokio::time::timeout(patience, complete.wait_for(|complete| *complete > 0)).await;
    match first {
        Ok(Ok(_)) => Ok(()),
        _ => Err(OutputError::NotReady { what: "no segment is complete".into(), waited: patience }),
    }
}

fn left(directory: &Directory, rendition: &Rendition, ours: bool) -> Option<Playlist> {
    let path = directory.path(&rendition.place());
    let earlier = Playlist::parse(&fs::read_to_string(&path).ok()?).filter(|earlier| !earlier.ended)?;
    let recent = || {
        let written = fs::metadata(&path).and_then(|file| file.modified());
        // A clock that was set back says nothing.
        written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age < WAITED_FOR))
    };
    ((ours || recent()) && rendition.could_go_on_with(&earlier)).then_some(earlier)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::playlist::Kind;
    use super::super::rendition::{Form, Piece};
    use super::*;

    /// Writes so many segments, after what was left.
    fn run(directory: &Directory, kind: Kind, segments: usize, ours: bool) -> Rendition {
        let empty = Playlist::new(kind, 1, None);
        let mut rendition = Rendition::new((directory.clone(), Form::TransportStream), None, 3, empty);
        take_up(directory, std::iter::once(&mut rendition), ours).unwrap();
        for _ in 0..segments {
            let (bytes, duration) = (vec![0x47], Duration::from_secs(1));
            let piece = Piece { header: None, bytes, duration, begins: true, ends: true };
            rendition.push(piece, Vec::new()).unwrap();
        }
        rendition
    }

    fn segments(directory: &Directory) -> Vec<String> {
        let names = fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("segment")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_playlist_without_an_end_goes_on_if_it_is_ours_or_was_written_just_now() {
        let nothing = |_: &Directory| {};
        let replaced = |from: &'static str, to: &'static str| {
            move |directory: &Directory| {
                let path = directory.path(INDEX);
                fs::write(&path, fs::read_to_string(&path).unwrap().replace(from, to)).unwrap();
            }
        };
        let age = |directory: &Directory| {
            let file = fs::File::options().append(true).open(directory.path(INDEX)).unwrap();
            file.set_modified(SystemTime::now() - 2 * WAITED_FOR).unwrap();
        };
        type Change<'a> = &'a dyn Fn(&Directory);
        let cases: [(&str, Change<'_>, Kind, bool, bool); 8] = [
            ("just now", &nothing, Kind::Event, false, true),
            ("long ago", &age, Kind::Event, false, false),
            ("long ago, and ours", &age, Kind::Event, true, true),
            ("of another kind", &nothing, Kind::Live, true, false),
            ("ended", &replaced("segment1.ts\n", "segment1.ts\n#EXT-X-ENDLIST\n"), Kind::Event, true, false),
            ("names what is not ours", &replaced("segment1.ts", "../call.ts"), Kind::Event, true, false),
            ("of another form", &replaced("segment1.ts", "segment1.m4s"), Kind::Event, true, false),
            ("somebody else's", &replaced("#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-SOMETHING"), Kind::Event, true, false),
        ];
        for (case, change, kind, ours, goes_on) in cases {
            let temporary = tempfile::tempdir().unwrap();
            let directory = Directory(temporary.path().into());
            run(&directory, Kind::Event, 2, false);
            change(&directory);
            run(&directory, kind, 1, ours);
            let text = fs::read_to_string(directory.path(INDEX)).unwrap();
            let expected: &[&str] =
                if goes_on { &["segment0.ts", "segment1.ts", "segment2.ts"] } else { &["segment0.ts"] };
            assert_eq!(text.lines().filter(|line| line.starts_with("segment")).collect::<Vec<_>>(), expected, "{case}");
            assert_eq!(text.contains("segment1.ts\n#EXT-X-DISCONTINUITY\n"), goes_on, "{case}: {text}");
            assert_eq!(segments(&directory), expected, "{case}");
        }
    }

    #[test]
    fn a_vod_goes_on_too_before_it_is_listed() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory(temporary.path().into());
        run(&directory, Kind::Vod, 2, false);
        run(&directory, Kind::Vod, 1, false).end().unwrap();
        let text = fs::read_to_string(directory.path(INDEX)).unwrap();
        assert!(text.contains("segment0.ts\n") && text.contains("segment2.ts\n#EXT-X-ENDLIST\n"), "{text}");
    }

    #[test]
    fn a_window_deletes_what_a_killed_run_has_left_behind_it() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory(temporary.path().into());
        run(&directory, Kind::Live, 6, false);
        assert_eq!(segments(&directory).len(), 6, "three have left the window, and wait for who has just read it");
        run(&directory, Kind::Live, 1, false);
        assert_eq!(segments(&directory), ["segment3.ts", "segment4.ts", "segment5.ts", "segment6.ts"]);
        run(&directory, Kind::Live, 9, false);
        assert_eq!(segments(&directory).len(), 7);
        let text = fs::read_to_string(directory.path(INDEX)).unwrap();
        assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:13\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n"), "{text}");
    }
}
