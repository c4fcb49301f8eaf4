//! Tracks that are not there or not always, and media of every form.

use roomcast::terms::{Codec, MediaKind};

use super::{OPUS, Odd, SMALL, STEREO, VP8, faults_in_the_end, mix_faults, play_all, skews};
use crate::material::{Media, pictures, sound};
use crate::sender::{Sender, Sent};

const SECONDS: u32 = 6;
/// How far sound and picture may be apart, in milliseconds.
const APART: f64 = 80.0;
/// What a mark may be late, in seconds: the mark itself comes once a second.
const MARK: f64 = 1.5;

const H264: &str = "x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max=30 bitrate=200 ! video/x-h264,profile=constrained-baseline";

/// From when on somebody is seen and heard; for ever not where it is infinite.
#[derive(Clone, Copy)]
struct Expected {
    seen: f64,
    heard: f64,
}

fn is_audio(sent: &Sent) -> bool {
    sent.codec.kind() == MediaKind::Audio
}

fn h264(seconds: u32, in_band: bool) -> Media {
    let (format, interval) = if in_band { ("byte-stream", -1) } else { ("avc", 0) };
    let pay = format!(
        "stream-format={format},alignment=au ! rtph264pay aggregate-mode=zero-latency config-interval={interval}"
    );
    pictures(Codec::H264, seconds, SMALL, &format!("{H264},{pay}"))
}

fn vp8(form: &str) -> Media {
    pictures(Codec::Vp8, SECONDS, form, VP8)
}

fn senders() -> Vec<(Odd, Expected)> {
    let (video, audio) = (vp8(SMALL), sound(SECONDS, STEREO, OPUS));
    let honest = Sender::of(&[&video, &audio]);
    let both = |video: &Media| Sender::of(&[video, &audio]);
    let heard = |form: &str, encode: &str| Sender::of(&[&video, &sound(SECONDS, form, encode)]);
    let slow = VP8.replace("keyframe-max-dist=30", "keyframe-max-dist=90");
    // Nothing refers to the second layer.
    let flags = "<no-upd-golden+no-upd-alt,no-upd-last+no-upd-golden+no-upd-alt+no-upd-entropy>";
    let layers = VP8.replace(
        " ! rtp",
        &format!(
            " name=two-layers temporal-scalability-number-layers=2 temporal-scalability-periodicity=2 \
             temporal-scalability-layer-flags={flags} temporal-scalability-layer-sync-flags=<false,true> ! rtp"
        ),
    );
    let upper = |sent: &Sent| !is_audio(sent) && !sent.report && (sent.at * 30.0).round() as u32 % 2 == 1;
    let sizes =
        ["160,height=90", "320,height=180", "90,height=160", "319,height=181", "64,height=64", "640,height=360"];
    let sizes = sizes.map(|size| pictures(Codec::Vp8, 1, &format!("width={size},framerate=30/1"), VP8));
    let sizes = sizes.into_iter().enumerate().reduce(|(_, all), (at, next)| (at, all.then(at as u32, next))).unwrap().1;
    let never = f64::INFINITY;
    let row = |name, sender, seen, heard| (Odd { name, sender }, Expected { seen, heard });
    vec![
        row("no sound", Sender::of(&[&video]), 0.5, never),
        row("no pictures", Sender::of(&[&audio]), never, 0.5),
        row("sound begins 2 s later", honest.clone().without(|sent| is_audio(sent) && sent.at < 2.0), 0.5, 2.5),
        row("pictures begin 2 s later", honest.clone().without(|sent| !is_audio(sent) && sent.at < 2.0), 2.5, 0.5),
        row(
            "pictures are removed and added again as another track",
            honest
                .clone()
                .without(|sent| !is_audio(sent) && (1.5..3.2).contains(&sent.at))
                .sources(|at, source| if source == 2 && at > 2.0 { 20 } else { source }),
            3.5,
            0.5,
        ),
        row(
            "sound is removed and added again",
            honest.clone().without(|sent| is_audio(sent) && (1.5..3.2).contains(&sent.at)).renumbered(MediaKind::Audio),
            0.5,
            3.5,
        ),
        row(
            "discontinuous transmission",
            honest
                .clone()
                .without(|sent| {
                    is_audio(sent)
                        && !sent.report
                        && (0.16..0.98).contains(&sent.at.fract())
                        && !((sent.at * 50.0) as u32).is_multiple_of(20)
                })
                .renumbered(MediaKind::Audio),
            0.5,
            0.5,
        ),
        row("mono", heard("rate=48000,channels=1", OPUS), 0.5, 0.5),
        row("sound of 8 kHz", heard("rate=8000,channels=1", "opusenc bitrate=12000 bandwidth=narrowband"), 0.5, 0.5),
        row("96 pictures a second", both(&vp8("width=160,height=90,framerate=96/1")), 0.5, 0.5),
        row("pictures of 2x2", both(&vp8("width=2,height=2,framerate=30/1")), 0.5, 0.5),
        row("pictures of 3840x2160", both(&vp8("width=3840,height=2160,framerate=5/1")), 0.5, 0.5),
        row("pictures of 319x181", both(&vp8("width=319,height=181,framerate=30/1")), 0.5, 0.5),
        row("another size each second", both(&sizes), 0.5, 0.5),
        row("pictures of a camera that was turned", honest.clone().turned(), 0.5, 0.5),
        row("probes of nothing but padding", honest.clone().probing(), 0.5, 0.5),
        row(
            "temporal layers, the upper one for 3 s only",
            both(&pictures(Codec::Vp8, SECONDS, SMALL, &layers))
                .without(|sent| upper(sent) && sent.at > 3.0)
                .renumbered(MediaKind::Video),
            0.5,
            0.5,
        ),
        row("H.264", both(&h264(SECONDS, true)), 0.5, 0.5),
        row("H.264 without parameter sets for 3 s", both(&h264(3, false).then(3, h264(SECONDS - 3, true))), 3.0, 0.5),
        row(
            "3 s without a keyframe",
            both(&pictures(Codec::Vp8, SECONDS, SMALL, &slow))
                .without(|sent| !is_audio(sent) && !sent.report && sent.at < 0.1),
            3.0,
            0.5,
        ),
    ]
}

