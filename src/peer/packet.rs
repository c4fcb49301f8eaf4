//! An RTP packet (RFC 3550, section 5.1) without the types of the WebRTC engine.

use bytes::Bytes;
use rtc::rtp;
use rtc::shared::marshal::{Marshal, MarshalSize, Unmarshal};

use super::error::PeerError;
use crate::terms::{Codec, PayloadType, Ssrc};

/// One RTP packet. Cloning shares the payload.
#[derive(Clone, Debug)]
pub struct RtpPacket {
    inner: rtp::Packet,
    codec: Option<Codec>,
}

impl RtpPacket {
    pub(crate) fn new(inner: rtp::Packet, codec: Option<Codec>) -> Self {
        Self { inner, codec }
    }

    /// Reads a packet from its bytes, sharing the payload.
    pub fn parse(mut bytes: Bytes) -> Result<Self, PeerError> {
        let length = bytes.len();
        rtp::Packet::unmarshal(&mut bytes)
            .map(|inner| Self { inner, codec: None })
            .map_err(|cause| PeerError::NotRtp { bytes: length, cause: cause.to_string() })
    }

    pub(crate) fn into_inner(self) -> rtp::Packet {
        self.inner
    }

    /// The stream that it belongs to.
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(self.inner.header.ssrc)
    }

    /// Its payload type, as negotiated.
    pub fn payload_type(&self) -> PayloadType {
        PayloadType(self.inner.header.payload_type)
    }

    /// The codec that its payload type means; senders may change it without a renegotiation. `None` when it means none
    /// of ours.
    pub fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// The sampling instant, in units of the codec's clock rate.
    pub fn timestamp(&self) -> u32 {
        self.inner.header.timestamp
    }

    /// Counts packets; wraps.
    pub fn sequence_number(&self) -> u16 {
        self.inner.header.sequence_number
    }

    /// Last packet of a picture, or first of a talk spurt.
    pub fn marker(&self) -> bool {
        self.inner.header.marker
    }

    /// The payload, without padding.
    pub fn payload(&self) -> &Bytes {
        &self.inner.payload
    }

    /// Whether it carries nothing but padding: a bandwidth probe.
    pub fn is_padding(&self) -> bool {
        self.inner.payload.is_empty()
    }

    /// The same packet at another place of its stream.
    #[must_use]
    pub fn renumbered(mut self, sequence_number: u16, timestamp: u32) -> Self {
        self.inner.header.sequence_number = sequence_number;
        self.inner.header.timestamp = timestamp;
        self
    }

    /// The same packet as one of another source.
    #[must_use]
    pub(crate) fn of_source(mut self, ssrc: Ssrc) -> Self {
        self.inner.header.ssrc = ssrc.0;
        self
    }

    #[cfg(test)]
    pub(crate) fn with_codec(self, codec: Codec) -> Self {
        Self { codec: Some(codec), ..self }
    }

    /// How many bytes [`Self::marshal_into`] writes.
    pub fn marshal_size(&self) -> usize {
        self.inner.marshal_size()
    }

    /// Writes the packet and returns how many bytes it took; `None` when the buffer is too small.
    pub fn marshal_into(&self, buffer: &mut [u8]) -> Option<usize> {
        self.inner.marshal_to(buffer).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: &[u8] = &[0x80, 0x80 | 96, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3];

    #[test]
    fn a_packet_is_read_and_written_back() {
        let packet = RtpPacket::parse(Bytes::from_static(PACKET)).unwrap();
        assert_eq!((packet.ssrc(), packet.payload_type()), (Ssrc(7), PayloadType(96)));
        assert_eq!((packet.sequence_number(), packet.timestamp(), packet.marker()), (0x1234, 9, true));
        assert!(!packet.is_padding());
        let mut buffer = [0; 32];
        assert_eq!(packet.marshal_into(&mut buffer), Some(packet.marshal_size()));
        assert_eq!(&buffer[..packet.marshal_size()], PACKET);
        assert_eq!(packet.marshal_into(&mut [0; 14]), None);
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [&b""[..], b"x", &PACKET[..11], &[0xbf, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(RtpPacket::parse(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
        }
    }
}
