//! What `rtpbin` asks about the payload types of its sessions.

use gst::prelude::*;
use gstreamer as gst;

/// Answers `rtpbin` when it meets a payload type of a session; packets of a type without an answer are dropped.
///
/// "Not known" is an answer as well: glib panics, across C and so with the end of the process, when a handler gives none.
/// Anybody who can send a datagram to the port could ask for that.
pub(crate) fn answer(rtpbin: &gst::Element, caps: impl Fn(u32, u8) -> Option<gst::Caps> + Send + Sync + 'static) {
    rtpbin.connect("request-pt-map", false, move |arguments| {
        let argument = |index: usize| arguments.get(index)?.get::<u32>().ok();
        let found = argument(1).zip(argument(2)).and_then(|(session, kind)| caps(session, u8::try_from(kind).ok()?));
        Some(found.to_value())
    });
}

#[cfg(test)]
mod tests {
    use gstreamer_app as gst_app;

    use super::*;

    /// 12 bytes of header (RFC 3550, section 5.1) and some payload.
    fn packet(payload_type: u8, sequence: u8) -> gst::Buffer {
        gst::Buffer::from_slice([0x80, payload_type, 0, sequence, 0, 0, 0, 0, 1, 2, 3, 4, 0xff, 0xff])
    }

    #[test]
    fn packets_of_an_unknown_type_are_dropped_and_the_others_pass() {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let rtpbin = super::super::pipeline::make("rtpbin").unwrap();
        let source = gst_app::AppSrc::builder().format(gst::Format::Time).is_live(true).do_timestamp(true).build();
        source.set_caps(Some(&gst::Caps::new_empty_simple("application/x-rtp")));
        pipeline.add_many([&rtpbin, source.upcast_ref()]).unwrap();
        answer(&rtpbin, |session, payload_type| {
            let caps = gst::Caps::builder("application/x-rtp").field("media", "audio").field("clock-rate", 8000);
            (session == 0 && payload_type == 0).then(|| caps.field("encoding-name", "PCMU").build())
        });
        let (streams, stream) = std::sync::mpsc::channel();
        rtpbin.connect_pad_added(move |_, pad| {
            if pad.name().starts_with("recv_rtp_src") {
                streams.send(pad.name()).unwrap();
            }
        });
        source.link_pads(Some("src"), &rtpbin, Some("recv_rtp_sink_0")).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        for sequence in 0..10 {
            source.push_buffer(packet(35, sequence)).unwrap();
        }
        for sequence in 10..20 {
            source.push_buffer(packet(0, sequence)).unwrap();
        }
        assert_eq!(stream.recv_timeout(std::time::Duration::from_secs(10)).unwrap(), "recv_rtp_src_0_16909060_0");
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
