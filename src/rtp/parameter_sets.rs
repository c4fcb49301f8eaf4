//! The parameter sets that an H.264 stream carries in band, for the SDP of those who join it. Pure.

use bytes::Bytes;

/// The latest SPS and PPS of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParameterSets {
    sps: Bytes,
    pps: Bytes,
}

/// A parameter set is some dozens of bytes; what is larger is none.
const LARGEST: usize = 1024;

impl ParameterSets {
    /// Looks at a payload (RFC 6184, section 5.2). True when it brings something new.
    pub(crate) fn learn(&mut self, payload: &Bytes) -> bool {
        match payload.first().map_or(0, |first| first & 0x1f) {
            7 | 8 => self.take(payload.clone()),
            24 => self.take_aggregate(payload.slice(1..)),
            _ => false,
        }
    }

    /// A single-time aggregation packet (section 5.7.1).
    fn take_aggregate(&mut self, mut rest: Bytes) -> bool {
        let mut new = false;
        while let Some([high, low]) = rest.first_chunk::<2>().copied() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 || rest.len() < 2 + length {
                break;
            }
            new |= self.take(rest.slice(2..2 + length));
            rest = rest.slice(2 + length..);
        }
        new
    }

    fn take(&mut self, unit: Bytes) -> bool {
        let known = match unit.first().map_or(0, |first| first & 0x1f) {
            7 if unit.len() >= 4 => &mut self.sps,
            8 => &mut self.pps,
            _ => return false,
        };
        let new = *known != unit && unit.len() <= LARGEST;
        if new {
            // A copy: what is kept must not keep a whole packet.
            *known = Bytes::copy_from_slice(&unit);
        }
        new
    }

    /// Both, when both are known.
    pub(crate) fn both(&self) -> Option<(&[u8], &[u8])> {
        (!self.sps.is_empty() && !self.pps.is_empty()).then_some((&*self.sps, &*self.pps))
    }

    /// Profile, constraints and level, as `profile-level-id` writes them (RFC 6184, section 8.1).
    pub(crate) fn profile_level_id(&self) -> Option<String> {
        let [_, profile, constraints, level] = *self.sps.first_chunk::<4>()?;
        Some(format!("{profile:02x}{constraints:02x}{level:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 9];
    const PPS: &[u8] = &[0x68, 0xce];

    #[test]
    fn sets_are_found_alone_and_in_aggregates_and_told_once() {
        let mut sets = ParameterSets::default();
        assert!(sets.learn(&Bytes::from_static(SPS)));
        assert_eq!((sets.both(), sets.profile_level_id().as_deref()), (None, Some("42c01f")));
        let mut aggregate = vec![0x78];
        for unit in [SPS, PPS, &[0x65, 1, 2, 3]] {
            aggregate.extend((unit.len() as u16).to_be_bytes());
            aggregate.extend(unit);
        }
        assert!(sets.learn(&aggregate.clone().into()));
        assert_eq!(sets.both(), Some((SPS, PPS)));
        assert!(!sets.learn(&aggregate.into()));
        assert!(sets.learn(&Bytes::from_static(&[0x67, 0x42, 0xc0, 0x20])));
    }

    #[test]
    fn broken_aggregates_and_giants_bring_nothing() {
        let mut sets = ParameterSets::default();
        for payload in [&[][..], &[0x78], &[0x78, 0, 0], &[0x78, 0, 9, 0x67], &[0x67], &[0x41, 1, 2, 3]] {
            assert!(!sets.learn(&Bytes::copy_from_slice(payload)), "{payload:02x?}");
        }
        let mut giant = vec![0x67; 2000];
        giant[1] = 1;
        assert!(!sets.learn(&giant.into()));
    }
}
