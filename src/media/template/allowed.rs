//! The elements that a template may use, and the words of its text.

use super::TemplateError;

/// The elements that a template may use.
pub(super) const ALLOWED: &[&str] = &[
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
    "flvmux",
    "h264parse",
    "identity",
    "isofmp4mux",
    "jpegenc",
    "matroskademux",
    "matroskamux",
    "mp4mux",
    "mpegtsmux",
    "mulawenc",
    "multiqueue",
    "nvh264enc",
    "openh264enc",
    "oggmux",
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
    "splitmuxsink",
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
    "wavenc",
    "webmmux",
    "x264enc",
];

/// Refuses every element that is not on the allow list.
pub(super) fn check(file: &str, text: &str) -> Result<(), TemplateError> {
    match words(text).find(|word| word.names_element() && !ALLOWED.contains(&word.text)) {
        None => Ok(()),
        Some(Word { text, line, column }) => {
            Err(TemplateError::NotAllowed { file: file.to_owned(), line, column, element: text.to_owned() })
        }
    }
}

/// A word of a template, and where it stands, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Word<'_> {
    /// Whether it is no link, property, reference to a named element or caps, nor anything of our own.
    pub(super) fn names_element(&self) -> bool {
        let begins_line = self.column == 1 && ["video:", "audio:", "lower:"].contains(&self.text);
        let own = ["{parse}", "{pay}"].contains(&self.text) || begins_line;
        self.text != "!" && !own && !self.text.contains(['=', '.', '/'])
    }
}

/// The words of a template, without its comments.
pub(super) fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    lines.flat_map(|(index, line)| {
        line.split_whitespace().map(move |text| {
            let before = (text.as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
            let column = line.get(..before).map_or(0, |before| before.chars().count()) + 1;
            Word { text, line: index + 1, column }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_that_is_not_allowed_is_named_with_its_line() {
        let error = check("x.launch", "# filesrc is fine\nappsrc name=video !\n  souphttpsrc ! fakesink").unwrap_err();
        assert_eq!(error.to_string(), "x.launch:3:3: the element `souphttpsrc` is not allowed in a template");
        assert!(check("x", "appsrc ! video: ! {parse}").is_err());
    }

    #[test]
    fn properties_references_and_caps_are_not_taken_for_elements() {
        let line =
            "video: appsrc name=video ! rtpbin.send_rtp_sink_0 rtpbin. ! video/x-h264,alignment=au ! {parse} ! queue";
        let elements: Vec<_> = words(line).filter(Word::names_element).map(|word| word.text).collect();
        assert_eq!(elements, ["appsrc", "queue"]);
    }
}
