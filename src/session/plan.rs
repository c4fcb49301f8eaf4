//! Which file is seen and heard when, and where on the canvas. Pure arithmetic; times in ns of the session's clock.

use std::path::PathBuf;

use super::manifest::{Manifest, Part};
use crate::media::layout::{Layout, Rect, Size};

/// A file, as it was found on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) video: bool,
    pub(super) audio: bool,
    pub(super) length: u64,
}

/// A file in the film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scene {
    pub(super) path: PathBuf,
    pub(super) video: bool,
    pub(super) audio: bool,
    /// The zero of its own time.
    pub(super) offset: u64,
    /// What comes later is not used: the file ends, or the same participant's next file begins.
    pub(super) end: u64,
    /// Participants stand in the order in which they came.
    seat: usize,
}

/// The whole film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) scenes: Vec<Scene>,
    pub(super) length: u64,
}

impl Plan {
    /// Puts the files that were found on one clock. Of several files at once a participant has the later one.
    pub(super) fn new(manifest: &Manifest, found: Vec<(&Part, PathBuf, Found)>) -> Self {
        let seat = |part: &Part| {
            let seat = manifest.participants.iter().position(|participant| participant.id == part.participant);
            seat.unwrap_or(manifest.participants.len())
        };
        let mut scenes: Vec<_> = found
            .into_iter()
            .map(|(part, path, Found { video, audio, length })| {
                let offset = nanoseconds(part.offset);
                Scene { path, video, audio, offset, end: offset + length, seat: seat(part) }
            })
            .collect();
        scenes.sort_by_key(|scene| (scene.seat, scene.offset));
        for index in 1..scenes.len() {
            let (earlier, later) = scenes.split_at_mut(index);
            if let (Some(earlier), Some(later)) = (earlier.last_mut(), later.first())
                && earlier.seat == later.seat
            {
                earlier.end = earlier.end.min(later.offset);
            }
        }
        let length = scenes.iter().map(|scene| scene.end).max().unwrap_or(0);
        Self { scenes, length }
    }

    /// Which scenes are seen at a moment, in the order of their places.
    pub(super) fn seen_at(&self, time: u64) -> Vec<usize> {
        let seen = |scene: &Scene| scene.video && (scene.offset..scene.end).contains(&time);
        self.scenes.iter().enumerate().filter(|(_, scene)| seen(scene)).map(|(index, _)| index).collect()
    }

    /// The place of each of these scenes; `None` for those who have none on this canvas.
    pub(super) fn places(&self, seen: &[usize], layout: Layout, canvas: Size) -> Vec<Option<Rect>> {
        let places = layout.arrange(canvas, seen.len());
        let place = |index: usize| seen.iter().position(|shown| *shown == index).and_then(|at| places.get(at).copied());
        (0..self.scenes.len()).map(place).collect()
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the manifest was checked: a time")]
    let milliseconds = (seconds * 1000.0).round() as u64;
    milliseconds * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::manifest::Participant;
    use crate::terms::{MediaKind, ParticipantId};

    const SECOND: u64 = 1_000_000_000;

    fn plan() -> Plan {
        let mut manifest = Manifest::new("r", "2026-01-02T03:04:05Z".parse().unwrap());
        for id in ["b", "a"] {
            manifest.participants.push(Participant { id: ParticipantId::new(id), visits: Vec::new() });
        }
        let parts: Vec<_> = [("a", 1.5, 3), ("b", 0.5, 4), ("a", 4.0, 2)]
            .into_iter()
            .map(|(id, offset, length)| {
                let part = Part {
                    path: format!("{id}.mkv").into(),
                    participant: ParticipantId::new(id),
                    part: 1,
                    tracks: vec![MediaKind::Video],
                    offset,
                    duration: None,
                    complete: true,
                };
                (part, length * SECOND)
            })
            .collect();
        let found = |(part, length): &(Part, u64)| Found { video: part.offset >= 0.0, audio: true, length: *length };
        Plan::new(&manifest, parts.iter().map(|part| (&part.0, part.0.path.clone(), found(part))).collect())
    }

    #[test]
    fn participants_stand_in_the_order_in_which_they_came_and_a_later_file_ends_an_earlier_one() {
        let plan = plan();
        let scenes: Vec<_> = plan.scenes.iter().map(|scene| (scene.seat, scene.offset, scene.end)).collect();
        assert_eq!(
            scenes,
            [(0, SECOND / 2, 9 * SECOND / 2), (1, 3 * SECOND / 2, 4 * SECOND), (1, 4 * SECOND, 6 * SECOND),]
        );
        assert_eq!(plan.length, 6 * SECOND);
    }

    #[test]
    fn the_canvas_is_shared_by_those_who_are_there() {
        let (plan, canvas) = (plan(), Size { width: 640, height: 360 });
        for (tenths, seen) in
            [(0, vec![]), (5, vec![0]), (15, vec![0, 1]), (40, vec![0, 2]), (45, vec![2]), (60, vec![])]
        {
            assert_eq!(plan.seen_at(tenths * SECOND / 10), seen, "{tenths}");
        }
        let places = plan.places(&[0, 2], Layout::Grid, canvas);
        assert_eq!(
            places.iter().map(|place| place.map(|place| place.x)).collect::<Vec<_>>(),
            [Some(0), None, Some(320)]
        );
        assert_eq!(plan.places(&[0, 2], Layout::Single, canvas)[2], None);
    }
}
