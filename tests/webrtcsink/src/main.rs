//! Runs a pipeline with the elements of gst-plugin-webrtc until its standard input ends, as `gst-launch-1.0` would until it is
//! interrupted. Everything is on this machine, so nobody asks a STUN server.

use std::error::Error;
use std::io::{Read, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer::prelude::*;
use gstreamer::{MessageView, Pipeline, State};

fn main() -> Result<(), Box<dyn Error>> {
    gstreamer::init()?;
    gstrswebrtc::plugin_register_static()?;
    // Its congestion control.
    gstrsrtp::plugin_register_static()?;
    let text = std::env::args().nth(1).ok_or("webrtcsink: give a pipeline, with an element named out")?;
    let pipeline = gstreamer::parse::launch(&text)?.downcast::<Pipeline>().map_err(|_| "that is no pipeline")?;
    pipeline.by_name("out").ok_or("no element is named out")?.set_property("stun-server", None::<String>);
    let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
    let ending = Arc::new(AtomicBool::new(false));
    let is_ending = Arc::clone(&ending);
    // Faults end it, so that whoever started it sees them. On its way out webrtcsink complains of its own signaling.
    std::thread::spawn(move || {
        for message in bus.iter_timed(None) {
            if let MessageView::Error(error) = message.view()
                && !is_ending.load(Ordering::Relaxed)
            {
                eprintln!("webrtcsink: {}: {:?}", error.error(), error.debug());
                std::process::exit(1);
            }
        }
    });
    pipeline.set_state(State::Playing)?;
    stdin().read_to_end(&mut Vec::new())?;
    ending.store(true, Ordering::Relaxed);
    pipeline.set_state(State::Null)?;
    Ok(())
}
