//! Counters of one connection, for reports and events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rtc::statistics::stats::ice_candidate_pair::RTCStatsIceCandidatePairState;
use serde::Serialize;
use webrtc::peer_connection::RTCStatsReport;

use crate::terms::Ssrc;

/// What a connection has counted since it began.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PeerStats {
    /// Round-trip time of the path in use, from ICE's keep-alives.
    pub rtt: Option<Duration>,
    /// Lost packets that were rebuilt by forward error correction, and came in no other way until then.
    pub rebuilt: u64,
    /// One entry per stream that was received.
    pub inbound: Vec<InboundStats>,
    /// One entry per stream that was sent.
    pub outbound: Vec<OutboundStats>,
    /// Packets that were not taken because there were more of them in a second than [`NetworkConfig::packet_rate`].
    ///
    /// [`NetworkConfig::packet_rate`]: super::NetworkConfig::packet_rate
    pub refused: u64,
}

/// What was counted of one inbound stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InboundStats {
    /// The stream.
    pub ssrc: Ssrc,
    /// Packets that arrived, retransmissions and those that were rebuilt included.
    pub packets_received: u64,
    /// Packets that were never seen (RFC 3550, section 6.4.1); duplicates can make it negative.
    pub packets_lost: i64,
    /// Payload bytes.
    pub bytes_received: u64,
    /// Interarrival jitter in seconds (RFC 3550, section 6.4.1).
    pub jitter: f64,
    /// Requests for retransmission that we sent.
    pub nack_count: u32,
    /// Requests for a keyframe that we sent.
    pub pli_count: u32,
}

/// What was counted of one outbound stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutboundStats {
    /// The stream.
    pub ssrc: Ssrc,
    /// Packets sent.
    pub packets_sent: u64,
    /// Payload bytes.
    pub bytes_sent: u64,
    /// Requests for retransmission that we received.
    pub nack_count: u32,
}

/// What only our own interceptors count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Packets over the rate.
    pub(crate) refused: Arc<AtomicU64>,
    /// Packets that were rebuilt.
    pub(crate) rebuilt: Arc<AtomicU64>,
}

impl PeerStats {
    pub(crate) fn read(report: &RTCStatsReport, counts: &Counts) -> Self {
        let rtt = report
            .candidate_pairs()
            .filter(|pair| pair.nominated && pair.state == RTCStatsIceCandidatePairState::Succeeded)
            .map(|pair| pair.current_round_trip_time)
            .find(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let inbound = report.inbound_rtp_streams().map(|stream| {
            let received = &stream.received_rtp_stream_stats;
            InboundStats {
                ssrc: Ssrc(received.rtp_stream_stats.ssrc),
                packets_received: received.packets_received,
                packets_lost: received.packets_lost,
                bytes_received: stream.bytes_received,
                jitter: received.jitter,
                nack_count: stream.nack_count,
                pli_count: stream.pli_count,
            }
        });
        let outbound = report.outbound_rtp_streams().map(|stream| {
            let sent = &stream.sent_rtp_stream_stats;
            OutboundStats {
                ssrc: Ssrc(sent.rtp_stream_stats.ssrc),
                packets_sent: sent.packets_sent,
                bytes_sent: sent.bytes_sent,
                nack_count: stream.nack_count,
            }
        });
        Self {
            rtt,
            rebuilt: counts.rebuilt.load(Ordering::Relaxed),
            inbound: inbound.collect(),
            outbound: outbound.collect(),
            refused: counts.refused.load(Ordering::Relaxed),
        }
    }
}
