//! How the encoders keep up: what they lost, how late they are, and fewer pictures for those that are too slow.

use std::time::Duration;

use serde::Serialize;

use super::Mix;
use crate::media::effort::FASTEST;
use crate::media::encoder::StreamEncoder;
use crate::media::mixer::PIECE_OF_SOUND;
use crate::media::scaler::Scaler;
use crate::output::Stream;
use crate::terms::MediaKind;

/// An encoder of pictures at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EncoderState {
    /// What it makes: `h264`, `vp8`, or `h264 360p` for a rendition.
    pub encoder: String,
    /// 0 is everything. Each further level is a step down because it did not keep up.
    pub level: usize,
    /// The pictures per second that it gets.
    pub fps: f64,
    /// The preset that it was relieved with, while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<&'static str>,
    /// The greatest age, in seconds, of a picture that it made in the last second, counted from its moment in the mix.
    pub latency: f64,
}

impl Mix {
    /// To be called once a second: looks at each encoder of pictures, and relieves those that do not keep up. Returns how they are, and
    /// which of them have changed their level.
    pub(crate) async fn relieve(&mut self) -> (Vec<EncoderState>, Vec<EncoderState>) {
        let (mut states, mut changed) = (Vec::new(), Vec::new());
        let asks = self.keyframe_asked.elapsed() >= Duration::from_secs_f64(self.config.gop);
        for (stream, encoder) in &mut self.encoders {
            let has_changed = encoder.relieve().await;
            let Some(relief) = encoder.relief() else { continue };
            let state = EncoderState {
                encoder: name(*stream),
                level: relief.level(),
                fps: f64::from(self.config.canvas.fps) / f64::from(relief.step().one_in),
                preset: relief.step().fastest.then_some(FASTEST),
                latency: (relief.late().as_secs_f64() * 1000.0).round() / 1000.0,
            };
            // The encoder counts pictures from one keyframe to the next: with fewer of them players would wait longer.
            if relief.level() > 0 && asks {
                encoder.producer().request_keyframe(self.clock.running_time());
            }
            changed.extend(has_changed.then(|| state.clone()));
            states.push(state);
        }
        if asks {
            self.keyframe_asked = std::time::Instant::now();
        }
        (states, changed)
    }

    fn encoders(&self, kind: MediaKind) -> impl Iterator<Item = &StreamEncoder> {
        self.encoders.iter().filter(move |(stream, _)| stream.kind() == kind).map(|(_, encoder)| encoder)
    }

    /// Seconds of sound that came too fast for an encoder.
    pub(crate) fn sound_lost(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let pieces = self.encoders(MediaKind::Audio).map(StreamEncoder::dropped).sum::<u64>() as f64;
        pieces * PIECE_OF_SOUND.as_secs_f64()
    }

    /// Pictures that the first video encoder took, and those that came too fast for any of them.
    pub(crate) fn frames(&self) -> (u64, u64) {
        let taken = self.encoders(MediaKind::Video).next().map_or(0, StreamEncoder::pushed);
        let dropped = self.encoders(MediaKind::Video).map(StreamEncoder::dropped).sum::<u64>();
        (taken, dropped + self.scalers.values().map(Scaler::dropped).sum::<u64>())
    }
}

fn name(stream: Stream) -> String {
    match stream {
        Stream::Rendition(height) => format!("h264 {}p", height.0),
        Stream::Vp8 => "vp8".into(),
        _ => "h264".into(),
    }
}
