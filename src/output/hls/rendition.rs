//! One media playlist and its files, written piece by piece as the muxer gives them.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::directory::{Directory, INDEX, is_ours};
use super::playlist::{Kind, Part, Playlist, Report, Segment};

/// Segments that have left the playlist stay so long for those who have just read it.
const GRACE: usize = 4;

/// Parts are listed for three target durations; their files stay for as many segments and the grace.
const PARTS: usize = 3 + GRACE;

/// A piece of the muxer's: a fragment, or with low latency a chunk of one.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// `ftyp` and `moov`, before the first piece and when the coding changes.
    pub(super) header: Option<Vec<u8>>,
    /// `moof` and `mdat`.
    pub(super) bytes: Vec<u8>,
    /// Its length.
    pub(super) duration: Duration,
    /// It begins a fragment, with a keyframe.
    pub(super) begins: bool,
    /// A segment ends with it.
    pub(super) ends: bool,
}

/// What segments are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// MPEG-TS.
    TransportStream,
    /// Fragmented MP4, with a map in front.
    Fragments,
}

impl Form {
    const fn ending(self) -> &'static str {
        match self {
            Self::TransportStream => "ts",
            Self::Fragments => "m4s",
        }
    }
}

/// One media playlist.
#[derive(Debug)]
pub(super) struct Rendition {
    directory: Directory,
    form: Form,
    /// In front of its files' names.
    prefix: String,
    /// Its playlist's file.
    pub(super) name: String,
    list: usize,
    playlist: Playlist,
    /// When it began, and how much there is.
    start: Option<Timestamp>,
    written: Duration,
    bytes: Vec<u8>,
    map: Option<(String, Vec<u8>)>,
    discontinuity: bool,
    retired: VecDeque<Segment>,
    parts: VecDeque<Vec<Part>>,
    /// Segments that are complete.
    pub(super) complete: u64,
    /// Most bits per second over one segment.
    pub(super) peak: u64,
}

impl Rendition {
    /// `playlist` is empty.
    pub(super) fn new(
        (directory, form): (Directory, Form),
        rendition: Option<&str>,
        list: usize,
        playlist: Playlist,
    ) -> Self {
        let prefix = rendition.map(|rendition| format!("{rendition}-")).unwrap_or_default();
        let name = rendition.map_or_else(|| INDEX.to_owned(), |rendition| format!("{rendition}.m3u8"));
        Self {
            directory,
            form,
            prefix,
            name,
            list,
            playlist,
            start: None,
            written: Duration::ZERO,
            bytes: Vec::new(),
            map: None,
            discontinuity: false,
            retired: VecDeque::new(),
            parts: VecDeque::new(),
            complete: 0,
            peak: 0,
        }
    }

    /// The file of its playlist, until that is complete.
    pub(super) fn place(&self) -> String {
        if self.playlist.kind == Kind::Vod { unfinished(&self.name) } else { self.name.clone() }
    }

    /// Whether what was left is of the same kind and names nothing but our own files, which are deleted in their time.
    pub(super) fn could_go_on_with(&self, earlier: &Playlist) -> bool {
        let alike = |segment: &Segment| {
            let map = match self.form {
                Form::TransportStream => segment.map.is_empty(),
                Form::Fragments => is_ours(&segment.map),
            };
            map && segment.parts.iter().all(|part| is_ours(&part.uri))
        };
        let whole = |segment: &Segment| is_ours(&segment.uri) && segment.uri.ends_with(self.form.ending());
        (earlier.kind, earlier.part_target.is_some()) == (self.playlist.kind, self.playlist.part_target.is_some())
            && earlier.segments.iter().all(whole)
            && earlier.segments.iter().chain(&earlier.open).all(alike)
    }

    /// Every file that somebody who has read the playlist may ask for, and the playlist itself.
    pub(super) fn files(&self) -> impl Iterator<Item = String> {
        let of = |segment: &Segment| {
            let parts = segment.parts.iter().map(|part| part.uri.clone());
            [segment.uri.clone(), segment.map.clone()].into_iter().chain(parts).collect::<Vec<_>>()
        };
        self.playlist.segments.iter().flat_map(of).chain([self.place()])
    }

    /// Goes on with what an earlier attempt has left. What follows is another timeline (RFC 8216, section 6.2.1).
    pub(super) fn resume(&mut self, earlier: Playlist) -> Result<(), (PathBuf, io::Error)> {
        let part_target = self.playlist.part_target;
        self.playlist = Playlist { target: earlier.target.max(self.playlist.target), part_target, ..earlier };
        self.parts = self.playlist.segments.iter().map(|segment| segment.parts.clone()).collect();
        let number = self.playlist.next_sequence();
        if let Some(open) = &mut self.playlist.open {
            // Its parts were announced, so it is completed with what there is of it.
            let mut bytes = Vec::new();
            for part in &open.parts {
                let path = self.directory.path(&part.uri);
                bytes.extend(std::fs::read(&path).map_err(|error| (path, error))?);
            }
            open.uri = format!("{}segment{number}.{}", self.prefix, self.form.ending());
            self.bytes = bytes;
            self.close()?;
            self.complete = 0;
        }
        self.discontinuity = !self.playlist.segments.is_empty();
        Ok(())
    }

