//! From what happens in a room to its manifest. The bridge brings the moments, as time on its clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::keeper::{self, Keeper};
use super::manifest::{
    Loss, Manifest, ManifestError, MixPart, Part, Participant, Pause, Reconnect, Track, Visit, relative,
};
use crate::durable;
use crate::terms::{Codec, MediaKind, ParticipantId, Ssrc};

/// Strangers come and go as often as they like; a manifest does not grow for ever.
const MOST_VISITS: usize = 20_000;

/// The manifest of a session that goes on.
#[derive(Debug)]
pub struct Chronicle {
    manifest: Manifest,
    keeper: Keeper,
    /// Seconds on the session's clock at `zero` of the bridge's.
    base: f64,
    zero: Duration,
    visits: usize,
}

impl Chronicle {
    /// Begins at `zero`, or takes up a session that was killed.
    ///
    /// # Errors
    /// What is at `path` already cannot be moved aside.
    pub fn begin(path: PathBuf, room: &str, now: Timestamp, zero: Duration) -> Result<Self, ManifestError> {
        let (manifest, base) = match keeper::take_up(&path, room)? {
            Some(mut earlier) => {
                // Two processes have only the wall clock in common. Nothing may come before what is known already.
                let known = earlier.times().map(|(_, offset, duration)| offset + duration.unwrap_or_default());
                let known = known.fold(earlier.restarts.last().copied().unwrap_or_default(), f64::max);
                let base = millis(now.duration_since(earlier.started).as_secs_f64().max(known));
                earlier.restarts.push(base);
                for visit in earlier.participants.iter_mut().flat_map(|participant| &mut participant.visits) {
                    visit.left.get_or_insert(base);
                    visit.reason.get_or_insert_with(|| "the bridge was killed".to_owned());
                }
                (earlier, base)
            }
            None => (Manifest::new(room, now), 0.0),
        };
        let visits = manifest.participants.iter().map(|participant| participant.visits.len()).sum();
        let chronicle = Self { manifest, keeper: Keeper::start(path), base, zero, visits };
        chronicle.keep();
        Ok(chronicle)
    }

    /// Where its manifest is.
    pub fn path(&self) -> &Path {
        self.keeper.path()
    }

    fn keep(&self) {
        self.keeper.keep(&self.manifest);
    }

    /// Seconds on the session's clock.
    fn seconds(&self, at: Duration) -> f64 {
        millis(self.base + at.as_secs_f64() - self.zero.as_secs_f64()).max(0.0)
    }

    /// Somebody is there.
    pub fn joined(&mut self, id: &ParticipantId, at: Duration) {
        if self.visits == MOST_VISITS {
            return;
        }
        self.visits += 1;
        let joined = self.seconds(at);
        let visit = Visit { joined, left: None, reason: None, tracks: Vec::new(), losses: BTreeMap::new() };
        match self.manifest.participants.iter_mut().find(|participant| participant.id == *id) {
            Some(participant) => participant.visits.push(visit),
            None => self.manifest.participants.push(Participant { id: id.clone(), visits: vec![visit] }),
        }
        self.keep();
    }

    /// Somebody went.
    pub fn left(&mut self, id: &ParticipantId, reason: &str, at: Duration) {
        let left = self.seconds(at);
        if let Some(visit) = self.visit(id) {
            visit.left = Some(left);
            visit.reason = Some(reason.to_owned());
        }
        self.keep();
    }

    /// Somebody sends.
    pub fn track(&mut self, id: &ParticipantId, (kind, codec, ssrc): (MediaKind, Codec, Ssrc), at: Duration) {
        let started = self.seconds(at);
        if let Some(visit) = self.visit(id) {
            visit.tracks.push(Track { kind, codec, ssrc, started, pauses: Vec::new() });
        }
        self.keep();
    }

    /// A track pauses, or goes on.
    pub fn flows(&mut self, id: &ParticipantId, kind: MediaKind, flows: bool, at: Duration) {
        let time = self.seconds(at);
        let track = self.visit(id).and_then(|visit| visit.tracks.iter_mut().rev().find(|track| track.kind == kind));
        if let Some(track) = track {
            match (flows, track.pauses.last_mut().filter(|pause| pause.to.is_none())) {
                (true, Some(pause)) => pause.to = Some(time),
                (false, None) => track.pauses.push(Pause { from: time, to: None }),
                _ => {}
            }
        }
        self.keep();
    }

    /// What of somebody's packets came since they joined.
    pub fn losses(&mut self, id: &ParticipantId, losses: &BTreeMap<MediaKind, Loss>) {
        if let Some(visit) = self.visit(id) {
            visit.losses.clone_from(losses);
        }
        self.keep();
    }

    /// A connection was lost.
    pub fn reconnecting(&mut self, what: &str, attempt: u32, reason: &str, at: Duration) {
        let (at, what, reason) = (self.seconds(at), what.to_owned(), reason.to_owned());
        if self.manifest.reconnects.len() < MOST_VISITS {
            self.manifest.reconnects.push(Reconnect { at, what, attempt, reason });
            self.keep();
        }
    }

    /// A file has begun; `at` is the zero of its own time. Told again when that has become known better.
    pub fn file_began(&mut self, file: &Path, participant: &ParticipantId, tracks: Vec<MediaKind>, at: Duration) {
        let (path, offset) = (self.relative(file), self.seconds(at));
        let grows = |part: &&mut Part| part.path == path && part.duration.is_none();
        if let Some(part) = self.manifest.files.iter_mut().rev().find(grows) {
            (part.offset, part.tracks) = (offset, tracks);
            return self.keep();
        }
        let alike = |part: &&Part| part.participant == *participant && part.path.extension() == path.extension();
        let part = self.manifest.files.iter().filter(alike).map(|part| part.part).max().unwrap_or(0).saturating_add(1);
        let (participant, duration, complete) = (participant.clone(), None, false);
        self.manifest.files.push(Part { path, participant, part, tracks, offset, duration, complete });
        self.keep();
    }

