//! `hls:DIR?segment=SECONDS&list=COUNT`.

use std::path::PathBuf;

use super::settings::{Settings, split_query};
use super::tracks::{Stream, Tracks};
use super::{Destination, Parsed};

/// A directory with a playlist and its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HlsDestination {
    /// The directory of `index.m3u8` and the segments.
    pub directory: PathBuf,
    /// A segment's length in seconds.
    pub segment: u32,
    /// Segments in the playlist.
    pub list: u32,
}

pub(super) fn parse(rest: &str) -> Parsed {
    let (directory, query) = split_query(rest);
    if directory.is_empty() {
        return Err("the directory is missing: write hls:DIRECTORY".into());
    }
    let mut settings = Settings::new(query);
    let segment = settings.number("segment", 1..=60)?.unwrap_or(2);
    let list = settings.number("list", 3..=10_000)?.unwrap_or(6);
    let tracks = Tracks::take(&mut settings, &[Stream::H264, Stream::CopiedVideo], &[Stream::Aac])?;
    settings.end()?;
    Ok((Destination::Hls(HlsDestination { directory: directory.into(), segment, list }), tracks))
}
