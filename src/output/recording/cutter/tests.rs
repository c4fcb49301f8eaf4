use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// A stream of pictures 40 ms apart and sound 20 ms apart that comes 200 ms later than the pictures of its time, like the mix.
/// Pictures answer to `Ask` as an encoder does; times are in ms.
struct Bench {
    cutter: Cutter<()>,
    keyframe_at: Vec<u64>,
    /// What each file got: kind and time in ms.
    files: Vec<Vec<(MediaKind, u64)>>,
    closed: usize,
    asked: usize,
    ended: Vec<MediaKind>,
}

impl Bench {
    fn new(video: bool, audio: bool, split: Option<Split>) -> Self {
        let cutter = Cutter::new(video, audio, true, split, 0);
        Self { cutter, keyframe_at: vec![0], files: Vec::new(), closed: 0, asked: 0, ended: Vec::new() }
    }

    fn picture(&mut self, ms: u64, form: u32) {
        let due = self.keyframe_at.iter().any(|at| *at <= ms);
        self.keyframe_at.retain(|at| *at > ms);
        self.unit(MediaKind::Video, ms, due, form);
    }

    fn sound(&mut self, ms: u64) {
        self.unit(MediaKind::Audio, ms, true, 0);
    }

    fn unit(&mut self, kind: MediaKind, ms: u64, keyframe: bool, form: u32) {
        self.late(kind, ms, ms, keyframe, form);
    }

    /// What was taken at `ms` comes at `arrival`.
    fn late(&mut self, kind: MediaKind, ms: u64, arrival: u64, keyframe: bool, form: u32) {
        let (time, arrival) = (ms * MS, arrival * MS);
        let steps = self.cutter.take(Unit { kind, time, arrival, keyframe, bytes: 1000, form, payload: () });
        self.obey(steps);
    }

    fn obey(&mut self, steps: Vec<Step<()>>) {
        for step in steps {
            match step {
                Step::Open { .. } => self.files.push(Vec::new()),
                Step::Give(unit) => self.files.last_mut().unwrap().push((unit.kind, unit.time / MS)),
                Step::GiveFormer(unit) => {
                    let former = self.files.len() - 2;
                    assert!(self.closed <= former, "given to a file that was closed");
                    self.files[former].push((unit.kind, unit.time / MS));
                }
                Step::Close => self.closed += 1,
                Step::End(kind) => self.ended.push(kind),
                Step::Ask(at) => {
                    self.asked += 1;
                    self.keyframe_at.push(at.div_ceil(MS));
                }
            }
        }
    }

    /// Plays from `from` to `until`, in ms.
    fn play(&mut self, from: u64, until: u64) {
        for ms in (from..until).step_by(20) {
            if ms % 40 == 0 {
                self.picture(ms, 0);
            }
            if ms >= from + 200 || (from > 0 && ms >= 200) {
                self.sound(ms - 200);
            }
        }
    }

    fn times(&self, kind: MediaKind) -> Vec<Vec<u64>> {
        let of = |file: &Vec<(MediaKind, u64)>| file.iter().filter(|unit| unit.0 == kind).map(|unit| unit.1).collect();
        self.files.iter().map(of).collect()
    }

    /// Everything from the first to the last, each once and in order.
    fn assert_whole(&self, kind: MediaKind, step: u64) {
        let all = self.times(kind).concat();
        for pair in all.windows(2) {
            assert_eq!(pair[1] - pair[0], step, "{kind}: {all:?}");
        }
        assert!(!all.is_empty());
    }
}

#[test]
fn files_of_a_length_have_every_picture_and_sound_once_and_begin_with_a_keyframe() {
    let mut bench = Bench::new(true, true, Some(Split::Time(Duration::from_secs(1))));
    bench.play(0, 3500);
    let steps = bench.cutter.rest();
    bench.obey(steps);
    assert_eq!(bench.files.len(), 4);
    bench.assert_whole(MediaKind::Video, 40);
    bench.assert_whole(MediaKind::Audio, 20);
    let (video, audio) = (bench.times(MediaKind::Video), bench.times(MediaKind::Audio));
    for file in 0..4 {
        // 40 ms pictures: each second is one.
        assert_eq!((video[file][0], audio[file][0]), (file as u64 * 1000, file as u64 * 1000));
    }
    // Asked for in advance, and never again.
    assert_eq!((bench.asked, bench.closed), (4, 3));
}

#[test]
fn a_size_ends_a_file_before_it_is_reached() {
    let mut bench = Bench::new(true, true, Some(Split::Size(300_000)));
    bench.play(0, 20_000);
    assert!(bench.files.len() >= 3, "{}", bench.files.len());
    for file in &bench.files {
        assert!(file.len() <= 300, "{}", file.len());
    }
    bench.assert_whole(MediaKind::Video, 40);
    bench.assert_whole(MediaKind::Audio, 20);
}

