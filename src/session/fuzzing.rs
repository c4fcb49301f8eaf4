//! A manifest that somebody else may have written: what `crate::fuzzing` calls for it.

use std::path::Path;

use super::manifest::{Manifest, relative};
use super::plan::{Found, Plan};
use crate::media::layout::{Layout, Size};

type Target = (&'static str, fn(&[u8]));

/// The targets, by name.
pub(crate) const TARGETS: &[Target] = &[("manifest", manifest)];

const CANVAS: Size = Size { width: 640, height: 360 };

fn manifest(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let read = match Manifest::parse(&text) {
        Ok(read) => read,
        Err(reason) => return assert!(!reason.is_empty()),
    };
    let again = serde_json::to_string(&read).map(|text| Manifest::parse(&text));
    assert!(matches!(again, Ok(Ok(again)) if again.files.len() == read.files.len()), "what we write, we can read");
    let parts = read.files.iter().enumerate();
    let found = parts.map(|(index, part)| {
        let length = (index as u64 + 1) * 3_600_000_000_000;
        (part, part.path.clone(), Found { video: index % 3 != 1, audio: index % 3 != 2, length })
    });
    let plan = Plan::new(&read, found.collect());
    assert!(plan.scenes.iter().all(|scene| scene.end <= plan.length));
    for time in [0, plan.length / 2, plan.length] {
        let seen = plan.seen_at(time);
        assert_eq!(plan.places(&seen, Layout::Grid, CANVAS).len(), plan.scenes.len());
    }
    for part in &read.files {
        let written = relative(&part.path, Path::new("/rec"));
        assert_eq!(relative(&Path::new("/rec").join(&written), Path::new("/rec")), written, "{}", part.path.display());
    }
}
