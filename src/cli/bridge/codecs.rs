//! Which codecs are offered: what `--codecs` says, and what it means for the outputs.

use roomcast::output::OutputSpec;
use roomcast::terms::Codec;

/// One word of `--codecs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodecChoice {
    /// Whatever suits the outputs.
    Auto,
    /// This one.
    One(Codec),
}

pub(super) fn parse_codec(text: &str) -> Result<CodecChoice, String> {
    if text == "auto" {
        return Ok(CodecChoice::Auto);
    }
    Codec::from_encoding_name(text).map(CodecChoice::One).ok_or_else(|| {
        let known: Vec<_> = Codec::ALL.iter().map(ToString::to_string).collect();
        format!("unknown codec `{text}`: use auto or {}", known.join(", "))
    })
}

/// The codecs to offer, each of them once.
pub(super) fn codecs(choices: &[CodecChoice], outputs: &[OutputSpec]) -> Vec<Codec> {
    let h264 = outputs.iter().any(OutputSpec::prefers_h264).then_some(Codec::H264);
    let auto = || h264.into_iter().chain(Codec::ALL);
    let mut codecs = Vec::new();
    for choice in choices {
        match choice {
            CodecChoice::Auto => codecs.extend(auto()),
            CodecChoice::One(codec) => codecs.push(*codec),
        }
    }
    let mut seen = Vec::new();
    codecs.retain(|codec| {
        !seen.contains(codec) && {
            seen.push(*codec);
            true
        }
    });
    codecs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_that_copy_into_what_holds_no_vp8_get_h264_first() {
        let chosen = |words: &str, outputs: &[&str]| {
            let choices: Vec<_> = words.split(',').map(|word| parse_codec(word).unwrap()).collect();
            let outputs: Vec<OutputSpec> = outputs.iter().map(|output| output.parse().unwrap()).collect();
            codecs(&choices, &outputs)[..2].to_vec()
        };
        use Codec::{H264, Vp8, Vp9};
        assert_eq!(chosen("auto", &["a.mkv", "rtp://127.0.0.1:5004?video=copy"]), [Vp8, H264]);
        assert_eq!(chosen("auto", &["a.webm?video=copy", "a.mkv?video=copy"]), [Vp8, H264]);
        assert_eq!(chosen("auto", &["a.mkv", "hls:www?video=copy"]), [H264, Vp8]);
        assert_eq!(chosen("auto", &["a.mp4?video=copy&audio=none"]), [H264, Vp8]);
        assert_eq!(chosen("vp9,auto", &["a.mkv"]), [Vp9, Vp8]);
        assert!(parse_codec("h265").unwrap_err().contains("use auto or vp8"));
    }
}
