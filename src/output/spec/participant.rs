//! `{participant}` in an output: a pattern of which every participant gets an output of their own.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::settings::split_query;
use super::{Container, Destination, HlsFormat, OutputSpec, SpecError, Stream, Tracks, parse, parse_instance};
use crate::output::names;
use crate::terms::{Codec, MediaKind, ParticipantId};

/// What stands for a participant in an output.
const PLACE: &str = "{participant}";

/// What stays as it is in a URL: RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// RTP of one participant takes four ports: video, sound, and the RTCP of each.
const PORTS: u16 = 4;

/// More files of one participant, or more receivers of RTP at once, are a mistake.
const MOST: u16 = 10_000;

/// Whose an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The room's.
    Room,
    /// A pattern, of which there will be one for each participant.
    Pattern,
    /// One participant's.
    Participant,
}

impl Scope {
    /// What an output is as somebody asks for it.
    pub(super) fn of(text: &str) -> Self {
        if text.contains(PLACE) { Self::Pattern } else { Self::Room }
    }
}

/// What an output of participants takes: it copies what they send where its destination can and nothing else is asked for.
pub(super) fn copying(text: &str, mut tracks: Tracks) -> Tracks {
    let query = split_query(text).1;
    let copying = |key: &str| {
        let asked = url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == key);
        let joint = if query.is_empty() { '?' } else { '&' };
        if asked { None } else { parse(&format!("{text}{joint}{key}=copy")).ok().map(|(_, tracks)| tracks) }
    };
    if let Some(Tracks { video, .. }) = copying("video") {
        tracks.video = video;
    }
    if let Some(Tracks { audio, .. }) = copying("audio") {
        tracks.audio = audio;
    }
    tracks
}

impl Destination {
    /// Whether players find a stream of this codec in it.
    fn carries(&self, codec: Codec) -> bool {
        match self {
            Self::File(file) => match file.container {
                Container::Matroska => true,
                Container::Mp4 => codec != Codec::Vp8,
                Container::WebM => codec != Codec::H264,
                Container::Ogg => codec == Codec::Opus,
                Container::Wav => false,
            },
            Self::Hls(hls) if hls.format == HlsFormat::Ts => codec == Codec::H264,
            Self::Hls(_) => codec != Codec::Vp8,
            Self::TsSocket(_) | Self::TsUdp(_) | Self::Srt(_) | Self::Rtmp(_) => codec == Codec::H264,
            Self::Rtp(_) | Self::Whip(_) | Self::RtspServe(_) | Self::RtspPush(_) => true,
        }
    }
}

/// The directory above everything that depends on the participant.
pub(super) fn fixed(directory: &Path) -> &Path {
    let free = |path: &&Path| !path.to_string_lossy().contains(PLACE);
    let fixed = directory.ancestors().find(free).filter(|path| !path.as_os_str().is_empty());
    fixed.unwrap_or_else(|| Path::new("."))
}

impl OutputSpec {
    /// Whether it is a pattern of which every participant gets one.
    pub fn is_pattern(&self) -> bool {
        self.scope == Scope::Pattern
    }

    /// Whether it is one participant's: made by [`OutputSpec::instance`].
    pub fn is_instance(&self) -> bool {
        self.scope == Scope::Participant
    }

    /// What of it one participant gets who sends these codecs; `None` when they send nothing that it takes. What its destination cannot
    /// carry is encoded, unless a copy was asked for.
    ///
    /// # Errors
    /// A copy was asked for which the destination cannot carry.
    pub fn tracks_for(&self, codec: impl Fn(MediaKind) -> Option<Codec>) -> Result<Option<Tracks>, SpecError> {
        let choose = |wanted: Option<Stream>, instead: Option<Stream>| {
            if !matches!(self.destination, Destination::File(_)) && wanted.is_some_and(|stream| !stream.is_copied()) {
                // Players of what is live do not wait for a camera: they see black and hear silence.
                return Ok(wanted);
            }
            let (Some(stream), Some(codec)) = (wanted, wanted.and_then(|stream| codec(stream.kind()))) else {
                return Ok(None);
            };
            match instead.filter(|instead| !instead.is_copied()) {
                _ if !stream.is_copied() || self.destination.carries(codec) => Ok(Some(stream)),
                Some(instead) => Ok(Some(instead)),
                None => Err(self.refuse(format!(
                    "it cannot carry {codec} as it is: leave out {}=copy, or ask the room for another codec with --codecs",
                    stream.kind()
                ))),
            }
        };
        let tracks = Tracks {
            video: choose(self.tracks.video, self.encoded.video)?,
            audio: choose(self.tracks.audio, self.encoded.audio)?,
        };
        Ok(tracks.only(|_| true))
    }

    /// The directory of a pattern's files, above everything that depends on the participant; `None` when it writes none.
    pub fn session_directory(&self) -> Option<&Path> {
        match &self.destination {
            Destination::File(file) if self.is_pattern() => Some(fixed(super::parent(&file.path))),
            _ => None,
        }
    }