#[test]
fn another_form_begins_a_file_with_its_first_picture() {
    let mut bench = Bench::new(true, true, None);
    bench.play(0, 1000);
    bench.keyframe_at.push(1000);
    bench.picture(1000, 1);
    for ms in (1020..2000).step_by(20) {
        if ms % 40 == 0 {
            bench.picture(ms, 1);
        }
        bench.sound(ms - 200);
    }
    assert_eq!(bench.files.len(), 2);
    assert_eq!(bench.times(MediaKind::Video)[1][0], 1000);
    bench.assert_whole(MediaKind::Video, 40);
    // One piece of sound belongs to each 20 ms: what came after the cut and is older went into the first file.
    assert_eq!(bench.times(MediaKind::Audio)[1][0], 1000);
}

#[test]
fn sound_alone_is_cut_anywhere() {
    let mut bench = Bench::new(false, true, Some(Split::Time(Duration::from_secs(1))));
    (0..150).for_each(|number| bench.sound(number * 20));
    assert_eq!(bench.files.len(), 3);
    bench.assert_whole(MediaKind::Audio, 20);
}

#[test]
fn a_stream_that_stalls_does_not_hold_up_the_other_and_comes_back_in_the_next_file() {
    let mut bench = Bench::new(true, true, None);
    bench.play(0, 1000);
    (40..250).for_each(|number| bench.sound(number * 20));
    assert_eq!(bench.ended, [MediaKind::Video]);
    // The camera is back: its first picture is a keyframe or is asked for.
    bench.picture(5000, 0);
    assert_eq!(bench.files.len(), 1);
    assert_eq!(bench.asked, 1);
    bench.sound(5000);
    bench.picture(5040, 0);
    assert_eq!(bench.files.len(), 2);
    bench.sound(5020);
    bench.sound(5040);
    bench.assert_whole(MediaKind::Audio, 20);
}

#[test]
fn a_keyframe_that_does_not_come_holds_sound_no_longer_than_it_may() {
    let mut bench = Bench::new(true, true, Some(Split::Time(Duration::from_secs(1))));
    bench.play(0, 400);
    for ms in (400..9000).step_by(20) {
        if ms % 40 == 0 {
            bench.unit(MediaKind::Video, ms, false, 0);
        }
        bench.sound(ms - 200);
    }
    assert_eq!(bench.files.len(), 1);
    let last = bench.times(MediaKind::Audio)[0].last().copied().unwrap();
    assert!((5700..9000).contains(&last), "{last}");
    assert!((7..=9).contains(&bench.asked), "{}", bench.asked);
    bench.assert_whole(MediaKind::Audio, 20);
}

#[test]
fn the_end_comes_when_every_stream_has_reached_it() {
    let mut bench = Bench::new(true, true, None);
    bench.play(0, 1000);
    bench.cutter.end(1000 * MS);
    bench.picture(1000, 0);
    assert!(!bench.cutter.is_over());
    bench.picture(1040, 0);
    for ms in (800..=1020).step_by(20) {
        bench.sound(ms);
    }
    assert!(bench.cutter.is_over());
    assert_eq!(bench.times(MediaKind::Video).concat().last(), Some(&1000));
    assert_eq!(bench.times(MediaKind::Audio).concat().last(), Some(&1000));
    for copies in [false, true] {
        let mut nothing: Cutter<()> = Cutter::new(true, false, copies, None, 0);
        nothing.end(SECOND);
        assert_eq!(nothing.is_over(), !copies, "somebody's may still come");
    }
}

#[test]
fn a_recording_begins_with_its_first_picture_however_late_older_sound_is() {
    let mut bench = Bench::new(true, true, None);
    bench.picture(100, 0);
    for ms in (0..400).step_by(20) {
        bench.sound(ms);
    }
    assert_eq!(bench.times(MediaKind::Audio)[0][0], 100);
}

/// What waited for its time comes all at once, and one kind behind the other.
#[test]
fn three_seconds_of_pictures_in_front_of_their_sound_are_no_stall() {
    for first in [MediaKind::Video, MediaKind::Audio] {
        let mut bench = Bench::new(true, true, None);
        let second = if first == MediaKind::Video { MediaKind::Audio } else { MediaKind::Video };
        for (kind, arrival) in [(first, 3000), (second, 3030)] {
            let step = if kind == MediaKind::Video { 40 } else { 20 };
            for ms in (0..=3000).step_by(step) {
                bench.late(kind, ms, arrival, kind == MediaKind::Audio || ms == 0, 0);
            }
        }
        assert_eq!((bench.ended.as_slice(), bench.files.len()), ([].as_slice(), 1), "{first} first");
        assert_eq!(bench.files[0].len(), 76 + 151, "{first} first");
    }
}
