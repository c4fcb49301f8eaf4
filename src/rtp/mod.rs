//! RTP as a stream of packets and numbers: what a bridge, its outputs and the server's relay have in common.
//!
//! Pure but for [`Tap`], which hands packets to whoever wants them. It knows no connection, no socket and no pipeline: `peer`
//! brings packets, `bridge` puts them into taps, `output` and `server::relay` number them anew and send them.

pub(crate) mod fuzzing;
mod keyframe;
mod packet;
mod parameter_sets;
mod protect;
mod reports;
mod sender_report;
mod splice;
mod tap;

pub(crate) use keyframe::begins_keyframe;
pub use packet::{Packet, TrackId};
pub(crate) use parameter_sets::ParameterSets;
pub use protect::{Protect, Protection};
pub use reports::Capture;
pub(crate) use reports::{SenderClock, read_report};
pub(crate) use sender_report::SenderReport;
pub(crate) use splice::Splice;
pub use tap::{PacketSink, Plug, Tap, Wish};