    /// Where the manifest of a room's session is that this output records: beside its files, above what changes from part to part and
    /// from participant to participant. With the room's name in the file's own, several rooms share a directory. `None` for what
    /// is live.
    pub fn manifest(&self, room: &str) -> Option<PathBuf> {
        let Destination::File(file) = &self.destination else { return None };
        let changes = |path: &&Path| {
            let keys = ["time", "index", "participant"];
            !names::keys(&path.to_string_lossy()).iter().any(|key| keys.contains(key))
        };
        let directory = super::parent(&file.path).ancestors().find(changes).filter(|path| !path.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new(".")).to_string_lossy();
        let name = if names::keys(&directory).contains(&"room") { "session.json" } else { "{room}.session.json" };
        Some(names::fill(&format!("{directory}/{name}"), &[("room", room)]))
    }

    /// The output of one participant, with these tracks: a file that does not exist yet (`NAME.part2.mkv` when `NAME.mkv`
    /// does), RTP to the first ports that are not `taken` (PORT, PORT+4, PORT+8 …).
    ///
    /// # Errors
    /// It is taken and there is no other, or what the participant's id makes of the pattern is none.
    pub fn instance(
        &self,
        participant: &ParticipantId,
        tracks: Tracks,
        taken: impl Fn(&Self) -> bool,
    ) -> Result<Self, SpecError> {
        for number in 0..MOST {
            let mut spec = parse_instance(&self.text_of(participant, number))?;
            spec.tracks = tracks;
            let exists = match &spec.destination {
                Destination::File(file) => std::fs::symlink_metadata(&file.path).is_ok(),
                _ => false,
            };
            if !exists && !taken(&spec) {
                return Ok(spec);
            }
            if !matches!(self.destination, Destination::File(_) | Destination::Rtp(_)) {
                return Err(spec.refuse("it is still in use"));
            }
        }
        Err(self.refuse(format!("there are {MOST} of `{participant}` already")))
    }

