//! `file:PATH.mkv`, or the bare path.

use std::path::PathBuf;

use super::settings::{Settings, split_query};
use super::tracks::Stream::{Aac, CopiedAudio, CopiedVideo, H264, Opus, Vp8};
use super::tracks::Tracks;
use super::{Destination, Parsed, SCHEMES};

/// A recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDestination {
    /// The file.
    pub path: PathBuf,
    /// Its form, from the path's ending.
    pub container: Container,
}

/// The form of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Matroska with H.264 and AAC, or whatever is copied.
    Matroska,
    /// Fragmented MP4 while it is written, a plain seekable MP4 after a clean stop.
    Mp4,
    /// WebM with VP8 and Opus, or what of a participant's codecs it may hold.
    WebM,
}

pub(super) fn parse(text: &str) -> Parsed {
    let (path, query) = split_query(text);
    let path = PathBuf::from(path);
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    let container = match ending.as_deref() {
        Some("mkv") => Container::Matroska,
        Some("mp4") => Container::Mp4,
        Some("webm") => Container::WebM,
        _ => return Err(format!("what this should be is not clear: use {SCHEMES}")),
    };
    let mut settings = Settings::new(query);
    let tracks = match container {
        Container::Matroska => Tracks::take(&mut settings, &[H264, Vp8, CopiedVideo], &[Aac, Opus, CopiedAudio]),
        Container::Mp4 => Tracks::take(&mut settings, &[H264, CopiedVideo], &[Aac, Opus, CopiedAudio]),
        Container::WebM => Tracks::take(&mut settings, &[Vp8, CopiedVideo], &[Opus, CopiedAudio]),
    }?;
    settings.end()?;
    Ok((Destination::File(FileDestination { path, container }), tracks))
}