    /// The moment of the first piece.
    pub(super) fn begin(&mut self, wall: Timestamp) {
        self.start.get_or_insert(wall);
    }

    /// How far it is, for the other renditions.
    pub(super) fn report(&self) -> Option<Report> {
        let (segment, part) = self.playlist.last()?;
        Some(Report { uri: self.name.clone(), segment, part })
    }

    /// Writes a piece and the playlist with it.
    pub(super) fn push(&mut self, piece: Piece, reports: Vec<Report>) -> Result<(), (PathBuf, io::Error)> {
        if let Some(header) = piece.header {
            self.new_map(header)?;
        }
        if piece.begins && self.playlist.open.is_some() {
            self.close()?;
        }
        self.playlist.reports = reports;
        let number = self.playlist.next_sequence();
        if self.playlist.open.is_none() {
            let segment = self.new_segment(number);
            self.playlist.open = Some(segment);
        }
        let has_parts = self.playlist.part_target.is_some();
        let Some(open) = &mut self.playlist.open else { return Ok(()) };
        if has_parts {
            let uri = format!("{}segment{number}-part{}.m4s", self.prefix, open.parts.len());
            self.directory.write(&uri, &piece.bytes)?;
            // A stalled machine may be late with a keyframe; what was promised must hold all the same.
            self.playlist.part_target = self.playlist.part_target.max(Some(piece.duration));
            open.parts.push(Part { uri, duration: piece.duration, independent: piece.begins });
        }
        open.duration += piece.duration;
        self.written += piece.duration;
        self.bytes.extend_from_slice(&piece.bytes);
        if piece.ends {
            self.close()?;
        }
        if has_parts {
            let (number, part) =
                (self.playlist.next_sequence(), self.playlist.open.as_ref().map_or(0, |open| open.parts.len()));
            self.playlist.hint = Some(format!("{}segment{number}-part{part}.m4s", self.prefix));
        }
        self.publish()
    }

    /// Nothing follows.
    pub(super) fn end(&mut self) -> Result<(), (PathBuf, io::Error)> {
        if self.playlist.open.is_some() {
            self.close()?;
        }
        self.playlist.ended = true;
        self.publish()?;
        if self.playlist.kind == Kind::Vod {
            self.directory.remove(&unfinished(&self.name));
        }
        Ok(())
    }

    fn new_segment(&mut self, number: u64) -> Segment {
        let wall = self.start.unwrap_or_else(Timestamp::now);
        Segment {
            uri: format!("{}segment{number}.{}", self.prefix, self.form.ending()),
            duration: Duration::ZERO,
            start: wall.saturating_add(self.written).unwrap_or(wall),
            map: self.map.as_ref().map(|(name, _)| name.clone()).unwrap_or_default(),
            discontinuity: std::mem::take(&mut self.discontinuity),
            parts: Vec::new(),
        }
    }

    /// What a decoder needs first has its own name for each coding: players keep what they have read under a name.
    fn new_map(&mut self, header: Vec<u8>) -> Result<(), (PathBuf, io::Error)> {
        if self.map.as_ref().is_some_and(|(_, known)| *known == header) {
            return Ok(());
        }
        if self.playlist.open.is_some() {
            self.close()?;
        }
        self.discontinuity |= self.map.is_some();
        let name = format!("{}init{}.mp4", self.prefix, self.playlist.next_sequence());
        self.directory.write(&name, &header)?;
        self.map = Some((name, header));
        Ok(())
    }

    fn close(&mut self) -> Result<(), (PathBuf, io::Error)> {
        let Some(segment) = self.playlist.open.take() else { return Ok(()) };
        let bytes = std::mem::take(&mut self.bytes);
        self.peak = self.peak.max(per_second(8 * bytes.len() as u64, segment.duration));
        self.directory.write(&segment.uri, &bytes)?;
        self.parts.push_back(segment.parts.clone());
        self.playlist.push(segment);
        self.complete += 1;
        let gone = self.playlist.trim(self.list);
        self.retired.extend(gone);
        while self.retired.len() > GRACE {
            let Some(old) = self.retired.pop_front() else { break };
            self.directory.remove(&old.uri);
            let needed = self.retired.iter().chain(&self.playlist.segments).any(|segment| segment.map == old.map);
            if !needed && !old.map.is_empty() {
                self.directory.remove(&old.map);
            }
        }
        while self.parts.len() > PARTS {
            self.parts.pop_front().into_iter().flatten().for_each(|part| self.directory.remove(&part.uri));
        }
        Ok(())
    }

    fn publish(&self) -> Result<(), (PathBuf, io::Error)> {
        let playlist = &self.playlist;
        let mut text = playlist.to_string();
        if playlist.part_target.is_none() && playlist.open.is_some() {
            // Without parts, a segment in the making is nobody's business.
            text = Playlist { open: None, ..playlist.clone() }.to_string();
        }
        let place = if playlist.ended { self.name.clone() } else { self.place() };
        self.directory.write(&place, text.as_bytes())
    }
}

/// Where the playlist of a VOD stands until it is complete.
pub(super) fn unfinished(name: &str) -> String {
    format!("{name}.unfinished")
}

fn per_second(bits: u64, duration: Duration) -> u64 {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    (bits * 1000).checked_div(milliseconds).unwrap_or(0)
}
