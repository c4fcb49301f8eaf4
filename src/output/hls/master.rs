//! The multivariant playlist: what there is to choose from (RFC 8216, section 4.3.4).

use std::fmt;

/// Width, height and pictures per second.
pub(super) type Picture = (i32, i32, f64);

/// A rendition with what a player must know to choose it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Variant {
    /// Its media playlist.
    pub(super) uri: String,
    /// Its codecs in the form of RFC 6381.
    pub(super) codecs: String,
    /// Most bits per second over one segment.
    pub(super) peak: u64,
    /// Bits per second.
    pub(super) average: u64,
    /// `None` for sound.
    pub(super) picture: Option<Picture>,
}

/// All renditions, highest first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Master {
    /// Those with pictures.
    pub(super) video: Vec<Variant>,
    /// The sound that belongs to all of them.
    pub(super) audio: Option<Variant>,
    /// Whether sound alone is a choice.
    pub(super) audio_alone: bool,
}

impl fmt::Display for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS")?;
        if let Some(audio) = self.audio.as_ref().filter(|_| !self.video.is_empty()) {
            writeln!(
                f,
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Sound\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"{}\"",
                audio.uri
            )?;
        }
        for video in &self.video {
            // A variant's bits are those of everything that is played with it.
            let bits = |of: fn(&Variant) -> u64| of(video) + self.audio.as_ref().map_or(0, of);
            let codecs: Vec<_> =
                [Some(video), self.audio.as_ref()].into_iter().flatten().map(|v| v.codecs.as_str()).collect();
            write!(f, "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={}", bits(|v| v.peak), bits(|v| v.average))?;
            write!(f, ",CODECS=\"{}\"", codecs.join(","))?;
            if let Some((width, height, rate)) = video.picture {
                write!(f, ",RESOLUTION={width}x{height},FRAME-RATE={rate:.3}")?;
            }
            if self.audio.is_some() {
                write!(f, ",AUDIO=\"audio\"")?;
            }
            writeln!(f, "\n{}", video.uri)?;
        }
        if let Some(Variant { uri, codecs, peak, average, .. }) = self.audio.as_ref().filter(|_| self.audio_alone) {
            let group = if self.video.is_empty() { "" } else { ",AUDIO=\"audio\"" };
            writeln!(
                f,
                "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codecs}\"{group}\n{uri}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_has_the_bits_and_codecs_of_picture_and_sound() {
        let video = |height: i32, peak| Variant {
            uri: format!("{height}p.m3u8"),
            codecs: "avc1.42c01f".into(),
            peak,
            average: peak / 2,
            picture: Some((height * 16 / 9, height, 30.0)),
        };
        let audio =
            Variant { uri: "audio.m3u8".into(), codecs: "mp4a.40.2".into(), peak: 130, average: 128, picture: None };
        let mut master =
            Master { video: vec![video(720, 2000), video(360, 600)], audio: Some(audio), audio_alone: true };
        assert_eq!(
            master.to_string(),
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Sound\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"audio.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=2130,AVERAGE-BANDWIDTH=1128,CODECS=\"avc1.42c01f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO=\"audio\"\n720p.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=730,AVERAGE-BANDWIDTH=428,CODECS=\"avc1.42c01f,mp4a.40.2\",RESOLUTION=640x360,FRAME-RATE=30.000,AUDIO=\"audio\"\n360p.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=130,AVERAGE-BANDWIDTH=128,CODECS=\"mp4a.40.2\",AUDIO=\"audio\"\naudio.m3u8\n"
        );
        master.audio = None;
        assert!(!master.to_string().contains("AUDIO") && !master.to_string().contains("mp4a"));
    }
}
