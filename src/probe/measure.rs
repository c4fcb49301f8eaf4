//! Drives one decoding from its start to a verdict: reads frames and bus messages on a blocking thread until there is enough.

use std::ops::ControlFlow;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_pbutils as gst_pbutils;
use tokio_util::sync::CancellationToken;

use super::pipeline::Decoding;
use super::source::Input;
use super::tracks::{Tracks, round};
use super::{FirstFrames, ProbeError, ProbeOptions, Progress, Report, Wanted};
use crate::terms::MediaKind;

/// How often the bus is read while no frame comes.
const TICK: Duration = Duration::from_millis(20);
/// What a player needs before anybody would say that it plays.
const ENOUGH_VIDEO: usize = 3;
const ENOUGH_AUDIO: usize = 5;

/// How a decoding ended.
enum End {
    /// The measurement has what it wants.
    Enough,
    /// The source has no more.
    Eos,
    /// An element gave up.
    Error,
    /// Nobody waits for the result any more.
    Cancelled,
}

/// Reads frames and messages until `check`, called after each frame and each tick, has enough.
fn drive(
    decoding: &Decoding,
    tracks: &mut Tracks,
    problems: &mut Vec<String>,
    cancel: &CancellationToken,
    mut check: impl FnMut(&Tracks) -> ControlFlow<()>,
) -> End {
    loop {
        if cancel.is_cancelled() {
            return End::Cancelled;
        }
        match decoding.seen.recv_timeout(TICK) {
            Ok(seen) => tracks.take(seen),
            Err(RecvTimeoutError::Timeout) => {}
            // All streaming threads are gone: the bus says why, and until then this must not spin.
            Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(TICK),
        }
        while let Some(message) = decoding.bus.pop() {
            let end = read_message(&message, problems);
            if let Some(end) = end {
                // Frames that were decoded before the message still wait in the channel.
                decoding.seen.try_iter().for_each(|seen| tracks.take(seen));
                return if check(tracks).is_break() { End::Enough } else { end };
            }
        }
        if check(tracks).is_break() {
            return End::Enough;
        }
    }
}

fn read_message(message: &gst::Message, problems: &mut Vec<String>) -> Option<End> {
    match message.view() {
        gst::MessageView::Eos(_) => return Some(End::Eos),
        gst::MessageView::Error(error) => {
            let element = error.src().map(|source| source.name().to_string()).unwrap_or_default();
            // The debug text's last line is where most elements say what really happened.
            let detail = error.debug().and_then(|debug| debug.lines().last().map(str::to_owned));
            let detail = detail.filter(|line| !line.is_empty()).map(|line| format!(" ({line})")).unwrap_or_default();
            problems.push(format!("{element}: {}{detail}", error.error()));
            return Some(End::Error);
        }
        gst::MessageView::Element(element) => {
            if let Ok(missing) = gst_pbutils::MissingPluginMessage::parse(element.message()) {
                problems.push(format!("no element for it: {} is missing", missing.description()));
            }
        }
        gst::MessageView::Latency(_) => {
            if let Some(pipeline) = message.src().and_then(|source| source.downcast_ref::<gst::Pipeline>()) {
                pipeline.recalculate_latency().ok();
            }
        }
        _ => {}
    }
    None
}

/// Decodes for as long as `options` say, and sums up.
pub(super) fn measure(
    source: String,
    input: &Input,
    is_endless: bool,
    options: &ProbeOptions,
    cancel: &CancellationToken,
) -> Result<Report, ProbeError> {
    let started = Instant::now();
    let decoding = Decoding::start(input)?;
    let (mut tracks, mut problems) = (Tracks::default(), Vec::new());
    let wanted = options.duration.or(is_endless.then_some(super::LIVE_DURATION));
    let mut stalled = None;
    let end = drive(&decoding, &mut tracks, &mut problems, cancel, |tracks| {
        if let Some(progress) = &options.progress {
            progress.send_replace(Progress::of(tracks));
        }
        let has = |track: &super::tracks::Track| wanted.is_some_and(|wanted| track.covered() >= wanted.as_secs_f64());
        if tracks.iter().next().is_some() && tracks.iter().all(has) {
            return ControlFlow::Break(());
        }
        // Each stream gets `timeout` for its first frame and between two frames.
        let is_silent = |since: Option<Instant>| since.unwrap_or(started).elapsed() > options.timeout;
        let silent = tracks.iter().filter(|track| !has(track)).all(|track| is_silent(track.last_decoded_at));
        if silent && started.elapsed() > options.timeout {
            stalled = Some(options.timeout);
            return ControlFlow::Break(());
        }
        // One stream that ended must not keep the others for ever.
        match wanted {
            Some(wanted) if started.elapsed() > wanted + options.timeout => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    problems.extend(decoding.ports.iter().filter_map(super::rtp::Port::silence));
    if let Some(timeout) = stalled {
        problems.push(format!("nothing came for {:.0} s: {}", timeout.as_secs_f64(), summary(&tracks)));
    }
    let container = decoding.container();
    decoding.stop();
    if matches!(end, End::Cancelled) {
        return Err(ProbeError::Cancelled);
    }
    Ok(Report {
        source,
        container,
        first_frame: tracks.first_decoded_at().map(|instant| round((instant - started).as_secs_f64())),
        elapsed: round(started.elapsed().as_secs_f64()),
        streams: tracks.reports(started),
        skew: tracks.skew(),
        problems,
    })
}

/// Decodes until there are some frames of each wanted kind. `Ok(Err(…))` when this attempt ended without, and another one may
/// do better: a file that is still being written, a sender that starts.
pub(super) fn first_frames(
    input: &Input,
    wanted: Wanted,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<Result<FirstFrames, String>, ProbeError> {
    let started = Instant::now();
    let decoding = Decoding::start(input)?;
    let (mut tracks, mut problems) = (Tracks::default(), Vec::new());
    let is_enough = |tracks: &Tracks| {
        (!wanted.video || tracks.frames_of(MediaKind::Video) >= ENOUGH_VIDEO)
            && (!wanted.audio || tracks.frames_of(MediaKind::Audio) >= ENOUGH_AUDIO)
    };
    let end = drive(&decoding, &mut tracks, &mut problems, cancel, |tracks| {
        if is_enough(tracks) || started.elapsed() > timeout {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    problems.extend(decoding.ports.iter().filter_map(super::rtp::Port::silence));
    decoding.stop();
    if matches!(end, End::Cancelled) {
        return Err(ProbeError::Cancelled);
    }
    if !is_enough(&tracks) {
        problems.insert(0, summary(&tracks));
        return Ok(Err(problems.join("; ")));
    }
    if let Some(error) = tracks.decode_error() {
        return Ok(Err(format!("the decoder complains: {error}")));
    }
    Ok(Ok(FirstFrames {
        video: tracks.frames_of(MediaKind::Video),
        audio: tracks.frames_of(MediaKind::Audio),
        elapsed: started.elapsed(),
    }))
}

fn summary(tracks: &Tracks) -> String {
    let (video, audio) = (tracks.frames_of(MediaKind::Video), tracks.frames_of(MediaKind::Audio));
    format!("{video} video frames and {audio} audio buffers were decoded")
}
