//! What a WHEP client and a WHIP client do not have in common, and how a WHEP client sees it.

use super::super::SignalingError;
use super::super::transport::http::Response;

/// What differs between the two.
#[derive(Clone, Copy)]
pub(in super::super) struct Manner {
    /// What we are called where participants have names.
    pub(in super::super) me: &'static str,
    /// What the stream or the endpoint is called there.
    pub(in super::super) them: &'static str,
    /// What to do about a POST that did not bring an answer. `shown` is the URL as people see it; `was_live` says that
    /// one did before.
    pub(in super::super) judge: fn(shown: &str, response: &Response, was_live: bool) -> Verdict,
    /// Whether what was live once is asked for again when its server cannot be reached.
    pub(in super::super) patient: bool,
}

/// What follows from a refusal.
pub(in super::super) enum Verdict {
    /// The stream may be there later.
    Pause,
    /// Somebody has to mend something.
    Fail(SignalingError),
}

/// Somebody else sends, and we watch.
pub(super) const WHEP: Manner = Manner { me: "whep-viewer", them: "whep", judge, patient: true };

fn judge(shown: &str, response: &Response, was_live: bool) -> Verdict {
    let advice = match response.status {
        406 if response.has_description() => "; it wants to make the offer itself, which is not supported",
        401 | 403 => "; give its bearer token with token= in the URL",
        404 | 410 if !was_live => "; check the path, and that the stream is live",
        404 | 409 | 410 | 425 | 429 | 503 => return Verdict::Pause,
        500.. if was_live => return Verdict::Pause,
        _ => "; does this URL speak WHEP?",
    };
    Verdict::Fail(SignalingError::Refused {
        room: shown.to_owned(),
        code: format!("HTTP {}", response.status),
        message: response.words(),
        advice,
    })
}
