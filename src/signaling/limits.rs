//! What strangers are held to in every protocol, by client and embedded server: names and sizes.

/// The longest id and room name in bytes.
pub(crate) const MAX_NAME: usize = 64;
/// The largest message in bytes.
pub(crate) const MAX_MESSAGE: usize = 1024 * 1024;

/// Whether a server may call somebody so. Ours takes fewer characters; others decide themselves, but nobody gets control
/// characters into logs, terminals and the names of pipelines.
pub(crate) fn is_name(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_NAME && !id.contains(char::is_control)
}

/// Reads an id: trimmed, 1 to 64 bytes of `[A-Za-z0-9_-]`.
pub(crate) fn valid_id(id: &str) -> Option<&str> {
    let id = id.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    ((1..=MAX_NAME).contains(&id.len()) && id.bytes().all(allowed)).then_some(id)
}

/// Reads a room's name: trimmed, 1 to 64 bytes, no control characters.
pub(crate) fn valid_room(room: &str) -> Option<&str> {
    let room = room.trim();
    ((1..=MAX_NAME).contains(&room.len()) && !room.chars().any(char::is_control)).then_some(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_checked() {
        let long = "x".repeat(65);
        for (name, id, room) in [
            (" a ", Some("a"), Some("a")),
            ("a b", None, Some("a b")),
            ("", None, None),
            ("  ", None, None),
            ("a\tb", None, None),
            ("../x", None, Some("../x")),
            (&long, None, None),
            (&long[1..], Some(&long[1..]), Some(&long[1..])),
            ("é", None, Some("é")),
        ] {
            assert_eq!((valid_id(name), valid_room(name)), (id, room), "{name:?}");
        }
    }
}
