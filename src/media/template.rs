//! Pipeline texts from `pipelines/`: read, checked and built.
//!
//! A pipeline text can write any file and open any socket. So only elements on the allow list are built, and locations,
//! hosts and ports are never pasted into a text: they are set as properties afterwards.

mod allowed;
pub(crate) mod fuzzing;
mod operator;

use std::borrow::Cow;
use std::path::PathBuf;

use gst::prelude::*;
use gstreamer as gst;
use rust_embed::RustEmbed;

use self::allowed::{ALLOWED, check, words};
pub use self::operator::use_directory;
use super::{MediaError, elements};

#[derive(RustEmbed)]
#[folder = "pipelines/"]
#[include = "*.launch"]
struct Texts;

/// Why a template was refused.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// There is no such template.
    #[error("there is no pipeline template `{0}`")]
    Unknown(String),
    /// An element that templates may not use.
    #[error("{file}:{line}:{column}: the element `{element}` is not allowed in a template")]
    NotAllowed {
        /// The template's file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The character in the line, counted from 1.
        column: usize,
        /// The element.
        element: String,
    },
    /// GStreamer does not understand it, or something that is needed is missing.
    #[error("{file}:{line}:{column}: {reason}")]
    Wrong {
        /// The template's file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The character in the line, counted from 1.
        column: usize,
        /// GStreamer's words, or ours.
        reason: String,
    },
    /// A file or directory cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Templates were replaced before.
    #[error("the templates of this process were replaced before")]
    Twice,
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

