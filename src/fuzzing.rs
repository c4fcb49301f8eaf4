//! One function per thing that reads what others write: any bytes go in, and nothing may come of it but what it promises.
//!
//! The tests below give each a bounded number of mutated seeds; `make fuzz` lets libFuzzer look for more (`fuzz/`). Seeds are the
//! test vectors of the protocols, in `fuzz/seeds/TARGET/`; each room's `fuzzing.rs` says how its inputs read. Not an interface: it
//! changes at any time.

use std::sync::LazyLock;

use crate::{media, output, peer, rtp, server, session, signaling};

#[cfg(test)]
mod mutator;
#[cfg(test)]
mod tests;

/// A target's name, and what panics when a promise is broken.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| {
    [
        signaling::fuzzing::TARGETS,
        peer::fuzzing::TARGETS,
        server::fuzzing::TARGETS,
        rtp::fuzzing::TARGETS,
        media::template::fuzzing::TARGETS,
        output::fuzzing::TARGETS,
        session::fuzzing::TARGETS,
    ]
    .concat()
});

/// Gives an input to one target; nothing happens when there is none of this name.
pub fn run(target: &str, input: &[u8]) {
    if let Some((_, run)) = TARGETS.iter().find(|(name, _)| *name == target) {
        run(input);
    }
}
