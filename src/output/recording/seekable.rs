//! A fragmented MP4 made into a plain one, index first: its streams are copied, and the file changes its form in one moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::naming::with_stem;
use crate::durable;
use crate::media::remux::remux;
use crate::media::template::Ends;

/// How long it may take; a disk that is slower leaves the fragmented file, which plays as well.
const REMUX: Duration = Duration::from_secs(120);

/// The copy, which is removed unless it takes the original's place.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Puts the copy in the original's place when the disk has all of it: otherwise a power cut could leave neither.
async fn replace(copy: &Path, path: &Path) -> std::io::Result<()> {
    let (copy, path) = (copy.to_owned(), path.to_owned());
    let replacing =
        tokio::task::spawn_blocking(move || durable::data(&copy).and_then(|()| std::fs::rename(&copy, &path)));
    replacing.await.map_err(std::io::Error::other)?
}

/// Makes the file seekable, or leaves it as it is and says why.
pub(super) async fn make(path: &Path, ends: Ends) {
    let copy = Copy(with_stem(path, |stem| format!(".{stem}.seekable")));
    let reason = match tokio::time::timeout(REMUX, remux("remux-mp4", ends, path, &copy.0, |_| {})).await {
        Ok(Ok(())) => match replace(&copy.0, path).await {
            Ok(()) => return,
            Err(error) => error.to_string(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the seekable copy was not finished in {REMUX:?}"),
    };
    tracing::warn!(file = %path.display(), reason, "could not be made seekable: it stays fragmented");
}
