//! Which GStreamer elements each job needs.

use std::sync::OnceLock;

/// GStreamer could not start.
#[derive(Clone, Debug, thiserror::Error)]
#[error("GStreamer could not start: {0}")]
pub struct InitError(String);

/// Starts GStreamer and registers the elements that are linked into this binary. Calling it again changes nothing.
pub fn init() -> Result<(), InitError> {
    static OUTCOME: OnceLock<Result<(), InitError>> = OnceLock::new();
    let start = || {
        gstreamer::init().map_err(|error| error.to_string())?;
        gstfmp4::plugin_register_static().map_err(|error| error.to_string())?;
        gstrsrtp::plugin_register_static().map_err(|error| error.to_string())
    };
    OUTCOME.get_or_init(|| start().map_err(InitError)).clone()
}