    /// The pattern with a participant in it; `number` counts what one participant has, or in RTP all of them.
    fn text_of(&self, participant: &ParticipantId, number: u16) -> String {
        let id = participant.as_str();
        match &self.destination {
            Destination::File(_) => {
                let text = names::fill(&self.text, &[("participant", id)]).to_string_lossy().into_owned();
                let (path, query) = split_query(&text);
                let joint = if query.is_empty() { "" } else { "?" };
                match path.rsplit_once('.') {
                    Some((stem, ending)) if number > 0 => format!("{stem}.part{}.{ending}{joint}{query}", number + 1),
                    _ => text,
                }
            }
            Destination::Hls(_) | Destination::TsSocket(_) => {
                names::fill(&self.text, &[("participant", id)]).to_string_lossy().into_owned()
            }
            // A space or a quarter of a character would be another URL.
            other => {
                let name = names::safe(id, 200);
                let text = self.text.replace(PLACE, &utf8_percent_encode(&name, RESERVED).to_string());
                match other {
                    Destination::Rtp(rtp) => {
                        let (from, to) =
                            (u32::from(rtp.port), u32::from(rtp.port) + u32::from(PORTS) * u32::from(number));
                        text.replacen(&format!(":{from}"), &format!(":{to}"), 1)
                    }
                    _ => text,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::spec::Stream;

    fn pattern(text: &str) -> OutputSpec {
        text.parse().unwrap()
    }

    fn instance(text: &str, id: &str) -> OutputSpec {
        let pattern = pattern(text);
        pattern.instance(&ParticipantId::new(id), pattern.tracks, |_| false).unwrap()
    }

    #[test]
    fn a_pattern_copies_where_its_destination_can() {
        let tracks = |text: &str| pattern(text).tracks;
        let copied = Tracks { video: Some(Stream::CopiedVideo), audio: Some(Stream::CopiedAudio) };
        assert_eq!(tracks("rec/{participant}.mkv"), copied);
        assert_eq!(tracks("rec/{participant}.webm"), copied);
        assert_eq!(tracks("{participant}.mkv?video=h264").video, Some(Stream::H264));
        assert_eq!(tracks("{participant}.mkv?audio=none"), Tracks { video: Some(Stream::CopiedVideo), audio: None });
        assert_eq!(tracks("hls:www/{participant}").audio, Some(Stream::Aac), "MPEG-TS players want AAC");
        assert!(pattern("{participant}.mkv").is_pattern() && !pattern("a.mkv").is_pattern());
    }

    #[test]
    fn what_cannot_be_carried_is_encoded_unless_a_copy_was_asked_for() {
        let tracks = |text: &str, video: Codec| {
            let codec = |kind| Some(if kind == MediaKind::Video { video } else { Codec::Opus });
            pattern(text).tracks_for(codec).map(|tracks| tracks.unwrap().video)
        };
        assert_eq!(tracks("hls:www/{participant}", Codec::H264), Ok(Some(Stream::CopiedVideo)));
        assert_eq!(tracks("hls:www/{participant}", Codec::Vp8), Ok(Some(Stream::H264)));
        assert_eq!(tracks("{participant}.mkv?video=h264", Codec::Vp8), Ok(Some(Stream::H264)));
        let error = tracks("{participant}.mp4?video=copy", Codec::Vp8).unwrap_err().to_string();
        assert!(error.contains("vp8") && error.contains("leave out video=copy"), "{error}");
        let sound_only = |kind| (kind == MediaKind::Audio).then_some(Codec::Opus);
        assert_eq!(pattern("{participant}.mkv").tracks_for(sound_only).unwrap().unwrap().video, None);
        assert_eq!(pattern("{participant}.mkv").tracks_for(|_| None), Ok(None));
    }

    #[test]
    fn an_instance_has_a_safe_name_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("{}/{{participant}}.mkv", directory.path().display());
        let mut paths = std::collections::HashSet::new();
        for id in ["alice", "../../etc", &"é".repeat(300), "{participant}", "a?video=none&b=.mkv", "a/b", "a:b"] {
            let spec = instance(&text, id);
            let Destination::File(file) = &spec.destination else { panic!("{id}") };
            assert_eq!(file.path.parent(), Some(directory.path()), "{id}");
            assert!(file.path.file_name().unwrap().len() < 256 && spec.is_instance() && !spec.is_pattern(), "{id}");
            assert_eq!(spec.tracks, pattern(&text).tracks, "{id}");
            assert!(paths.insert(file.path.clone()), "{id}");
        }
        assert!(paths.contains(&directory.path().join("alice.mkv")));
    }

    #[test]
    fn a_file_that_exists_gets_a_further_part() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("{}/{{participant}}.mkv?audio=none", directory.path().display());
        std::fs::write(directory.path().join("alice.mkv"), "kept").unwrap();
        let spec = instance(&text, "alice");
        assert!(spec.to_string().ends_with("/alice.part2.mkv?audio=none"), "{spec}");
        let other = pattern(&text).instance(&ParticipantId::new("alice"), spec.tracks, |found| *found == spec);
        assert!(other.unwrap().to_string().contains("/alice.part3.mkv"));
    }

    #[test]
    fn rtp_counts_its_ports_up_and_names_are_part_of_a_url() {
        let text = "rtp://127.0.0.1:5004?sdp=live/{participant}.sdp";
        let first = instance(text, "a b&latency=1");
        let Destination::Rtp(rtp) = &first.destination else { panic!("{first}") };
        assert_eq!((rtp.port, rtp.sdp.as_deref()), (5004, Some(Path::new("live/a b&latency=1.sdp"))));
        let second = pattern(text).instance(&ParticipantId::new("b"), first.tracks, |spec| {
            spec.claims().iter().any(|claim| first.claims().contains(claim))
        });
        let Destination::Rtp(rtp) = second.unwrap().destination else { panic!() };
        assert_eq!(rtp.port, 5008);
    }

    #[test]
    fn what_can_not_be_shared_is_refused_while_it_is_in_use() {
        let pattern = pattern("hls:www/{participant}");
        let error = pattern.instance(&ParticipantId::new("a"), pattern.tracks, |_| true).unwrap_err().to_string();
        assert!(error.contains("hls:www/a") && error.contains("in use"), "{error}");
    }

    #[test]
    fn a_rooms_manifest_is_beside_its_recordings() {
        for (text, expected) in [
            ("rec/{room}.mkv", "rec/a b.session.json"),
            ("rec/{room}-{time}.mp4", "rec/a b.session.json"),
            ("/rec/{room}/{time}/call.mkv", "/rec/a b/session.json"),
            ("rec/{time}/{room}.mkv", "rec/a b.session.json"),
            ("rec/{room}/{participant}.mkv", "rec/a b/session.json"),
            ("{room}.webm", "./a b.session.json"),
        ] {
            let spec: OutputSpec = text.parse().unwrap();
            assert_eq!(spec.manifest("a b"), Some(expected.into()), "{text}");
        }
        assert_eq!(pattern("hls:www/{participant}").manifest("r"), None);
    }

    #[test]
    fn the_session_is_above_what_depends_on_the_participant() {
        for (text, directory) in [
            ("rec/{participant}.mkv", "rec"),
            ("{participant}.mkv", "."),
            ("/srv/{participant}/cam.mkv", "/srv"),
            ("/srv/a-{participant}/x/cam.mkv", "/srv"),
        ] {
            assert_eq!(pattern(text).session_directory(), Some(Path::new(directory)), "{text}");
        }
        assert_eq!(pattern("hls:www/{participant}").session_directory(), None);
    }
}
