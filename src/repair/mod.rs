//! Recordings of a run that was killed, made complete and seekable.
//!
//! What is on the disk after a crash plays from the beginning, but has no index and no length: a player cannot seek in it, an
//! editor may refuse it. The streams are copied into a new file beside the old one, which takes its place only after it was
//! read again and holds as much. Nothing is encoded, and nothing that could be read is lost.

mod boxes;
mod contents;
mod ebml;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::contents::Contents;
use crate::durable;
use crate::media::remux::{RemuxError, remux};
use crate::output::beside;

/// A file that changed this recently is being written.
const QUIET: Duration = Duration::from_secs(3);

/// How much shorter than what could be read a copy may be: less than a fragment.
const SHORTER: Duration = Duration::from_secs(1);

/// What was to be done, and was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It had its end and its index already: it was not touched.
    Complete,
    /// It has them now.
    Repaired {
        /// How long it is.
        duration: Duration,
    },
}

/// Why a recording was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Its name does not end like that of a recording.
    #[error("this is no recording: its name ends in none of .mkv, .mp4, .webm")]
    NotARecording,
    /// Somebody may be writing it.
    #[error("it was written to a moment ago: stop the bridge that writes it, or use --force")]
    InUse,
    /// Nothing in it can be read.
    #[error("nothing in it can be read: {0}")]
    Unreadable(String),
    /// The copy holds less than the original, which therefore stays.
    #[error("the copy would be {copy:?} long, and {original:?} can be read: it was left as it is")]
    Shorter {
        /// What the copy holds.
        copy: Duration,
        /// What the original holds.
        original: Duration,
    },
    /// The streams could not be copied.
    #[error("its streams could not be copied: {0}")]
    Copy(#[from] RemuxError),
    /// The file system refused something.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The form of a recording, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Matroska,
    Mp4,
    WebM,
}

impl Form {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "mkv" => Some(Self::Matroska),
            "mp4" => Some(Self::Mp4),
            "webm" => Some(Self::WebM),
            _ => None,
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Matroska => "remux-mkv",
            Self::Mp4 => "remux-mp4",
            Self::WebM => "remux-webm",
        }
    }
}

/// The recordings in a directory and below it, in the order of their names. Hidden files are passed over.
///
/// # Errors
/// What the file system says about the directory itself; what is below and cannot be read is passed over.
pub fn recordings(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Links are not followed: one that leads upwards would never end.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(recordings(&path).unwrap_or_default()),
            Ok(kind) if kind.is_file() && Form::of(&path).is_some() => found.push(path),
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}

/// Makes one recording complete and seekable. With `force`, one that was written to a moment ago, too. `progress` is told
/// the bytes that were read of it.
///
/// # Errors
/// [`RepairError`]: the recording is as it was.
pub async fn repair(path: &Path, force: bool, progress: impl Fn(u64)) -> Result<Outcome, RepairError> {
    let form = Form::of(path).ok_or(RepairError::NotARecording)?;
    let metadata = std::fs::metadata(path)?;
    let age = metadata.modified().ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
    if !force && age.is_some_and(|age| age < QUIET) {
        return Err(RepairError::InUse);
    }
    // What was to take its place, when the bridge was killed, holds no more.
    std::fs::remove_file(beside(path)).ok();
    let complete = match form {
        Form::Mp4 => boxes::is_plain(path)?,
        Form::Matroska | Form::WebM => ebml::has_end(path)?,
    };
    if complete {
        return Ok(Outcome::Complete);
    }
    let before = Contents::read(path).await?;
    // Beside the original, so that it can take its place at once; gone again whatever happens.
    let copy = tempfile::Builder::new()
        .prefix(".repair-")
        .suffix(&format!(".{}", path.extension().unwrap_or_default().to_string_lossy()))
        .tempfile_in(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    remux(form.template(), before.ends, path, copy.path(), progress).await?;
    let after = Contents::read(copy.path()).await?;
    let copied = after.duration.unwrap_or_default();
    if let Some(original) = before.duration.filter(|original| copied + SHORTER < *original) {
        return Err(RepairError::Shorter { copy: copied, original });
    }
    std::fs::set_permissions(copy.path(), metadata.permissions())?;
    copy.as_file().sync_all()?;
    copy.persist(path).map_err(|error| error.error)?;
    durable::name(path)?;
    Ok(Outcome::Repaired { duration: copied })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_found_below_and_hidden_files_and_links_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("b/c")).unwrap();
        for name in ["b/c/deep.MKV", "call.mp4", "web.webm", ".repair-1.mp4", "notes.txt"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("b/up")).unwrap();
        let found: Vec<_> =
            recordings(root).unwrap().into_iter().map(|path| path.strip_prefix(root).unwrap().to_owned()).collect();
        assert_eq!(found, ["b/c/deep.MKV", "call.mp4", "web.webm"].map(PathBuf::from));
    }

    #[tokio::test]
    async fn what_is_no_recording_is_left_alone_with_a_reason() {
        crate::media::elements::init().unwrap();
        let directory = tempfile::tempdir().unwrap();
        for (name, text, expected) in [
            ("x.avi", "", "no recording"),
            ("x.mkv", "not Matroska at all", "can be read"),
            ("empty.mp4", "", "can be read"),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            let error = repair(&path, true, |_| {}).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let fresh = directory.path().join("x.mkv");
        assert!(matches!(repair(&fresh, false, |_| {}).await, Err(RepairError::InUse)));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3, "nothing is left over");
    }
}
