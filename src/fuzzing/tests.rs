//! Every seed, and a bounded number of what the mutator makes of them. The same inputs in each run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::mutator::Mutator;
use super::{TARGETS, run};

/// Mutated inputs per target; for a longer search `ROOMCAST_FUZZ_INPUTS`.
const INPUTS: usize = 10_000;

fn seeds_of(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

/// Seeds, then what becomes of them. A panic names the input.
fn search(target: &str) {
    let mut files: Vec<_> = seeds_of(target).read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let inputs = std::env::var("ROOMCAST_FUZZ_INPUTS").map_or(INPUTS, |inputs| inputs.parse().unwrap());
    let mut mutator = Mutator::new(seeds.clone());
    let mutated = std::iter::repeat_with(|| mutator.next_input()).take(inputs);
    for input in seeds.into_iter().chain(mutated) {
        if catch_unwind(AssertUnwindSafe(|| run(target, &input))).is_err() {
            panic!("the target {target} fails on b\"{}\"", input.escape_ascii());
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            search(stringify!($name));
        })*

        #[test]
        fn every_target_is_searched_here_and_by_libfuzzer() {
            let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            for name in names {
                assert!(seeds_of(name).join("../../fuzz_targets").join(format!("{name}.rs")).exists(), "{name}");
            }
        }
    };
}

targets! {
    mesh gstreamer notify simple_voice rmc gstrs whep whip room_url candidates
    sdp stun queue records rtp rtcp connection
    mesh_server gstreamer_server notify_server simple_voice_server gstrs_server http whip_http
    payloads splice reports
    template
    passthrough cutter hls_cuts playlist output_url names
    manifest
}
