//! What a bridge tells people, a line or a few for each event.

use roomcast::bridge::{EncoderState, Event, Summary, Verdict, Verified};

/// An event as a line for people; `None` for what only programs need.
pub(super) fn describe(event: &Event) -> Option<String> {
    Some(match event {
        Event::Joined { room, me } => format!("joined room {room} as {me}"),
        Event::ParticipantJoined { participant } => format!("+ {participant}"),
        Event::TrackStarted { participant, kind, codec, .. } => format!("  {participant} sends {kind} ({codec})"),
        Event::TrackStalled { participant, kind } => format!("  {participant} sends no {kind}"),
        Event::TrackResumed { participant, kind } => format!("  {participant} sends {kind} again"),
        Event::ParticipantLimited { participant, reason } => format!("  {participant} sends too much: {reason}"),
        Event::ParticipantRefused { participant, reason } => format!("  {participant} is not let in: {reason}"),
        Event::ParticipantLeft { participant, reason } => format!("- {participant} ({reason})"),
        Event::OutputReady { output, play, .. } => {
            let mut text = format!("ready: {output}");
            for (player, command) in [
                ("ffplay", &play.ffplay),
                ("VLC (Debian)", &play.vlc),
                ("VLC (VideoLAN)", &play.vlc_videolan),
                ("GStreamer", &play.gst),
            ] {
                if !command.is_empty() {
                    text += &format!("\n  {player:<15} {command}");
                }
            }
            text
        }
        Event::OutputFailed { output, error, retry_in, .. } => match retry_in {
            Some(pause) => format!("failed: {output}: {error}; next attempt in {pause:.0} s"),
            None => format!("failed: {output}: {error}"),
        },
        Event::PartFinished { file, duration, bytes, .. } => {
            format!("complete: {} ({duration:.1} s, {})", file.display(), indicatif::HumanBytes(*bytes))
        }
        Event::MediaLost { output, units, total, .. } => {
            format!("LOST: {output}: its disk is too slow: {units} pictures and pieces of sound, {total} in all")
        }
        Event::RecordingPruned { file, bytes, .. } => {
            format!("deleted: {} ({}): the disk is full", file.display(), indicatif::HumanBytes(*bytes))
        }
        Event::OutputStopped { output, complete, .. } => {
            format!("ended: {output}{}", if *complete { "" } else { " (incomplete)" })
        }
        Event::Verifying { files } => format!("verifying {files} recordings; Ctrl-C skips it"),
        Event::Verified(verified) => describe_verdict(verified),
        Event::Overload(EncoderState { encoder, level: 0, fps, .. }) => {
            format!("{encoder}: {fps:.0} pictures a second again")
        }
        Event::Overload(EncoderState { encoder, fps, preset, .. }) => {
            let preset = preset.map_or(String::new(), |preset| format!(", with the preset {preset}"));
            format!("{encoder}: the machine is too slow for all pictures: {fps:.0} a second for now{preset}")
        }
        Event::Reconnecting { what, attempt, reason, .. } => {
            format!("reconnecting to {what} (attempt {attempt}): {reason}")
        }
        Event::Stats(_) => return None,
        Event::Stopped { summary, .. } => describe_end(summary),
    })
}

fn describe_verdict(verified: &Verified) -> String {
    let file = verified.file.display();
    match verified.verdict {
        Verdict::Ok => format!("verified: {file}"),
        Verdict::Skipped => format!("not verified: {file}: {}", verified.skipped.as_deref().unwrap_or_default()),
        Verdict::Fault => {
            let faults = verified.faults.iter().map(|fault| format!("\n  {}", fault.text));
            faults.fold(format!("FAULT: {file}"), |text, fault| text + &fault)
        }
    }
}

fn describe_end(summary: &Summary) -> String {
    let mut text = format!(
        "stopped after {:.1} s: {} participants, {} pictures",
        summary.duration, summary.participants, summary.frames
    );
    for output in &summary.outputs {
        let state = if output.ok { "complete" } else { "FAILED" };
        text += &format!("\n  {state}: {}", output.output);
        if let Some(error) = output.error.as_ref().filter(|_| !output.ok) {
            text += &format!(": {error}");
        }
    }
    text
}
