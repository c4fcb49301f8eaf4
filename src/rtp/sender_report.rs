//! Sender reports that we write: what players need to bring sound and picture in step. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::terms::Ssrc;

/// Seconds from NTP's epoch, 1900, to that of Unix (RFC 3550, section 4).
const NTP_OF_UNIX_EPOCH: u64 = 2_208_988_800;

/// A sender report with a source description (RFC 3550, sections 6.4.1 and 6.5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderReport<'a> {
    pub(crate) ssrc: Ssrc,
    /// The name that sound and picture of one sender share.
    pub(crate) cname: &'a str,
    /// The moment, and the media's timestamp at it.
    pub(crate) time: SystemTime,
    pub(crate) timestamp: u32,
    /// What was sent so far.
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

impl SenderReport<'_> {
    /// Writes the compound packet.
    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        into.clear();
        into.extend([0x80, 200, 0, 6]);
        into.extend(self.ssrc.0.to_be_bytes());
        into.extend(ntp(self.time).to_be_bytes());
        for word in [self.timestamp, self.packets, self.octets] {
            into.extend(word.to_be_bytes());
        }
        // One chunk: the source, its CNAME, a null octet at least and up to the next word.
        let name = self.cname.get(..self.cname.len().min(255)).unwrap_or_default().as_bytes();
        let words = 1 + (2 + name.len() + 1).div_ceil(4);
        let [high, low] = u16::try_from(words).unwrap_or_default().to_be_bytes();
        into.extend([0x81, 202, high, low]);
        into.extend(self.ssrc.0.to_be_bytes());
        into.extend([1, u8::try_from(name.len()).unwrap_or_default()]);
        into.extend(name);
        into.resize(28 + 4 + 4 * words, 0);
    }
}

/// 32.32 fixed point.
fn ntp(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs() + NTP_OF_UNIX_EPOCH) << 32 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_whole_compound_packet() {
        let mut bytes = vec![1, 2, 3];
        let report = SenderReport {
            ssrc: Ssrc(0x0102_0304),
            cname: "room",
            time: UNIX_EPOCH + Duration::from_millis(1500),
            timestamp: 7,
            packets: 8,
            octets: 9,
        };
        report.write(&mut bytes);
        assert_eq!(bytes[..8], [0x80, 200, 0, 6, 1, 2, 3, 4]);
        assert_eq!(bytes[8..16], [0x83, 0xaa, 0x7e, 0x81, 0x80, 0, 0, 0]);
        assert_eq!(bytes[16..28], [0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9]);
        assert_eq!(bytes[28..], [0x81, 202, 0, 3, 1, 2, 3, 4, 1, 4, b'r', b'o', b'o', b'm', 0, 0]);
    }

    #[test]
    fn names_of_every_length_end_with_a_null_octet_on_a_word() {
        for length in 0..300 {
            let name = "n".repeat(length);
            let report =
                SenderReport { ssrc: Ssrc(1), cname: &name, time: UNIX_EPOCH, timestamp: 0, packets: 0, octets: 0 };
            let mut bytes = Vec::new();
            report.write(&mut bytes);
            assert!(bytes.len().is_multiple_of(4) && bytes.last() == Some(&0), "{length}");
            let words = usize::from(u16::from_be_bytes([bytes[30], bytes[31]]));
            assert_eq!(bytes.len(), 28 + 4 * (words + 1), "{length}");
        }
    }
}
