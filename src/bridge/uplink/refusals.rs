//! What is not sent, and why: outputs that could never work, and endpoints that do not want it.

use url::Url;

use crate::output::spec::Destination;
use crate::output::uplink::UplinkError;
use crate::output::{OutputSpec, SpecError};
use crate::signaling::{RoomUrl, SignalingError};
use crate::terms::Codec;

/// Refuses an output that no [`WhipUplink`](super::WhipUplink) can dial, or that would feed the room with itself, louder each time round.
pub(in super::super) fn check(spec: &OutputSpec, room: &RoomUrl) -> Result<(), SpecError> {
    let Destination::Whip(whip) = &spec.destination else { return Ok(()) };
    let endpoint: RoomUrl = whip.endpoint.with_secrets().parse().map_err(|error| spec.refuse(format!("{error}")))?;
    if leads_into(endpoint.dial(), room) {
        return Err(spec.refuse("this is the room that the bridge takes its media from: push to another one"));
    }
    Ok(())
}

/// Whether an endpoint is the entrance of a room: the same server, a path as `/whip/ROOM`.
fn leads_into(endpoint: &Url, room: &RoomUrl) -> bool {
    let of_room = room.dial();
    let server = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    let mut path = endpoint.path_segments().into_iter().flatten();
    server(endpoint) == server(of_room)
        && path.next() == Some("whip")
        && path.next().is_some_and(|name| percent_encoding::percent_decode_str(name).eq(room.room().bytes()))
}

/// `pictures` is the codec of our pictures: what an endpoint cannot use in an offer is mostly that.
pub(super) fn refused(error: SignalingError, pictures: Option<Codec>) -> UplinkError {
    let reason = error.to_string();
    match (error, pictures) {
        (SignalingError::NotTaken { status: 406 | 415 | 422, .. }, Some(codec)) => {
            UplinkError::CodecRefused { codec, reason: reason + other_codec(codec) }
        }
        (SignalingError::NotTaken { retry_after, .. }, _) => UplinkError::Refused { reason, retry_after },
        _ => UplinkError::Refused { reason, retry_after: None },
    }
}

pub(super) fn other_codec(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => ": add video=vp8 to the output's URL",
        Codec::Vp8 => ": write video=h264 in the output's URL if it takes that",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_room_is_not_pushed_into_itself() {
        for (room, output, refused) in [
            ("mesh+ws://h:8080/ws?room=a%20b", "whip+http://h:8080/whip/a%20b?token=s3cret", true),
            ("mesh+wss://h/ws?room=a", "whip+https://h:443/whip/a", true),
            ("gst+ws://h:8080/gst/a", "whip+http://h:8080/whip/a?participant=mix", true),
            ("mesh+ws://h:8080/ws?room=a", "whip+http://h:8080/whip/b", false),
            ("mesh+ws://h:8080/ws?room=a", "whip+http://h:8081/whip/a", false),
            ("mesh+ws://h:8080/ws?room=a", "whip+http://other:8080/whip/a", false),
            ("mesh+ws://h:8080/ws?room=a", "whip+http://h:8080/live/whip/a", false),
            ("mesh+ws://h:8080/ws?room=a", "call.mkv", false),
        ] {
            let outcome = check(&output.parse().unwrap(), &room.parse().unwrap());
            assert_eq!(outcome.is_err(), refused, "{room} to {output}: {outcome:?}");
            assert!(!format!("{outcome:?}").contains("s3cret"));
        }
        let error =
            check(&"whip+http://h:0/x?token=s3cret".parse().unwrap(), &"mesh+ws://h/ws?room=a".parse().unwrap());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("port 0") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn an_offer_that_is_refused_names_the_other_codec_and_a_busy_endpoint_its_pause() {
        let not_taken = |status| SignalingError::NotTaken {
            endpoint: "whip+http://h/x".into(),
            status,
            message: "no".into(),
            advice: "",
            retry_after: Some(Duration::from_secs(7)),
        };
        let UplinkError::CodecRefused { reason, .. } = refused(not_taken(406), Some(Codec::H264)) else { panic!() };
        assert!(reason.ends_with("add video=vp8 to the output's URL"), "{reason}");
        let UplinkError::Refused { reason, retry_after } = refused(not_taken(503), Some(Codec::H264)) else { panic!() };
        assert!(!reason.contains("vp8"), "{reason}");
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
    }
}
