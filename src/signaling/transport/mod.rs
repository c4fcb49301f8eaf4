//! How text travels between a codec and its room. A transport knows nothing of what the text means.

mod any_certificate;
mod dial_error;
pub(crate) mod http;
mod status_line;
mod user;
pub(crate) mod websocket;
