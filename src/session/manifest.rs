//! The manifest: who was there, what they sent, and which files have it, on one clock. Pure data; `docs/session.md` is for readers.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::terms::{Codec, MediaKind, ParticipantId, Ssrc};

/// The version of the manifest's form: readers refuse another one.
pub const FORMAT: u32 = 1;

/// A manifest of more bytes is not ours.
const LARGEST: u64 = 64 << 20;

/// A session. Every time is in seconds since `started`, on one clock that nothing adjusts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The room.
    pub room: String,
    /// The zero of the session's clock.
    pub started: Timestamp,
    /// When it ended; nothing while it runs, and after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<f64>,
    /// Everybody who was there, in the order in which they came.
    pub participants: Vec<Participant>,
    /// Every file of a participant, in the order in which they began.
    pub files: Vec<Part>,
    /// Every file of everybody together, in the order in which they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixes: Vec<MixPart>,
    /// When a connection was lost.
    #[serde(default)]
    pub reconnects: Vec<Reconnect>,
    /// When the bridge was started again after it had been killed.
    #[serde(default)]
    pub restarts: Vec<f64>,
}

/// Somebody in the room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Participant {
    /// Their id in the room.
    pub id: ParticipantId,
    /// Each time that they were there.
    pub visits: Vec<Visit>,
}

/// From a join to a leave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    /// When they came.
    pub joined: f64,
    /// When they went; nothing while they are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<f64>,
    /// Why they went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What they sent.
    pub tracks: Vec<Track>,
    /// What was lost of each kind, after retransmission.
    #[serde(default)]
    pub losses: BTreeMap<MediaKind, Loss>,
}

/// A camera, a microphone or a screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Sound or picture.
    pub kind: MediaKind,
    /// Its codec.
    pub codec: Codec,
    /// Its stream.
    pub ssrc: Ssrc,
    /// When its first packet came.
    pub started: f64,
    /// When nothing came: it was muted, or the network was down.
    #[serde(default)]
    pub pauses: Vec<Pause>,
}

/// Nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// When it was noticed, two seconds after the last packet.
    pub from: f64,
    /// When it went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
}

/// RTP packets of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// That came, retransmissions included.
    pub received: u64,
    /// That never came.
    pub lost: u64,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Where it is, seen from the manifest.
    pub path: PathBuf,
    /// Whose it is.
    pub participant: ParticipantId,
    /// The how manieth of this participant in this kind of file, from 1.
    pub part: u32,
    /// What it has.
    pub tracks: Vec<MediaKind>,
    /// The zero of its own time, exact to the millisecond.
    pub offset: f64,
    /// Seconds; nothing while it grows, and after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Whether its end was written.
    pub complete: bool,
}

/// A file with the mix of everybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MixPart {
    /// Where it is, seen from the manifest.
    pub path: PathBuf,
    /// The output that it belongs to, as it was asked for.
    pub output: String,
    /// The how manieth of this output, from 1.
    pub part: u32,
    /// What is in it.
    pub tracks: Vec<MediaKind>,
    /// The zero of its own time, exact to the millisecond.
    pub offset: f64,
    /// Seconds; nothing while it grows, and after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Whether its end was written.
    pub complete: bool,
}

/// A connection was lost and sought again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reconnect {
    /// When.
    pub at: f64,
    /// The room, or a participant.
    pub what: String,
    /// Counts from 1.
    pub attempt: u32,
    /// Why.
    pub reason: String,
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be opened.
    #[error("{}: {error}", path.display())]
    File {
        /// The manifest.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// It is something else.
    #[error("{}: not a session manifest: {reason}", path.display())]
    NotAManifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Manifest {
    /// An empty session.
    pub fn new(room: &str, started: Timestamp) -> Self {
        Self {
            format: FORMAT,
            room: room.to_owned(),
            started,
            ended: None,
            participants: Vec::new(),
            files: Vec::new(),
            mixes: Vec::new(),
            reconnects: Vec::new(),
            restarts: Vec::new(),
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It cannot be opened, or is not a manifest of this version.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let file = |error| ManifestError::File { path: path.to_owned(), error };
        let not = |reason: String| ManifestError::NotAManifest { path: path.to_owned(), reason };
        if std::fs::metadata(path).map_err(file)?.len() > LARGEST {
            return Err(not(format!("it has more than {LARGEST} bytes")));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(file)?).map_err(not)
    }

    /// Reads a manifest's text, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(u64::from(FORMAT)) {
            return Err(format!("its `format` is not {FORMAT}: it was written by another version of roomcast"));
        }
        let manifest: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Refuses times that no clock shows.
    fn check(&self) -> Result<(), String> {
        // A year is longer than any call.
        let is_time = |time: f64| (0.0..=366.0 * 86_400.0).contains(&time);
        for (path, offset, duration) in self.times() {
            if !is_time(offset) || !duration.is_none_or(is_time) {
                return Err(format!("the offset or duration of {} is not a time", path.display()));
            }
        }
        // Whoever takes the session up counts from the last one.
        if !self.restarts.iter().copied().all(is_time) {
            return Err("one of its restarts is not a time".to_owned());
        }
        Ok(())
    }

    /// Path, offset and duration of every file.
    pub(super) fn times(&self) -> impl Iterator<Item = (&Path, f64, Option<f64>)> {
        let files = self.files.iter().map(|part| (part.path.as_path(), part.offset, part.duration));
        files.chain(self.mixes.iter().map(|part| (part.path.as_path(), part.offset, part.duration)))
    }
}

/// How a path is written in a manifest that is in `directory`.
pub(super) fn relative(path: &Path, directory: &Path) -> PathBuf {
    let absolute = |path: &Path| {
        let mut plain = PathBuf::new();
        for component in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
            match component {
                Component::ParentDir => drop(plain.pop()),
                other => plain.push(other),
            }
        }
        plain
    };
    let (path, directory) = (absolute(path), absolute(directory));
    let common = path.components().zip(directory.components()).take_while(|(a, b)| a == b).count();
    let up = directory.components().skip(common).map(|_| Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_seen_from_the_manifest() {
        for (path, directory, expected) in [
            ("/rec/a.mkv", "/rec", "a.mkv"),
            ("/rec/x/a.mkv", "/rec", "x/a.mkv"),
            ("/other/a.mkv", "/rec/s", "../../other/a.mkv"),
            ("rec/a.mkv", "rec", "a.mkv"),
            ("a.mkv", ".", "a.mkv"),
            ("rec/../b/a.mkv", "rec", "../b/a.mkv"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(directory)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.json");
        let part = r#""participants":[],"files":[{"path":"a","participant":"a","part":1,"tracks":[],"offset":-1,"complete":true}]"#;
        let head = r#""room":"r","started":"2026-01-02T03:04:05Z""#;
        for (text, expected) in [
            ("", "EOF"),
            ("[]", "`format` is not 1"),
            (r#"{"format":2}"#, "`format` is not 1"),
            (r#"{"format":1}"#, "missing field"),
            (&format!(r#"{{"format":1,{head},{part}}}"#), "not a time"),
            (&"[".repeat(100_000), "recursion limit"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Manifest::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("session.json"), "{error}");
        }
        assert!(Manifest::read(&directory.path().join("none.json")).unwrap_err().to_string().contains("none.json"));
    }
}
