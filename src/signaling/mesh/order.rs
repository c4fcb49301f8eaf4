//! The order of mesh ids: who gives way when two offers cross.

use crate::terms::ParticipantId;

/// Whether `me` is the polite side towards `peer` (W3C WebRTC, perfect negotiation).
///
/// Pages compute `myId.localeCompare(peerId) > 0`, and both sides must agree. That is ICU's root order, not that of bytes:
/// `_`, `-`, digits, then letters without regard to case; only if all of that is equal, lower case before upper case.
pub fn polite(me: &ParticipantId, peer: &ParticipantId) -> bool {
    let (me, peer) = (me.as_str(), peer.as_str());
    let primary = me.chars().map(primary_weight).cmp(peer.chars().map(primary_weight));
    let tertiary = me.chars().map(char::is_uppercase).cmp(peer.chars().map(char::is_uppercase));
    primary.then(tertiary).is_gt()
}

/// Ids are `[A-Za-z0-9_-]`; anything else a foreign server lets through sorts last, by code point.
fn primary_weight(c: char) -> (u8, char) {
    match c {
        '_' => (0, c),
        '-' => (1, c),
        '0'..='9' => (2, c),
        'a'..='z' | 'A'..='Z' => (3, c.to_ascii_lowercase()),
        _ => (4, c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_compare_as_locale_compare_does() {
        let cases = [
            ("zzz-gw-1", "ffffffffffff", true),
            ("Ab", "aB", true),
            ("aB", "Ab", false),
            ("-a", "0", false),
            ("_", "-", false),
            ("-", "_", true),
            ("0", "_", true),
            ("a", "9", true),
            ("a", "B", false),
            ("B", "a", true),
            ("A", "a", true),
            ("a", "A", false),
            ("ab", "a", true),
            ("a", "ab", false),
            ("same", "same", false),
        ];
        for (me, peer, expected) in cases {
            assert_eq!(polite(&ParticipantId::new(me), &ParticipantId::new(peer)), expected, "{me} towards {peer}");
        }
    }

    #[test]
    fn of_two_different_ids_exactly_one_is_polite() {
        let ids = ["_", "-", "0", "9", "a", "A", "aB", "Ab", "AB", "ab", "zzz-gw-1", "ZZZ-gw-1", "é"];
        for me in ids.map(ParticipantId::new) {
            for peer in ids.map(ParticipantId::new) {
                assert_eq!(polite(&me, &peer) != polite(&peer, &me), me != peer, "{me} and {peer}");
            }
        }
    }
}