/// Seen to fail: without `mark_jumps` in `src/media/ingest/decoders.rs` sound with pauses is up to 160 ms early; probes whose packets are
/// left out, as `src/bridge/reader.rs` once did, leave 40 of 164 pictures and no flash.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_somebody_sends_the_mix_goes_on_and_shows_it() {
    roomcast::media::elements::init().unwrap();
    let mut left = tokio::task::spawn_blocking(senders).await.unwrap();
    let faults = faults_in_the_end(async || play_and_judge(&mut left).await).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Plays them and leaves those with faults.
async fn play_and_judge(left: &mut Vec<(Odd, Expected)>) -> Vec<String> {
    let (mut faults, mut failed) = (Vec::new(), Vec::new());
    let senders = left.iter().map(|(odd, _)| odd.clone()).collect();
    for ((odd, expected), (name, length, seen)) in left.iter().zip(play_all(senders, false).await) {
        eprintln!(
            "{name}: {} pictures, {} keyframes asked for, skew {:.0?} ms",
            seen.decoded,
            seen.asked,
            skews(&seen.flashes, &seen.beeps)
        );
        let mut wrong = mix_faults(length, &seen);
        // Further apart is a mark whose companion was not sent.
        let apart = skews(&seen.flashes, &seen.beeps).into_iter().filter(|skew| skew.abs() < 500.0).skip(1);
        wrong.extend(
            apart.filter(|skew| skew.abs() > APART).map(|skew| format!("sound and picture are {skew:.0} ms apart")),
        );
        for (what, from, marks) in [("seen", expected.seen, &seen.flashes), ("heard", expected.heard, &seen.beeps)] {
            if from.is_infinite() {
                if !marks.is_empty() {
                    wrong.push(format!("{what} although nothing was sent: {marks:.3?}"));
                }
            } else if !marks.iter().any(|mark| (from..from + MARK).contains(mark)) {
                wrong.push(format!("not {what} from {from} s on: {marks:.3?}"));
            } else if marks.last().is_none_or(|last| *last < length - MARK) {
                wrong.push(format!("not {what} any more: {marks:.3?}"));
            }
        }
        if !wrong.is_empty() {
            failed.push((odd.clone(), *expected));
            faults.push(format!("{name}: {wrong:#?}\n{seen:.3?}"));
        }
    }
    *left = failed;
    faults
}
