//! Pipeline texts from `pipelines/`: read, checked and built.
//!
//! A pipeline text can write any file and open any socket. So only elements on the allow list are built, and locations,
//! hosts and ports are never pasted into a text: they are set as properties afterwards.

use gst::prelude::*;
use gstreamer as gst;
use rust_embed::RustEmbed;

use super::MediaError;

#[derive(RustEmbed)]
#[folder = "pipelines/"]
#[include = "*.launch"]
struct Texts;

/// The elements that a template may use.
const ALLOWED: &[&str] = &[
    "aacparse",
    "appsink",
    "appsrc",
    "audioconvert",
    "audiomixer",
    "audioresample",
    "av1parse",
    "avenc_aac",
    "capsfilter",
    "compositor",
    "fdkaacenc",
    "filesink",
    "filesrc",
    "h264parse",
    "hlssink2",
    "identity",
    "isofmp4mux",
    "matroskademux",
    "matroskamux",
    "mp4mux",
    "mpegtsmux",
    "nvh264enc",
    "openh264enc",
    "opusenc",
    "opusparse",
    "qtdemux",
    "queue",
    "rtpbin",
    "rtph264pay",
    "rtpmp4gpay",
    "udpsink",
    "v4l2h264enc",
    "vah264enc",
    "vaapih264enc",
    "videoconvert",
    "videoconvertscale",
    "voaacenc",
    "vp8enc",
    "vp9parse",
    "webmmux",
    "x264enc",
];

/// Why a template was refused.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// There is no such template.
    #[error("there is no pipeline template `{0}`")]
    Unknown(String),
    /// An element that templates may not use.
    #[error("pipelines/{template}.launch, line {line}: the element `{element}` is not allowed in a template")]
    NotAllowed {
        /// The template's name.
        template: String,
        /// The line, counted from 1.
        line: usize,
        /// The element.
        element: String,
    },
    /// GStreamer does not understand it, or an element is missing.
    #[error("pipelines/{template}.launch: {reason}")]
    Parse {
        /// The template's name.
        template: String,
        /// GStreamer's words.
        reason: String,
    },
}

/// Which of its ends `video` and `audio` a template gets, and what each stream passes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The end of pictures; `None` leaves out the template's lines that begin with `video:`.
    pub video: Option<Parser>,
    /// The end of sound; `None` leaves out the lines that begin with `audio:`.
    pub audio: Option<Parser>,
}

impl Ends {
    /// For a template that needs no parsers at these ends.
    pub fn without_parsers(video: bool, audio: bool) -> Self {
        let parser = Parser("identity silent=true");
        Self { video: video.then_some(parser), audio: audio.then_some(parser) }
    }
}

/// What stands for `{parse}` in a template: it finds out what a muxer wants to know about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parser(&'static str);

impl Parser {
    /// The parser for a stream of this form; `None` when it is a form that no output carries.
    pub fn for_caps(caps: &gst::Caps) -> Option<Self> {
        Some(Self(match caps.structure(0)?.name().as_str() {
            "video/x-h264" => "h264parse",
            "video/x-vp9" => "vp9parse",
            "video/x-av1" => "av1parse",
            "audio/mpeg" => "aacparse",
            "audio/x-opus" => "opusparse",
            // Their frames say everything themselves.
            "video/x-vp8" | "audio/x-mulaw" => "identity silent=true",
            _ => return None,
        }))
    }
}

/// Builds the pipeline of `pipelines/{template}.launch`, called `name` on its bus.
pub fn build(template: &str, name: &str) -> Result<gst::Pipeline, MediaError> {
    build_with(template, name, Ends::default())
}

/// Builds a template that has ends for pictures and sound.
pub fn build_with(template: &str, name: &str, ends: Ends) -> Result<gst::Pipeline, MediaError> {
    let text = Texts::get(&format!("{template}.launch")).ok_or_else(|| TemplateError::Unknown(template.to_owned()))?;
    let text = with_ends(&String::from_utf8_lossy(&text.data), ends);
    check(template, &text)?;
    let parse_error = |reason: String| TemplateError::Parse { template: template.to_owned(), reason };
    let mut context = gst::ParseContext::new();
    let element = gst::parse::launch_full(&strip_comments(&text), Some(&mut context), gst::ParseFlags::FATAL_ERRORS)
        .map_err(|error| match context.missing_elements().first() {
            Some(missing) => MediaError::Element { element: missing.to_string(), reason: "it is not installed".into() },
            None => parse_error(error.to_string()).into(),
        })?;
    let pipeline =
        element.downcast::<gst::Pipeline>().map_err(|_| parse_error("the text is not a whole pipeline".into()))?;
    pipeline.set_property("name", name);
    Ok(pipeline)
}

/// Leaves out the lines of an end that is not there, and fills in the parsers. Lines keep their numbers.
fn with_ends(text: &str, ends: Ends) -> String {
    let line = |line: &str| {
        let (end, rest) = match (line.strip_prefix("video:"), line.strip_prefix("audio:")) {
            (Some(rest), _) => (ends.video, rest),
            (_, Some(rest)) => (ends.audio, rest),
            _ => return line.to_owned(),
        };
        end.map(|Parser(parser)| rest.replace("{parse}", parser)).unwrap_or_default()
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn strip_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join(" ")
}

/// Refuses every element that is not on the allow list.
fn check(template: &str, text: &str) -> Result<(), TemplateError> {
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#')) {
        if let Some(element) = elements(line).find(|element| !ALLOWED.contains(element)) {
            return Err(TemplateError::NotAllowed {
                template: template.to_owned(),
                line: index + 1,
                element: element.to_owned(),
            });
        }
    }
    Ok(())
}

/// The words of a line that name an element: not a link, a property, a reference to a named element or caps.
fn elements(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().filter(|word| *word != "!" && !word.contains(['=', '.', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Ends = Ends { video: Some(Parser("h264parse")), audio: Some(Parser("opusparse")) };

    #[test]
    fn an_end_that_is_not_there_is_left_out_and_lines_keep_their_numbers() {
        let text = "# x\nvideo: appsrc name=video ! {parse} ! mux.\naudio: appsrc name=audio ! {parse} ! mux.\nmatroskamux name=mux";
        assert_eq!(
            with_ends(text, Ends { audio: None, ..BOTH }),
            "# x\n appsrc name=video ! h264parse ! mux.\n\nmatroskamux name=mux"
        );
        assert!(with_ends(text, BOTH).contains("opusparse ! mux."));
    }

    #[test]
    fn every_template_passes_the_allow_list() {
        let mut count = 0;
        for path in Texts::iter() {
            let text = Texts::get(&path).unwrap();
            check(&path, &with_ends(&String::from_utf8_lossy(&text.data), BOTH)).unwrap();
            count += 1;
        }
        assert!(count > 5, "the templates are embedded");
    }

    #[test]
    fn an_element_that_is_not_allowed_is_named_with_its_line() {
        let error = check("x", "# filesrc is fine\nappsrc name=video !\n  souphttpsrc ! fakesink").unwrap_err();
        assert_eq!(
            error.to_string(),
            "pipelines/x.launch, line 3: the element `souphttpsrc` is not allowed in a template"
        );
    }

    #[test]
    fn properties_references_and_caps_are_not_taken_for_elements() {
        let line = "appsrc name=video ! rtpbin.send_rtp_sink_0 rtpbin. ! video/x-h264,alignment=au ! queue";
        assert_eq!(elements(line).collect::<Vec<_>>(), ["appsrc", "queue"]);
    }
}
