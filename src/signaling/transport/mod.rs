//! How text travels between a codec and its room. A transport knows nothing of what the text means.

mod dial_error;
pub(crate) mod requests;
pub(crate) mod websocket;
