//! All renditions of one output: their playlists, and the one that lists them.

use std::io;
use std::path::PathBuf;

use tokio::sync::watch;

use super::directory::{Directory, INDEX};
use super::master::{Master, Picture, Variant};
use super::rendition::{Piece, Rendition};

/// One rendition, or several with a multivariant playlist.
#[derive(Debug)]
pub(super) struct Presentation {
    directory: Directory,
    tracks: Vec<Track>,
    /// With a multivariant playlist: whether sound alone is a choice.
    choice: Option<bool>,
    written: Option<Master>,
    /// How many segments every rendition has made at least.
    pub(super) complete: watch::Sender<u64>,
}

/// A rendition and what is said of it.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) rendition: Rendition,
    /// What is encoded at, in bits per second.
    pub(super) nominal: u64,
    /// Codecs and picture, once something has flowed.
    pub(super) known: Option<(String, Option<Picture>)>,
    pub(super) is_sound: bool,
}

impl Presentation {
    pub(super) fn new(directory: Directory, tracks: Vec<Track>, choice: Option<bool>) -> Self {
        Self { directory, tracks, choice, written: None, complete: watch::Sender::new(0) }
    }

    pub(super) fn track(&mut self, index: usize) -> Option<&mut Track> {
        self.tracks.get_mut(index)
    }

    /// Writes a piece of one rendition, and says in its playlist how far the others are.
    pub(super) fn push(&mut self, index: usize, piece: Piece) -> Result<(), (PathBuf, io::Error)> {
        let others = self.tracks.iter().enumerate().filter(|(other, _)| *other != index);
        let reports = others.filter_map(|(_, track)| track.rendition.report()).collect();
        if let Some(track) = self.tracks.get_mut(index) {
            track.rendition.push(piece, reports)?;
        }
        let complete = self.tracks.iter().map(|track| track.rendition.complete).min();
        self.complete.send_replace(complete.unwrap_or_default());
        self.list()
    }

    /// One rendition has ended.
    pub(super) fn end(&mut self, index: usize) -> Result<(), (PathBuf, io::Error)> {
        self.tracks.get_mut(index).map_or(Ok(()), |track| track.rendition.end())
    }

    /// Writes the multivariant playlist once everything is known, and again when a peak is higher than was said.
    fn list(&mut self) -> Result<(), (PathBuf, io::Error)> {
        let Some(audio_alone) = self.choice else { return Ok(()) };
        let known: Option<Vec<_>> = self.tracks.iter().map(|track| Some((track.is_sound, track.variant()?))).collect();
        let Some(known) = known else { return Ok(()) };
        let (audio, video): (Vec<_>, Vec<_>) = known.into_iter().partition(|(is_sound, _)| *is_sound);
        let only = |variants: Vec<(bool, Variant)>| variants.into_iter().map(|(_, variant)| variant);
        let master = Master { video: only(video).collect(), audio: only(audio).next(), audio_alone };
        if self.written.as_ref() != Some(&master) {
            self.directory.write(INDEX, master.to_string().as_bytes())?;
            self.written = Some(master);
        }
        Ok(())
    }
}

impl Track {
    fn variant(&self) -> Option<Variant> {
        let (codecs, picture) = self.known.clone()?;
        // An encoder with a buffer of one second may spend half as much again in a segment. What was said stays while it is true.
        let least = self.nominal + self.nominal / 2;
        let peak = [least, self.rendition.peak.next_multiple_of(100_000)].into_iter().max().unwrap_or(least);
        let uri = self.rendition.name.clone();
        Some(Variant { uri, codecs, peak, average: self.nominal, picture })
    }
}
