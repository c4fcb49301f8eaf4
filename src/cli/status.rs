//! The live status block of a bridge on a terminal: one block that changes in place, with lasting lines above it.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use roomcast::bridge::{BridgeConfig, Snapshot};
use roomcast::telemetry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The status block; it vanishes when dropped.
#[derive(Debug)]
pub(crate) struct Status {
    bar: ProgressBar,
    drawing: JoinHandle<()>,
}

impl Status {
    /// Starts to draw on stderr; `None` when that is not a terminal.
    pub(crate) fn start(config: &BridgeConfig, mut snapshots: watch::Receiver<Snapshot>) -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").ok()?);
        bar.set_message(format!("joining {}", config.room));
        bar.enable_steady_tick(Duration::from_millis(250));
        telemetry::draw_above(&bar);
        let drawn = bar.clone();
        let drawing = tokio::spawn(async move {
            while snapshots.changed().await.is_ok() {
                let text = draw(&snapshots.borrow_and_update());
                drawn.set_message(text);
            }
        });
        Some(Self { bar, drawing })
    }

    /// Prints a lasting line above the block.
    pub(crate) fn print(&self, text: &str) {
        self.bar.suspend(|| super::print_line(text));
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.drawing.abort();
        self.bar.finish_and_clear();
    }
}

fn draw(snapshot: &Snapshot) -> String {
    let mut text =
        format!("{}  {:.0} fps  {} in the room", clock(snapshot.uptime), snapshot.fps, snapshot.participants.len());
    if snapshot.frames_dropped > 0 {
        text += &format!("  {} pictures dropped: the encoder is too slow", snapshot.frames_dropped);
    }
    for person in &snapshot.participants {
        let codec = person.video.map_or_else(|| "no video".to_owned(), |codec| codec.to_string());
        let state = if person.connected { "" } else { "  connecting" };
        text += &format!(
            "\n    {:<24} {codec:<8} {:>3.0} fps {:>6.0} kb/s  loss {:.1} %{state}",
            person.participant.to_string(),
            person.fps,
            person.bitrate / 1000.0,
            person.loss * 100.0
        );
    }
    for (output, state) in &snapshot.outputs {
        let phase = format!("{:?}", state.state).to_lowercase();
        let lost = if state.dropped > 0 { format!("  {} lost", state.dropped) } else { String::new() };
        text += &format!("\n    {phase:<9} {output}{lost}");
    }
    for disk in &snapshot.disks {
        let left = disk.seconds_left.map(|left| format!(", full in {}", clock(left))).unwrap_or_default();
        text += &format!("\n    {} free on {}{left}", HumanBytes(disk.free), disk.directory.display());
    }
    text
}

fn clock(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast::bridge::{DiskState, ParticipantState};
    use roomcast::terms::{Codec, ParticipantId};

    #[test]
    fn the_block_names_participants_outputs_and_disk() {
        let snapshot = Snapshot {
            uptime: 3_725.0,
            fps: 29.97,
            frames_dropped: 0,
            encoders: Vec::new(),
            ports: None,
            sound_lost: 0.0,
            participants: vec![ParticipantState {
                participant: ParticipantId::new("alice"),
                connected: true,
                video: Some(Codec::Vp8),
                fps: 30.0,
                bitrate: 1_500_000.0,
                loss: 0.012,
                rebuilt: 0,
                packets: Default::default(),
                refused: 0,
                rtt: None,
            }],
            disks: vec![DiskState { directory: "/".into(), free: 3_000_000_000, seconds_left: Some(3_725.0) }],
            outputs: [("call.mkv".to_owned(), Default::default())].into(),
        };
        let text = draw(&snapshot);
        for part in [
            "01:02:05",
            "30 fps",
            "1 in the room",
            "alice",
            "vp8",
            "1500 kb/s",
            "loss 1.2 %",
            "starting  call.mkv",
            "2.79 GiB free on /, full in 01:02:05",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
