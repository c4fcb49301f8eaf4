//! Bridges one room with the library: what `roomcast bridge` does, in a program of your own.
//!
//! ```text
//! cargo run --example bridge_room -- 'mesh+ws://127.0.0.1:8080/ws?room=demo' call.mkv hls:www
//! ```
//!
//! Ctrl-C ends it; recordings are complete when it returns.

#![allow(clippy::print_stdout, reason = "a program that talks to people")]

use std::error::Error;

use roomcast::bridge::{BridgeConfig, Event, Record, run};
use roomcast::output::OutputSpec;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let room = arguments.next().ok_or("which room? mesh+ws://127.0.0.1:8080/ws?room=demo, for example")?.parse()?;
    let outputs = arguments.map(|output| output.parse()).collect::<Result<Vec<OutputSpec>, _>>()?;
    let config = BridgeConfig::new(room, outputs);

    let (events, mut received) = mpsc::channel::<Record>(64);
    let telling = tokio::spawn(async move {
        while let Some(record) = received.recv().await {
            match record.event {
                Event::Joined { room, me } => println!("in room {room} as {me}"),
                Event::ParticipantJoined { participant } => println!("{participant} came"),
                Event::ParticipantLeft { participant, reason } => println!("{participant} went: {reason}"),
                Event::OutputReady { output, play, .. } => println!("{output} plays: {}", play.ffplay),
                Event::OutputFailed { output, error, .. } => println!("{output} failed: {error}"),
                _ => {}
            }
        }
    });

    let stop = CancellationToken::new();
    let stop_on_signal = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop_on_signal.cancel();
        }
    });
    // Returns when asked to stop; what it was like is in the summary.
    let summary = run(config, events, None, mpsc::channel(1).1, stop).await?;
    telling.await?;
    println!("{:.1} s, {} participants", summary.duration, summary.participants);
    Ok(())
}
