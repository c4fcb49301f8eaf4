//! Values that several subcommands read in the same way.

use std::time::Duration;

use roomcast::media::layout::Size;
use roomcast::peer;
use roomcast::signaling::{RoomUrl, RoomUrlError};
use roomcast::terms::IceServer;

/// A room's URL, with the name that `--name` gives us in it.
pub(crate) fn room_url(text: &str, name: Option<&str>) -> Result<RoomUrl, RoomUrlError> {
    let Some(name) = name else { return text.parse() };
    let id: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let separator = if text.contains('?') { '&' } else { '?' };
    format!("{text}{separator}id={id}").parse()
}

/// `WIDTHxHEIGHT` in pixels.
pub(crate) fn size(text: &str) -> Result<Size, String> {
    let parsed = text
        .split_once('x')
        .and_then(|(width, height)| Some(Size { width: width.parse().ok()?, height: height.parse().ok()? }));
    parsed
        .filter(|size| [size.width, size.height].iter().all(|side| (16..=7680).contains(side) && side % 2 == 0))
        .ok_or_else(|| {
            format!("`{text}` is not a size: write WIDTHxHEIGHT in even numbers from 16 to 7680, like 1280x720")
        })
}

/// Bytes, with k, M and G.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let factors = [('k', 1_000), ('K', 1_000), ('M', 1_000_000), ('G', 1_000_000_000)];
    let (digits, factor) = factors
        .iter()
        .find_map(|(letter, factor)| Some((text.strip_suffix(*letter)?, *factor)))
        .unwrap_or((text, 1_u64));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| format!("`{text}` is no number of bytes: write 500M or 2G, for example"))
}

/// Bits per second, with k and M.
pub(crate) fn bitrate(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.trim_end_matches(['k', 'K', 'm', 'M']) {
        digits if digits.len() == text.len() => (digits, 1.0),
        digits if text.ends_with(['k', 'K']) => (digits, 1e3),
        digits => (digits, 1e6),
    };
    let bits = digits.parse::<f64>().ok().map(|number| number * factor);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    bits.filter(|bits| (8_000.0..=1e8).contains(bits))
        .map(|bits| bits as u32)
        .ok_or_else(|| format!("`{text}` is not a bit rate: write 2M or 128k (8k to 100M)"))
}

/// A number of seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.trim_end_matches('s').parse::<f64>().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("`{text}` is not a number of seconds"))
}

/// `stun:HOST[:PORT]`, `turn:USER:PASSWORD@HOST[:PORT]`.
pub(crate) fn ice_server(text: &str) -> Result<IceServer, String> {
    let wrong = || format!("`{text}` is not an ICE server: write stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT");
    let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
    match (scheme, rest.rsplit_once('@')) {
        ("stun" | "stuns", None) if !rest.is_empty() => {
            usable(text)?;
            Ok(IceServer { urls: vec![text.to_owned()], username: None, credential: None })
        }
        ("turn" | "turns", Some((login, host))) if !host.is_empty() => {
            let (user, password) = login.split_once(':').ok_or_else(wrong)?;
            let url = format!("{scheme}:{host}");
            usable(&url)?;
            Ok(IceServer { urls: vec![url], username: Some(user.to_owned()), credential: Some(password.to_owned()) })
        }
        _ => Err(wrong()),
    }
}

fn usable(url: &str) -> Result<(), String> {
    peer::ice::problem(url).map_or(Ok(()), |problem| Err(format!("{url} {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_k_m_and_g() {
        for (text, number) in [("500M", 500_000_000), ("2G", 2_000_000_000), ("0", 0), ("7k", 7_000)] {
            assert_eq!(bytes(text), Ok(number), "{text}");
        }
        for text in ["", "M", "-1", "1.5G", "99999999999999999999", "18446744073709551615G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bit_rates_take_k_and_m() {
        for (text, bits) in [("2M", 2_000_000), ("128k", 128_000), ("1.5m", 1_500_000), ("64000", 64_000)] {
            assert_eq!(bitrate(text), Ok(bits), "{text}");
        }
        for text in ["", "fast", "0", "-1k", "1G", "999M"] {
            assert!(bitrate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_seconds_are_read() {
        assert_eq!(size("640x360"), Ok(Size { width: 640, height: 360 }));
        for text in ["", "big", "640", "640x", "x360", "641x360", "0x0", "8000x100", "640x360x1", "-2x4"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("10s"), Ok(Duration::from_secs(10)));
        assert!(seconds("-1").is_err());
    }

    #[test]
    fn a_name_is_part_of_the_rooms_url() {
        let url = room_url("mesh+ws://h/ws?room=r", Some("me")).unwrap();
        assert_eq!(url.id().map(roomcast::terms::ParticipantId::as_str), Some("me"));
        assert!(room_url("mesh+ws://h/ws?room=r", Some("a&b=c")).is_err(), "a name is no way to add other keys");
        assert_eq!(room_url("mesh+ws://h/ws?room=r", None).unwrap().id(), None);
    }

    #[test]
    fn a_turn_server_has_its_login_in_front() {
        let server = ice_server("turn:me:p@ss@turn.example.org:3478").unwrap();
        assert_eq!(server.urls, ["turn:turn.example.org:3478"]);
        assert_eq!((server.username.as_deref(), server.credential.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(ice_server("stun:a:3478").unwrap().urls, ["stun:a:3478"]);
        for text in ["turn:host", "http://x", "stun:", ""] {
            assert!(ice_server(text).is_err(), "{text}");
        }
        for text in ["turns:me:secret@host:443", "turn:me:secret@host:3478?transport=tcp"] {
            let error = ice_server(text).unwrap_err();
            assert!(error.contains("use turn:HOST:PORT?transport=udp"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
