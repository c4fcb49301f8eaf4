//! Encryption as outputs use it (SRTP, RFC 3711); whoever has the means for it brings it along.

use std::fmt;

/// Encrypts the packets of one stream.
pub trait Protect: Send + fmt::Debug {
    /// Encrypts an RTP packet into `into`; `None` when it cannot be.
    fn rtp(&mut self, packet: &[u8], into: &mut Vec<u8>) -> Option<()>;

    /// Encrypts an RTCP compound packet into `into`; `None` when it cannot be.
    fn rtcp(&mut self, packet: &[u8], into: &mut Vec<u8>) -> Option<()>;
}

/// Makes the encryption of one stream from 16 bytes of master key and 14 of salt, with the transforms that
/// `AES_CM_128_HMAC_SHA1_80` names (RFC 4568, section 6.2); `None` when this build cannot.
pub type Protection = fn(&[u8; 30]) -> Option<Box<dyn Protect>>;
