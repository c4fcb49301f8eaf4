//! What the room tells about its recordings, so that they can be judged when they are finished.

use std::path::Path;
use std::time::Duration;

use super::super::events::Event;
use super::super::verify::{Announced, Began, REPORT, Verified, Verifier, When};
use super::{BridgeConfig, Room};
use crate::output::{self, OutputSpec, Stream};

/// The verifier that the configuration asks for.
pub(super) fn verifier(config: &BridgeConfig) -> Option<Verifier> {
    let how = config.verify.clone().filter(|how| how.when != When::Never)?;
    let other_reports = [&config.report, &config.manifest].into_iter().flatten();
    let taken = other_reports.filter(|path| path.ends_with(REPORT)).map(|path| output::path_claim(path)).collect();
    Some(Verifier::new(how, config.room.room(), config.canvas.fps.into(), taken))
}

impl Room {
    /// A file of a recording has begun, `at` on our clock.
    pub(super) fn watch_file(&mut self, output: &str, path: &Path, at: Duration) {
        let Some((outputs, _)) = &self.outputs else { return };
        let (Some(verifier), Some(spec)) =
            (&mut self.verifier, outputs.running().find(|spec| spec.to_string() == output))
        else {
            return;
        };
        let late = Duration::from(self.clock.running_time()).saturating_sub(at);
        let began = Began {
            output: output.to_owned(),
            kinds: spec.tracks.iter().map(Stream::kind).collect(),
            steady: is_steady(spec),
            at,
            started: jiff::Timestamp::now() - late,
            // What was lost at this very moment may be known a little later.
            lost: self.lost_before,
            left_out: 0,
        };
        verifier.began(path, began);
    }

    /// What was lost so far before it was encoded.
    pub(super) fn lost(&self) -> Announced {
        Announced { pictures: self.mix.frames().1, sound: self.mix.sound_lost() }
    }

    pub(super) async fn tell_verdict(&mut self, verified: Verified) {
        self.tell(Event::Verified(Box::new(verified))).await;
    }
}

/// The mix never pauses. What participants send does, and what is made of one of them alone depends on that.
fn is_steady(spec: &OutputSpec) -> bool {
    !spec.is_instance() && !spec.tracks.iter().any(Stream::is_copied)
}

/// The next verdict while the call runs.
pub(super) async fn next(verifier: &mut Option<Verifier>) -> Verified {
    match verifier {
        Some(verifier) => verifier.next().await,
        None => std::future::pending().await,
    }
}