impl Ends {
    /// For a template that needs no parsers at these ends.
    pub fn without_parsers(video: bool, audio: bool) -> Self {
        let plain = Parser { form: "", parse: PLAIN, pay: PLAIN };
        Self { video: video.then_some(plain), audio: audio.then_some(plain), lower: 0 }
    }
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
const FORMS: [Parser; 8] = [
    Parser {
        form: "video/x-h264",
        parse: "h264parse",
        pay: "rtph264pay config-interval=-1 aggregate-mode=zero-latency",
    },
    Parser { form: "video/x-vp8", parse: PLAIN, pay: "rtpvp8pay picture-id-mode=2" },
    Parser { form: "video/x-vp9", parse: "vp9parse", pay: "rtpvp9pay picture-id-mode=2" },
    Parser { form: "video/x-av1", parse: "av1parse", pay: "rtpav1pay" },
    Parser { form: "audio/mpeg", parse: "aacparse", pay: "rtpmp4gpay" },
    Parser { form: "audio/x-opus", parse: "opusparse", pay: "rtpopuspay" },
    Parser { form: "audio/x-mulaw", parse: PLAIN, pay: "rtppcmupay" },
    // As the mixer gives it, for WAV.
    Parser { form: "audio/x-raw", parse: PLAIN, pay: "rtpL16pay" },
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
    let (file, original) = checked(template)?;
    let parse_error = |reason: String| wrong(&file, &original, reason);
    let mut context = gst::ParseContext::new();
    let text = strip_comments(&with_ends(&original, ends));
    let element = gst::parse::launch_full(&text, Some(&mut context), gst::ParseFlags::FATAL_ERRORS).map_err(
        |error| match context.missing_elements().iter().find(|name| gst::ElementFactory::find(name).is_none()) {
            Some(missing) => MediaError::Element {
                element: missing.to_string(),
                reason: match elements::package_of(missing) {
                    Some(package) => format!("it is not installed: apt install {package}"),
                    None => "it is not installed".into(),
                },
            },
            None => parse_error(error.to_string()).into(),
        },
    )?;
    let pipeline = element.downcast::<gst::Pipeline>().or_else(|single| {
        // A text with nothing but one element gives just that.
        let pipeline = gst::Pipeline::new();
        pipeline.add(&single).map(|()| pipeline).map_err(|error| parse_error(error.to_string()))
    })?;
    // However its text was read: nothing but what is allowed was built.
    for element in pipeline.children() {
        let factory = element.factory().map(|factory| factory.name().to_string()).unwrap_or_default();
        if !ALLOWED.contains(&factory.as_str()) {
            return Err(TemplateError::NotAllowed { file, line: 1, column: 1, element: factory }.into());
        }
    }
    pipeline.set_property("name", name);
    Ok(pipeline)
}

/// The text of a template in one line, checked, for whoever builds pipelines from it again and again.
pub fn text(template: &str, ends: Ends) -> Result<String, TemplateError> {
    let (_, original) = checked(template)?;
    Ok(strip_comments(&with_ends(&original, ends)))
}

/// A template's file and text, with no element in it that is not allowed.
fn checked(template: &str) -> Result<(String, Cow<'static, str>), TemplateError> {
    let (file, original) = text_of(template)?;
    check(&file, &original)?;
    Ok((file, original))
}

/// The names of all templates.
pub fn all() -> impl Iterator<Item = String> {
    Texts::iter().filter_map(|file| Some(file.strip_suffix(".launch")?.to_owned()))
}

/// Builds a template once and lets it go again: whether it can be built on this machine. What the streams of this output will be is
/// taken from what its kind is usually fed with.
pub fn try_build(template: &str) -> Result<(), MediaError> {
    let (video, audio) = match template {
        "webm" | "remux-webm" => ("video/x-vp8", "audio/x-opus"),
        "ogg" => ("video/x-vp8", "audio/x-opus"),
        "wav" => ("video/x-vp8", "audio/x-raw"),
        _ => ("video/x-h264", "audio/mpeg"),
    };
    let parser = |name: &str| FORMS.iter().find(|parser| parser.form == name).copied();
    build_with(template, template, Ends { video: parser(video), audio: parser(audio), lower: 0 }).map(drop)
}

/// A template's file and text: the operator's, or ours.
fn text_of(template: &str) -> Result<(String, Cow<'static, str>), TemplateError> {
    if let Some(own) = operator::own(template) {
        return Ok((own.file.display().to_string(), Cow::Borrowed(&own.text)));
    }
    let file = format!("{template}.launch");
    let text = Texts::get(&file).ok_or_else(|| TemplateError::Unknown(template.to_owned()))?;
    Ok((format!("pipelines/{file}"), Cow::Owned(String::from_utf8_lossy(&text.data).into_owned())))
}

/// GStreamer says what is wrong and not where: the first thing that it quotes is looked for in the text.
fn wrong(file: &str, text: &str, reason: String) -> TemplateError {
    let quoted = reason.split(['"', '`', '\'', '\u{201c}', '\u{201d}']).nth(1).unwrap_or_default();
    let is_it = |word: &allowed::Word<'_>| {
        let key = word.text.split_once('=').map_or(word.text, |(key, _)| key);
        !quoted.is_empty() && (word.text == quoted || key == quoted)
    };
    let (line, column) = words(text).find(is_it).map_or((1, 1), |word| (word.line, word.column));
    TemplateError::Wrong { file: file.to_owned(), line, column, reason }
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
            check(&path, &String::from_utf8_lossy(&text.data)).unwrap();
            count += 1;
        }
        assert!(count > 5, "the templates are embedded");
    }

    #[test]
    fn what_gstreamer_does_not_understand_is_found_in_the_text() {
        elements::init().unwrap();
        let text = "# x\nappsrc name=input !\n  queue max-sise-time=0 ! appsink name=output";
        let error = gst::parse::launch(&strip_comments(text)).map(drop).unwrap_err();
        let shown = wrong("x.launch", text, error.to_string()).to_string();
        assert!(shown.starts_with("x.launch:3:9: ") && shown.contains("max-sise-time"), "{shown}");
    }

    #[test]
    fn every_template_can_be_built() {
        elements::init().unwrap();
        for template in all() {
            match try_build(&template) {
                Ok(()) => {}
                // Hardware that this machine does not have.
                Err(MediaError::Element { element, .. }) if element.ends_with("h264enc") => {}
                Err(error) => panic!("{template}: {error}"),
            }
        }
    }
}
