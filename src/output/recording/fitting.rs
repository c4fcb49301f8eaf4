//! Which streams a file can hold, and the way out for one that it cannot.

use super::super::OutputError;
use super::super::spec::Container;
use super::super::streams::Forms;

/// Refuses what a file of this kind may not hold.
pub(super) fn check(container: Container, forms: &Forms) -> Result<(), OutputError> {
    for caps in [&forms.video, &forms.audio].into_iter().flatten() {
        let form = caps.structure(0).map(|form| form.name().as_str()).unwrap_or_default();
        if !container.holds(form) {
            return Err(OutputError::DoesNotFit {
                codec: codec_name(form).to_owned(),
                container,
                way_out: way_out(form),
            });
        }
    }
    Ok(())
}

fn codec_name(form: &str) -> &str {
    match form {
        "video/x-h264" => "H.264",
        "video/x-vp8" => "VP8",
        "video/x-vp9" => "VP9",
        "video/x-av1" => "AV1",
        "audio/x-opus" => "Opus",
        "audio/x-mulaw" => "PCMU",
        "audio/x-alaw" => "PCMA",
        other => other,
    }
}

fn way_out(form: &str) -> String {
    let endings = [(Container::Matroska, ".mkv"), (Container::Mp4, ".mp4"), (Container::WebM, ".webm")];
    let fitting: Vec<_> =
        endings.into_iter().filter(|(container, _)| container.holds(form)).map(|(_, end)| end).collect();
    let other = if form.starts_with("audio/") {
        "leave out audio=copy"
    } else {
        "ask for another codec with --codecs, or leave out video=copy"
    };
    if fitting.is_empty() { other.into() } else { format!("record to {}, {other}", fitting.join(" or ")) }
}
