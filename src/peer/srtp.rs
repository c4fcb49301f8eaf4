//! The engine's SRTP for streams outside of connections: AES_CM_128_HMAC_SHA1_80 (RFC 3711, RFC 4568).

use std::fmt;

use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;

use crate::rtp::Protect;

/// The encryption of one stream: 16 bytes of master key, then 14 of salt.
pub(crate) fn protect(key: &[u8; 30]) -> Option<Box<dyn Protect>> {
    let (key, salt) = key.split_at(16);
    let provider = rtc::crypto::default_provider().ok()?;
    let profile = ProtectionProfile::Aes128CmHmacSha1_80;
    let context = Context::new(key, salt, profile, None, None, provider.crypto()).ok()?;
    Some(Box::new(Srtp(context)))
}

struct Srtp(Context);

impl fmt::Debug for Srtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Srtp")
    }
}

impl Protect for Srtp {
    fn rtp(&mut self, packet: &[u8], into: &mut Vec<u8>) -> Option<()> {
        replace(into, &self.0.encrypt_rtp(packet).ok()?)
    }

    fn rtcp(&mut self, packet: &[u8], into: &mut Vec<u8>) -> Option<()> {
        replace(into, &self.0.encrypt_rtcp(packet).ok()?)
    }
}

fn replace(into: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    into.clear();
    into.extend_from_slice(bytes);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_from_the_other_end_and_are_not_readable_between() {
        let key = [7; 30];
        let mut protection = protect(&key).unwrap();
        let provider = rtc::crypto::default_provider().unwrap();
        let profile = ProtectionProfile::Aes128CmHmacSha1_80;
        let mut other = Context::new(&key[..16], &key[16..], profile, None, None, provider.crypto()).unwrap();
        let packet = [0x80, 96, 0, 1, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut encrypted = Vec::new();
        protection.rtp(&packet, &mut encrypted).unwrap();
        assert_eq!(encrypted.len(), packet.len() + 10, "a tag of 80 bits");
        assert_ne!(encrypted[12..20], packet[12..]);
        assert_eq!(other.decrypt_rtp(&encrypted).unwrap()[..], packet);
        let report = [0x80, 200, 0, 6, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        protection.rtcp(&report, &mut encrypted).unwrap();
        assert_eq!(other.decrypt_rtcp(&encrypted).unwrap()[..], report);
        assert!(protection.rtp(&[1, 2, 3], &mut encrypted).is_none());
    }
}
