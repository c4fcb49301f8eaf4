//! Which files a recording begins, what they are called, and how each comes to its end.

use std::path::PathBuf;
use std::time::Duration;

use super::super::OutputError;
use super::super::players::Play;
use super::super::streams::Forms;
use super::ahead::{self, Ahead, SETTLED};
use super::fitting;
use super::naming::Naming;
use super::part::Part;
use super::reel::tell_began;
use super::{Recording, Reel};
use crate::probe::{self, Source, Wanted};

/// How long the first frames may take to be on the disk.
const FIRST_FRAMES: Duration = Duration::from_secs(15);

impl Recording<'_> {
    /// Begins the next file, which may take the place of one that was written ahead.
    pub(super) async fn open(&mut self, at: u64, video: bool, audio: bool, reel: &mut Reel) -> Result<(), OutputError> {
        self.ahead.take_if(|ahead| !ahead.has_begun());
        let forms = self.known.of(video, audio);
        let replaced = self.ahead.as_mut().and_then(Ahead::claim);
        if self.ahead.is_some() {
            self.settled.get_or_insert(tokio::time::Instant::now() + SETTLED);
        }
        let part = self.begin(at, forms, replaced, reel).await?;
        if part.name().is_none() {
            self.prove(part.path().to_owned(), Wanted { video, audio });
        }
        self.part = Some(part);
        Ok(())
    }

    /// Begins a file.
    pub(super) async fn begin(
        &mut self,
        at: u64,
        forms: Forms,
        replaced: Option<PathBuf>,
        reel: &mut Reel,
    ) -> Result<Part, OutputError> {
        let late = self.output.clock.running_time().nseconds().saturating_sub(at);
        let start = jiff::Timestamp::now() - Duration::from_nanos(late);
        let session = &self.output.session;
        // What a manifest names keeps its name, and so does what a killed bridge has left.
        let aside = !(session.resume || session.manifest);
        let naming = reel.naming.get_or_insert_with(|| Naming::new(self.file, &session.room, aside));
        fitting::check(self.file.container, &forms)?;
        let (path, name) = match replaced {
            Some(name) => (ahead::create_beside(&name)?, name),
            None => naming.create(start).map(|path| (path.clone(), path))?,
        };
        if self.former.is_some() {
            tracing::info!(output = %self.output.spec, file = %name.display(), "the recording goes on in a further file");
        }
        let template = (self.file.container, self.file.template());
        let mut part = Part::open(template, &path, &self.output.clock, &forms, start, at).await?;
        if path == name {
            tell_began(self.output, name, Duration::from_nanos(at)).await;
        } else {
            // Until it has its name, what has the name began when it was said.
            part.call(name);
        }
        Ok(part)
    }

    /// Proves that the first file plays.
    pub(super) fn prove(&mut self, path: PathBuf, wanted: Wanted) {
        if !std::mem::replace(&mut self.proven, true) {
            self.proof = Some(Box::pin(async move {
                probe::first_frames(Source::File(path.clone()), wanted, FIRST_FRAMES).await?;
                Ok(Play::file(&path))
            }));
        }
    }

    /// Its files are complete now, or are about to be.
    pub(super) fn hand_over(&mut self, reel: &mut Reel) {
        self.finish_former(reel);
        if let Some(part) = self.part.take() {
            reel.finishing.spawn(part.finish(self.now_or_end()));
        } else if let Some(ahead) = self.ahead.take() {
            ahead.hand_over(reel, self.now_or_end());
        }
    }

    /// The file before ends where the one after it begins.
    pub(super) fn finish_former(&mut self, reel: &mut Reel) {
        if let Some(part) = self.former.take() {
            reel.finishing.spawn(part.finish(self.part.as_ref().map_or_else(|| self.now_or_end(), Part::from)));
        }
    }

    fn now_or_end(&self) -> u64 {
        self.end.unwrap_or_else(|| self.output.clock.running_time().nseconds())
    }
}
