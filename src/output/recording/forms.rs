//! The form of each stream of a recording: what a file is opened for, and whether it can go on when a form changes.

use gstreamer as gst;

use super::super::spec::Container;
use super::super::streams::Forms;
use crate::terms::MediaKind;

/// The form of each stream as it came last, and how often it became one that a file cannot go on with.
#[derive(Debug)]
pub(super) struct KnownForms {
    container: Container,
    video: Option<(gst::Caps, u32)>,
    audio: Option<(gst::Caps, u32)>,
}

impl KnownForms {
    /// What flowed before the recording began: the first picture may come before the first sound, and its file has sound.
    pub(super) fn new(container: Container, before: Forms) -> Self {
        let first = |caps: gst::Caps| (caps, 0);
        Self { container, video: before.video.map(first), audio: before.audio.map(first) }
    }

    /// Takes the form of what comes now. A file goes on as long as the number stays.
    pub(super) fn note(&mut self, kind: MediaKind, caps: &gst::Caps) -> u32 {
        let known = match kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        };
        let number = match known {
            Some((before, number)) if goes_on(self.container, before, caps) => *number,
            Some((_, number)) => *number + 1,
            None => 0,
        };
        if known.as_ref().is_none_or(|(before, _)| before != caps) {
            *known = Some((caps.clone(), number));
        }
        number
    }

    /// For a file with these streams.
    pub(super) fn of(&self, video: bool, audio: bool) -> Forms {
        let form = |wanted: bool, known: &Option<(gst::Caps, u32)>| {
            known.as_ref().filter(|_| wanted).map(|(caps, _)| caps.clone())
        };
        Forms { video: form(video, &self.video), audio: form(audio, &self.audio), lower: 0 }
    }
}

/// Whether a file goes on when the form of one of its streams changes.
fn goes_on(container: Container, before: &gst::Caps, after: &gst::Caps) -> bool {
    let name = |caps: &gst::Caps| caps.structure(0).map(|form| form.name().to_string());
    match (container, name(before)) {
        // Their frames say their size themselves, and players follow it.
        (Container::Matroska | Container::WebM, Some(form)) if form == "video/x-vp8" || form == "video/x-vp9" => {
            name(after) == Some(form)
        }
        _ => before == after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(name: &str, width: i32) -> gst::Caps {
        gst::Caps::builder(name).field("width", width).build()
    }

    #[test]
    fn a_file_that_begins_before_the_first_sound_has_sound() {
        gst::init().unwrap();
        let (video, audio) = (caps("video/x-h264", 320), caps("audio/mpeg", 0));
        let before = Forms { video: Some(video.clone()), audio: Some(audio.clone()), lower: 0 };
        let mut known = KnownForms::new(Container::Matroska, before);
        assert_eq!(known.note(MediaKind::Video, &video), 0);
        let forms = known.of(true, true);
        assert_eq!((forms.video, forms.audio), (Some(video), Some(audio.clone())));
        assert!(known.of(true, false).audio.is_none());
        assert_eq!(known.note(MediaKind::Audio, &audio), 0);
    }

    #[test]
    fn a_file_goes_on_with_another_size_only_where_frames_say_it_themselves() {
        gst::init().unwrap();
        for (codec, expected) in [("video/x-vp8", [0, 0, 0]), ("video/x-h264", [0, 1, 1])] {
            let mut known = KnownForms::new(Container::Matroska, Forms { video: None, audio: None, lower: 0 });
            let forms = [320, 640, 640].map(|width| known.note(MediaKind::Video, &caps(codec, width)));
            assert_eq!(forms, expected, "{codec}");
        }
    }
}