    /// A file with the mix of everybody has begun; told again as with [`Self::file_began`].
    pub fn mix_began(&mut self, file: &Path, output: &str, tracks: Vec<MediaKind>, at: Duration) {
        let (path, offset, output) = (self.relative(file), self.seconds(at), output.to_owned());
        let grows = |part: &&mut MixPart| part.path == path && part.duration.is_none();
        if let Some(part) = self.manifest.mixes.iter_mut().rev().find(grows) {
            (part.offset, part.tracks) = (offset, tracks);
            return self.keep();
        }
        let earlier = self.manifest.mixes.iter().filter(|part| part.output == output);
        let part = earlier.map(|part| part.part).max().unwrap_or(0).saturating_add(1);
        self.manifest.mixes.push(MixPart { path, output, part, tracks, offset, duration: None, complete: false });
        self.keep();
    }

    /// Nothing more is written to a file. Files that have not begun here are not known.
    pub fn file_ended(&mut self, file: &Path, length: Duration, complete: bool) {
        let path = self.relative(file);
        let duration = Some(millis(length.as_secs_f64()));
        if let Some(part) = self.manifest.files.iter_mut().rev().find(|part| part.path == path) {
            (part.duration, part.complete) = (duration, complete);
        } else if let Some(part) = self.manifest.mixes.iter_mut().rev().find(|part| part.path == path) {
            (part.duration, part.complete) = (duration, complete);
        } else {
            return;
        }
        self.keep();
    }

    /// The session is over.
    pub async fn end(mut self, at: Duration) {
        self.manifest.ended = Some(self.seconds(at));
        self.keep();
        self.keeper.finish().await;
    }

    fn visit(&mut self, id: &ParticipantId) -> Option<&mut Visit> {
        let participant = self.manifest.participants.iter_mut().find(|participant| participant.id == *id)?;
        participant.visits.last_mut().filter(|visit| visit.left.is_none())
    }

    fn relative(&self, file: &Path) -> PathBuf {
        relative(file, durable::parent(self.keeper.path()))
    }
}

/// Whole milliseconds: finer figures would only look exact.
fn millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[tokio::test]
    async fn a_session_is_told_on_its_own_clock_and_goes_on_after_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.json");
        let (alice, started) = (ParticipantId::new("alice"), "2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap());
        let mut chronicle = Chronicle::begin(path.clone(), "r", started, at(100.0)).unwrap();
        chronicle.joined(&alice, at(101.0));
        chronicle.track(&alice, (MediaKind::Video, Codec::Vp8, Ssrc(7)), at(101.5));
        chronicle.flows(&alice, MediaKind::Video, false, at(104.0));
        chronicle.flows(&alice, MediaKind::Video, true, at(105.0));
        let file = directory.path().join("alice.mkv");
        chronicle.file_began(&file, &alice, vec![MediaKind::Video], at(101.5));
        chronicle.file_began(&file, &alice, vec![MediaKind::Video], at(101.6004));
        chronicle.file_ended(&file, at(3.0), true);
        chronicle.file_began(&directory.path().join("alice.part2.mkv"), &alice, vec![MediaKind::Video], at(105.1));
        chronicle.mix_began(&directory.path().join("all.mp4"), "all.mp4", vec![MediaKind::Audio], at(106.0));
        let Chronicle { keeper, .. } = chronicle;
        keeper.finish().await;
        let manifest = Manifest::read(&path).unwrap();
        let visit = &manifest.participants[0].visits[0];
        assert_eq!((visit.joined, visit.left), (1.0, None));
        assert_eq!(visit.tracks[0].pauses, [Pause { from: 4.0, to: Some(5.0) }]);
        let parts: Vec<_> = manifest.files.iter().map(|part| (part.part, part.offset, part.duration)).collect();
        assert_eq!(parts, [(1, 1.6, Some(3.0)), (2, 5.1, None)]);
        assert_eq!((manifest.files[0].path.as_path(), manifest.ended), (Path::new("alice.mkv"), None));

        let later = started + jiff::SignedDuration::from_secs(60);
        let mut chronicle = Chronicle::begin(path.clone(), "r", later, at(3.0)).unwrap();
        chronicle.joined(&alice, at(4.0));
        chronicle.mix_began(&directory.path().join("all.part2.mp4"), "all.mp4", vec![MediaKind::Audio], at(5.0));
        chronicle.file_ended(&directory.path().join("all.part2.mp4"), at(4.5), true);
        chronicle.end(at(10.0)).await;
        let manifest = Manifest::read(&path).unwrap();
        let visits = &manifest.participants[0].visits;
        assert_eq!((visits[0].left, visits[0].reason.as_deref()), (Some(60.0), Some("the bridge was killed")));
        assert_eq!((visits[1].joined, &manifest.restarts[..], manifest.ended), (61.0, &[60.0][..], Some(67.0)));
        assert_eq!(manifest.files.len(), 2);
        let mixes = manifest.mixes.iter().map(|part| (part.part, part.offset, part.duration, part.complete));
        assert_eq!(mixes.collect::<Vec<_>>(), [(1, 6.0, None, false), (2, 62.0, Some(4.5), true)]);
    }
}
