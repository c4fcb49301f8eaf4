//! Where a description may bring FlexFEC to the engine.
//!
//! Of the formats of a section, the engine takes those that match ours exactly, and others only when none does (rtc 0.21.1,
//! `MediaEngine::update_from_remote_description`). FlexFEC matches always: beside an H.264 of another profile, which is decoded as well
//! as any, it would be all that is taken, and there would be no picture.

use std::borrow::Cow;

use super::super::codecs;
use crate::terms::Codec;

const FLEXFEC: &str = " flexfec-03/";

/// The same description, with FlexFEC under a name that nobody knows in sections that have no format exactly as we offer it.
pub(crate) fn beside_ours<'a>(sdp: &'a str, ours: &[Codec]) -> Cow<'a, str> {
    if !sdp.to_ascii_lowercase().contains(FLEXFEC) {
        return sdp.into();
    }
    let mut sections = vec![Vec::new()];
    for line in sdp.split_inclusive('\n') {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().into_iter().for_each(|section| section.push(line));
    }
    let lines = sections.iter().flat_map(|section| {
        let takes = has_one_of(ours, section);
        section.iter().map(move |line| match line.to_ascii_lowercase().find(FLEXFEC) {
            Some(place) if !takes => format!("{} x-{}", &line[..place], &line[place + 1..]),
            _ => (*line).to_owned(),
        })
    });
    lines.collect::<String>().into()
}

fn has_one_of(ours: &[Codec], section: &[&str]) -> bool {
    section.iter().any(|line| {
        let Some((payload_type, name)) = line.strip_prefix("a=rtpmap:").and_then(|format| format.split_once(' '))
        else {
            return false;
        };
        let parameters = section.iter().find_map(|line| {
            let (of, parameters) = line.strip_prefix("a=fmtp:")?.split_once(' ')?;
            (of == payload_type).then(|| parameters.trim_end())
        });
        let codec = name.split('/').next().and_then(Codec::from_encoding_name);
        codec.is_some_and(|codec| {
            ours.contains(&codec) && codecs::is_exactly_ours(codec, parameters.unwrap_or_default())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [Codec; 2] = [Codec::H264, Codec::Vp8];

    #[test]
    fn flexfec_is_known_only_beside_a_format_that_is_exactly_ours() {
        let vp8 = "a=rtpmap:96 VP8/90000\r\n";
        let h264 = |parameters| format!("a=rtpmap:102 h264/90000\r\na=fmtp:102 {parameters}\r\n");
        let cases = [
            (vp8.to_owned(), &OURS[..], true),
            (vp8.to_owned(), &OURS[..1], false),
            (h264("packetization-mode=1;profile-level-id=42e01f"), &OURS, true),
            (h264("level-asymmetry-allowed=1; profile-level-id=42E034; packetization-mode=0"), &OURS, true),
            (h264("packetization-mode=1;profile-level-id=640c1f"), &OURS, false),
            (h264("packetization-mode=1"), &OURS, false),
            (h264("profile-level-id=42e01f"), &OURS, false),
            (h264("packetization-mode=1;profile-level-id=é"), &OURS, false),
            (h264("packetization-mode=1;profile-level-id=42e01f").replace("fmtp:102", "fmtp:103"), &OURS, false),
            (String::new(), &OURS, false),
        ];
        for (format, ours, known) in cases {
            let of = |name| format!("v=0\r\nm=video 9 X\r\n{format}a=rtpmap:49 {name}/90000\r\na=x");
            let expected = if known { "FlexFEC-03" } else { "x-FlexFEC-03" };
            assert_eq!(beside_ours(&of("FlexFEC-03"), ours), of(expected), "{ours:?}");
        }
    }

    #[test]
    fn each_section_is_judged_by_its_own_formats_and_other_descriptions_stay_as_they_are() {
        let vp8 = "m=video\r\na=rtpmap:96 VP8/90000\r\n";
        let sections = format!("m=video\na=rtpmap:49 flexfec-03/90000\n{vp8}a=rtpmap:50 flexfec-03/90000");
        let expected = sections.replace("49 flex", "49 x-flex");
        assert_eq!(beside_ours(&sections, &OURS), expected);
        for other in ["", "a=rtpmap:49 ulpfec/90000", " flexfec-0", vp8] {
            assert!(matches!(beside_ours(other, &OURS), Cow::Borrowed(same) if same == other));
        }
    }
}
