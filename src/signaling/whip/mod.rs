//! A WHIP endpoint (RFC 9725) as a room with one participant in it, who takes what we send.
//!
//! On the wire it is what a WHEP client says, with media the other way; so the state machine is that of [`super::whep`].
//! Particular is what refusals mean. All of them end the session: whoever sends tries again at its own pace.

use reqwest::Url;

use super::SignalingError;
use super::transport::http::Response;
use super::whep::{Manner, Verdict, WhepClient};

const WHIP: Manner = Manner { me: "whip-sender", them: "whip", judge, patient: false };

/// A WHIP client for an endpoint; `shown` is how people see it.
pub(crate) fn client(endpoint: Url, shown: String, token: Option<String>) -> WhepClient {
    WhepClient::with_manner(WHIP, endpoint, shown, token)
}

fn judge(shown: &str, response: &Response, _was_live: bool) -> Verdict {
    let advice = match response.status {
        401 | 403 => "; give the bearer token that it expects with token= in the URL",
        404 | 410 => "; there is no such endpoint: check the path",
        405 => "; it takes no POST, so it is no WHIP endpoint: check the path",
        409 => "; somebody else sends there: end that, or send to another path",
        406 | 415 | 422 => "; it cannot use our offer: perhaps it takes another video codec",
        429 | 503 => "; it is busy",
        500.. => "; its own log may say why",
        _ => "; does this URL speak WHIP?",
    };
    Verdict::Fail(SignalingError::NotTaken {
        endpoint: shown.to_owned(),
        status: response.status,
        message: response.words(),
        advice,
        retry_after: response.retry_after(),
    })
}

#[cfg(test)]
mod tests;
