//! What the first bytes of a datagram say about whom it is for (RFC 7983, section 7; RFC 8489, section 5).
//!
//! Only what routing needs is read, nothing is checked cryptographically: the connection that gets the datagram does
//! that. Any input is accepted and none panics; these bytes come from anybody on the internet.

/// The fixed part of a STUN message.
const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// RFC 8445 asks for at most 256 characters in each half of a USERNAME.
pub(super) const LONGEST_FRAGMENT: usize = 256;
const USERNAME: u16 = 0x0006;

/// A STUN transaction id.
pub(crate) type Transaction = [u8; 12];

/// What kind of datagram it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// A connectivity check for the connection with this ufrag, or a Binding request to a STUN server, without one.
    Check {
        /// Names the answer to it.
        transaction: Transaction,
        /// The receiver's half of the USERNAME.
        ufrag: Option<&'a str>,
    },
    /// The answer to a Binding request.
    Answer(Transaction),
    /// Talk with a TURN server: another method than Binding, or a channel's data (RFC 8656).
    Turn,
    /// DTLS, RTP, RTCP, an indication, or nothing we know: it belongs to whom its sender belongs to.
    Media,
}

/// Reads the kind of a datagram.
pub(crate) fn kind(datagram: &[u8]) -> Kind<'_> {
    let Some(&first) = datagram.first() else { return Kind::Media };
    if (0x40..0x50).contains(&first) {
        return Kind::Turn;
    }
    let Some((message_type, transaction)) = header(datagram) else { return Kind::Media };
    // RFC 8489, section 5: the class is bits 4 and 8 of the type, the method is all the others.
    match (message_type & !0x0110, message_type & 0x0110) {
        (0x0001, 0x0000) => Kind::Check { transaction, ufrag: receiver(datagram) },
        (0x0001, 0x0100 | 0x0110) => Kind::Answer(transaction),
        (0x0001, _) => Kind::Media,
        _ => Kind::Turn,
    }
}

/// The type and the transaction of a STUN message.
fn header(datagram: &[u8]) -> Option<(u16, Transaction)> {
    let header = datagram.first_chunk::<HEADER>()?;
    let message_type = u16::from_be_bytes([header[0], header[1]]);
    let cookie = header[4..8] == COOKIE;
    (message_type < 0x4000 && cookie).then_some(())?;
    Some((message_type, *header.last_chunk()?))
}

/// The first half of USERNAME, which names the receiver (RFC 8445, section 7.2.2).
fn receiver(message: &[u8]) -> Option<&str> {
    let length = usize::from(u16::from_be_bytes([*message.get(2)?, *message.get(3)?]));
    let mut rest = message.get(HEADER..HEADER + length)?;
    while let Some((attribute, tail)) = rest.split_first_chunk::<4>() {
        let name = u16::from_be_bytes([attribute[0], attribute[1]]);
        let length = usize::from(u16::from_be_bytes([attribute[2], attribute[3]]));
        if name == USERNAME {
            let fragment = tail.get(..length)?.split(|byte| *byte == b':').next()?;
            return std::str::from_utf8(fragment).ok().filter(|it| (1..=LONGEST_FRAGMENT).contains(&it.len()));
        }
        // Attributes are padded to four bytes.
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const TRANSACTION: Transaction = *b"transaction!";

    /// A STUN message with these attributes.
    pub(crate) fn message(message_type: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in attributes {
            body.extend(name.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = message_type.to_be_bytes().to_vec();
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(COOKIE);
        message.extend(TRANSACTION);
        message.extend(body);
        message
    }

    /// A connectivity check for `ufrag`.
    pub(crate) fn check(ufrag: &str) -> Vec<u8> {
        message(0x0001, &[(0x0024, &[1, 2, 3, 4]), (USERNAME, format!("{ufrag}:theirs").as_bytes())])
    }

    fn for_ufrag(ufrag: Option<&str>) -> Kind<'_> {
        Kind::Check { transaction: TRANSACTION, ufrag }
    }

    #[test]
    fn kinds_are_told_apart() {
        let unpadded = message(0x0001, &[(0x8022, b"odd"), (USERNAME, b"mine:theirs")]);
        let cases: [(&str, Vec<u8>, Kind<'_>); 16] = [
            ("a check", check("mine"), for_ufrag(Some("mine"))),
            ("after an attribute with padding", unpadded, for_ufrag(Some("mine"))),
            ("without a colon", message(0x0001, &[(USERNAME, b"mine")]), for_ufrag(Some("mine"))),
            ("a request to a STUN server", message(0x0001, &[]), for_ufrag(None)),
            ("a success", message(0x0101, &[]), Kind::Answer(TRANSACTION)),
            ("an error", message(0x0111, &[(0x0009, &[0, 0, 4, 0])]), Kind::Answer(TRANSACTION)),
            ("an indication", message(0x0011, &[]), Kind::Media),
            ("Allocate", message(0x0003, &[]), Kind::Turn),
            ("its success", message(0x0103, &[]), Kind::Turn),
            ("CreatePermission", message(0x0008, &[]), Kind::Turn),
            ("Send", message(0x0016, &[]), Kind::Turn),
            ("Data", message(0x0017, &[]), Kind::Turn),
            ("a channel's data", vec![0x40, 0, 0, 1, 9], Kind::Turn),
            ("DTLS", vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Kind::Media),
            ("RTP", vec![0x80; 40], Kind::Media),
            ("nothing", vec![], Kind::Media),
        ];
        for (what, datagram, expected) in cases {
            assert_eq!(kind(&datagram), expected, "{what}");
        }
    }

    #[test]
    fn hostile_messages_have_no_receiver() {
        let changed = |at: usize, to: u8| {
            let mut message = check("mine");
            message[at] = to;
            message
        };
        let long = "x".repeat(LONGEST_FRAGMENT + 1);
        let cases: [(&str, Vec<u8>); 8] = [
            ("a length beyond the datagram", changed(2, 0xff)),
            ("an attribute beyond the message", changed(22, 0xff)),
            ("a user name beyond the message", changed(30, 0xff)),
            ("no text", message(0x0001, &[(USERNAME, &[0xff, 0xfe, b':', b'a'])])),
            ("no name before the colon", message(0x0001, &[(USERNAME, b":theirs")])),
            ("an empty user name", message(0x0001, &[(USERNAME, b"")])),
            ("a name longer than allowed", message(0x0001, &[(USERNAME, long.as_bytes())])),
            ("a length without the user name", changed(3, 8)),
        ];
        for (what, datagram) in cases {
            assert_eq!(kind(&datagram), for_ufrag(None), "{what}");
        }
    }

    #[test]
    fn what_is_cut_short_is_read_without_panic() {
        let whole = check("mine");
        for length in 0..whole.len() {
            let expected = if length < HEADER { Kind::Media } else { for_ufrag(None) };
            assert_eq!(kind(&whole[..length]), expected, "{length} bytes");
        }
        let mut other_cookie = whole;
        other_cookie[4] = 0;
        assert_eq!(kind(&other_cookie), Kind::Media);
    }

    #[test]
    fn every_first_byte_and_every_length_is_read_without_panic() {
        for first in 0..=u8::MAX {
            for length in 0..64 {
                for fill in [0, 0x21, 0xff] {
                    let mut datagram = vec![fill; length];
                    if let Some(byte) = datagram.first_mut() {
                        *byte = first;
                    }
                    kind(&datagram);
                }
            }
        }
    }
}
