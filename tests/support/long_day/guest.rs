//! Somebody who talks and shows a picture all day: a member of the room whose media follows the fast clock.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use roomcast::peer::{Network, OutboundTrack, RtpPacket};
use roomcast::signaling::RoomUrl;
use roomcast::terms::Codec;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::clock::FastClock;
use super::line::Line;

/// 20 ms of Opus silence.
const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];
/// From one piece of sound, and one picture, to the next.
const PIECE: Duration = Duration::from_millis(20);
pub(super) const PICTURE: Duration = Duration::from_millis(200);
/// How often it is looked whether something is to be sent: less than a piece of sound at the rates that are used.
const TICK: Duration = Duration::from_millis(1);
/// How often the sender's reports are told how things are.
const CAPTURE: Duration = Duration::from_millis(250);
/// How long both timestamps go before they wrap, after the guest has begun to send.
pub(super) const WRAP_AFTER: Duration = Duration::from_secs(60);

/// Joins and sends until told to leave.
pub(super) async fn talk(
    room: RoomUrl,
    network: Network,
    clock: FastClock,
    leave: CancellationToken,
) -> Result<(), Failure> {
    let mut line = Line::join(room, network, "guest-").await?;
    let sound = Stream::new(line.peer().add_outbound(Codec::Opus).await?, 48_000);
    let pictures = Stream::new(line.peer().add_outbound(Codec::Vp8).await?, 90_000);
    let gop = tokio::task::spawn_blocking(group_of_pictures).await??;
    let mut sending = tokio::spawn(send(clock, sound, pictures, gop));
    loop {
        tokio::select! {
            heard = line.hear() => line.follow(heard?).await?,
            ended = &mut sending => return ended?,
            () = leave.cancelled() => break,
        }
    }
    sending.abort();
    line.leave().await
}

/// One of the two streams, numbered so that both numbers wrap soon.
struct Stream {
    track: OutboundTrack,
    clock_rate: u32,
    sequence_number: u16,
}

impl Stream {
    fn new(track: OutboundTrack, clock_rate: u32) -> Self {
        Self { track, clock_rate, sequence_number: u16::MAX - 200 }
    }

    /// The timestamp of what is captured so long after the guest has begun.
    fn timestamp(&self, at: Duration) -> u32 {
        let ticks = at.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000;
        // Wraps, as RTP timestamps do.
        (ticks as u32).wrapping_sub(u32::try_from(WRAP_AFTER.as_secs()).unwrap_or(0) * self.clock_rate)
    }

    async fn send(&mut self, at: Duration, marker: bool, payload: &[u8]) -> Result<(), Failure> {
        let mut packet = vec![0x80, 96 | u8::from(marker) << 7];
        packet.extend(self.sequence_number.to_be_bytes());
        packet.extend(self.timestamp(at).to_be_bytes());
        packet.extend(1_u32.to_be_bytes());
        packet.extend(payload);
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.track.write(RtpPacket::parse(Bytes::from(packet))?).await?;
        Ok(())
    }
}

async fn send(clock: FastClock, mut sound: Stream, mut pictures: Stream, gop: Vec<Vec<u8>>) -> Result<(), Failure> {
    while !(sound.track.is_sendable() && pictures.track.is_sendable()) {
        tokio::time::sleep(TICK).await;
    }
    let mut tick = tokio::time::interval(TICK);
    let begin = clock.now();
    let (mut next_piece, mut next_picture) = (Duration::ZERO, Duration::ZERO);
    let (mut told, mut gop) = (Instant::now(), gop.iter().cycle());
    loop {
        tick.tick().await;
        let at = clock.now() - begin;
        if told.elapsed() >= CAPTURE {
            told = Instant::now();
            for stream in [&sound, &pictures] {
                stream.track.captured(stream.timestamp(at), told);
            }
        }
        while next_piece <= at || next_picture <= at {
            if next_piece <= next_picture {
                sound.send(next_piece, false, SILENCE).await?;
                next_piece += PIECE;
                continue;
            }
            let picture = gop.next().ok_or("there are no pictures")?;
            let mut parts = picture.chunks(1100).enumerate().peekable();
            while let Some((index, part)) = parts.next() {
                // The payload descriptor (RFC 7741, section 4.2): the beginning of a partition, and nothing optional.
                let descriptor = if index == 0 { 0x10 } else { 0 };
                let payload: Vec<_> = std::iter::once(descriptor).chain(part.iter().copied()).collect();
                pictures.send(next_picture, parts.peek().is_none(), &payload).await?;
            }
            next_picture += PICTURE;
        }
    }
}

/// Two seconds of a small moving picture in VP8, to be sent again and again: the first is a keyframe.
fn group_of_pictures() -> Result<Vec<Vec<u8>>, Failure> {
    let text = "videotestsrc num-buffers=10 pattern=ball ! video/x-raw,format=I420,width=160,height=90,framerate=5/1 ! \
                vp8enc deadline=1 cpu-used=8 target-bitrate=40000 keyframe-max-dist=100 ! appsink name=sink sync=false";
    let pipeline = gst::parse::launch(text)?.downcast::<gst::Pipeline>().map_err(|_| "no pipeline")?;
    let sink = pipeline.by_name("sink").and_then(|sink| sink.downcast::<gst_app::AppSink>().ok()).ok_or("no sink")?;
    pipeline.set_state(gst::State::Playing)?;
    let mut pictures = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        pictures.push(sample.buffer().ok_or("no picture")?.map_readable()?.to_vec());
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(pictures)
}
