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
    "audioresample",
    "av1parse",
    "avenc_aac",
    "capsfilter",
    "fdkaacenc",
    "filesink",
    "filesrc",
    "flvmux",
    "h264parse",
    "hlssink2",
    "identity",
    "isofmp4mux",
    "matroskademux",
    "matroskamux",
    "mp4mux",
    "mpegtsmux",
    "mulawenc",
    "nvh264enc",
    "openh264enc",
    "opusenc",
    "opusparse",
    "qtdemux",
    "queue",
    "rtmp2sink",
    "rtpbin",
    "rtpav1pay",
    "rtph264pay",
    "rtpmp4gpay",
    "rtpopuspay",
    "rtppcmupay",
    "rtpvp8pay",
    "rtpvp9pay",
    "rtspclientsink",
    "srtsink",
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
    /// How often a line that begins with `lower:` is there, for smaller pictures; `{n}` in it is counted from 0.
    pub lower: usize,
}

/// What a stream passes first: for `{parse}` in a template what finds out what a muxer wants to know about it, and for `{pay}`
/// what makes RTP packets of it. Lines that begin with `video/x-h264:` are there for streams of this form only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parser {
    form: &'static str,
    parse: &'static str,
    pay: &'static str,
}

/// Frames of VP8 and pieces of PCMU say everything themselves.
const PLAIN: &str = "identity silent=true";

/// The forms that outputs carry.
const FORMS: [Parser; 7] = [
    Parser {
        form: "video/x-h264",
        parse: "h264parse",
        pay: "rtph264pay pt=96 mtu=1200 config-interval=-1 aggregate-mode=zero-latency",
    },
    Parser { form: "video/x-vp8", parse: PLAIN, pay: "rtpvp8pay pt=96 mtu=1200 picture-id-mode=2" },
    Parser { form: "video/x-vp9", parse: "vp9parse", pay: "rtpvp9pay pt=96 mtu=1200 picture-id-mode=2" },
    Parser { form: "video/x-av1", parse: "av1parse", pay: "rtpav1pay pt=96 mtu=1200" },
    Parser { form: "audio/mpeg", parse: "aacparse", pay: "rtpmp4gpay pt=97 mtu=1200" },
    Parser { form: "audio/x-opus", parse: "opusparse", pay: "rtpopuspay pt=97 mtu=1200" },
    Parser { form: "audio/x-mulaw", parse: PLAIN, pay: "rtppcmupay mtu=1200" },
];

impl Parser {
    /// The parser for a stream of this form; `None` when it is a form that no output carries.
    pub fn for_caps(caps: &gst::Caps) -> Option<Self> {
        let name = caps.structure(0)?.name();
        FORMS.iter().find(|parser| name == parser.form).copied()
    }

    /// The element that makes RTP packets of it.
    pub fn payloader(self) -> Result<gst::Element, MediaError> {
        gst::parse::launch(self.pay)
            .map_err(|error| MediaError::Element { element: self.pay.to_owned(), reason: error.to_string() })
    }
}

/// Builds the pipeline of `pipelines/{template}.launch`, called `name` on its bus.
pub fn build(template: &str, name: &str) -> Result<gst::Pipeline, MediaError> {
    build_with(template, name, Ends::default())
}

/// Builds a template that has ends for pictures and sound.
pub fn build_with(template: &str, name: &str, ends: Ends) -> Result<gst::Pipeline, MediaError> {
    let text = text(template, ends)?;
    let parse_error = |reason: String| TemplateError::Parse { template: template.to_owned(), reason };
    let mut context = gst::ParseContext::new();
    let element = gst::parse::launch_full(&text, Some(&mut context), gst::ParseFlags::FATAL_ERRORS).map_err(
        |error| match context.missing_elements().first() {
            Some(missing) => MediaError::Element { element: missing.to_string(), reason: "it is not installed".into() },
            None => parse_error(error.to_string()).into(),
        },
    )?;
    let pipeline = element.downcast::<gst::Pipeline>().or_else(|single| {
        // A text with nothing but one element gives just that.
        let pipeline = gst::Pipeline::new();
        pipeline.add(&single).map(|()| pipeline).map_err(|error| parse_error(error.to_string()))
    })?;
    pipeline.set_property("name", name);
    Ok(pipeline)
}

/// The text of a template in one line, checked, for whoever builds pipelines from it again and again.
pub fn text(template: &str, ends: Ends) -> Result<String, TemplateError> {
    let text = Texts::get(&format!("{template}.launch")).ok_or_else(|| TemplateError::Unknown(template.to_owned()))?;
    let text = with_ends(&String::from_utf8_lossy(&text.data), ends);
    check(template, &text)?;
    Ok(strip_comments(&text))
}

/// Leaves out the lines of an end that is not there, and fills in the parsers. Lines keep their numbers.
fn with_ends(text: &str, ends: Ends) -> String {
    let line = |line: &str| {
        if let Some(rest) = line.strip_prefix("lower:") {
            let Some(form) = ends.video else { return String::new() };
            let numbered = |n: usize| rest.replace("{parse}", form.parse).replace("{n}", &n.to_string());
            return (0..ends.lower).map(numbered).collect();
        }
        let (kind, rest) = line.split_once(':').unwrap_or(("", line));
        let end = match kind.split('/').next() {
            Some("video") => ends.video,
            Some("audio") => ends.audio,
            _ => return line.to_owned(),
        };
        let end = end.filter(|end| !kind.contains('/') || kind == end.form);
        end.map(|end| rest.replace("{parse}", end.parse).replace("{pay}", end.pay)).unwrap_or_default()
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

    const H264: Parser = FORMS[0];
    const OPUS: Parser = FORMS[5];
    const BOTH: Ends = Ends { video: Some(H264), audio: Some(OPUS), lower: 2 };

    #[test]
    fn an_end_that_is_not_there_is_left_out_and_lines_keep_their_numbers() {
        let text = "# x\nvideo: appsrc name=video ! {parse} ! mux.\naudio: appsrc name=audio ! {parse} ! mux.\nmatroskamux name=mux";
        assert_eq!(
            with_ends(text, Ends { audio: None, ..BOTH }),
            "# x\n appsrc name=video ! h264parse ! mux.\n\nmatroskamux name=mux"
        );
        assert!(with_ends(text, BOTH).contains("opusparse ! mux."));
        let text = "audio/x-opus: a\naudio/mpeg: b\nvideo/x-h264: c\naudio: d";
        assert_eq!(with_ends(text, BOTH), " a\n\n c\n d");
    }

    #[test]
    fn every_template_passes_the_allow_list() {
        let mut count = 0;
        for path in Texts::iter() {
            let text = Texts::get(&path).unwrap();
            for (form, element) in FORMS {
                let end = Some(Parser { form, element });
                let ends = Ends { video: end, audio: end };
                check(&path, &with_ends(&String::from_utf8_lossy(&text.data), ends)).unwrap();
            }
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
