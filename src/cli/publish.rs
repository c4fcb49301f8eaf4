//! `roomcast publish`.

use super::{Context, Exit, Failure};

/// Options of `roomcast publish`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {}

pub(crate) async fn run(_options: Options, _context: Context) -> Result<Exit, Failure> {
    Ok(Exit::Done)
}
