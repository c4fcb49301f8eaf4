//! How text travels between a codec and its room. A transport knows nothing of what the text means.

mod any_certificate;
mod dial_error;
pub(crate) mod http;
pub(crate) mod requests;
mod status_line;
pub(crate) mod websocket;
