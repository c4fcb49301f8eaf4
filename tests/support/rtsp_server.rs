//! A media server that takes RTSP (`ANNOUNCE`, `RECORD`) and decodes what it gets: GStreamer's own, in the test's process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::prelude::*;

/// The media server; dropping it closes the port and every connection.
pub(crate) struct RtspMediaServer {
    server: rtsp::RTSPServer,
    context: glib::MainContext,
    main_loop: glib::MainLoop,
    thread: Option<std::thread::JoinHandle<()>>,
    pictures: Arc<AtomicU64>,
    sounds: Arc<AtomicU64>,
}

impl RtspMediaServer {
    /// Takes what is published to `rtsp://127.0.0.1:PORT/live`, from whoever knows user and password.
    pub(crate) fn start(port: u16, user: &str, password: &str) -> Self {
        gst::init().expect("GStreamer starts");
        let server = rtsp::RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service(&port.to_string());
        let auth = rtsp::RTSPAuth::new();
        auth.set_supported_methods(rtsp::gst_rtsp::RTSPAuthMethod::Digest);
        let token = rtsp::RTSPToken::builder().field(rtsp::RTSP_TOKEN_MEDIA_FACTORY_ROLE, "publisher").build();
        auth.add_digest(user, password, &token);
        server.set_auth(Some(&auth));
        let factory = rtsp::RTSPMediaFactory::new();
        factory.set_launch(
            "( rtph264depay name=depay0 ! avdec_h264 ! fakesink name=pictures sync=false async=false \
               rtpmp4gdepay name=depay1 ! avdec_aac ! fakesink name=sounds sync=false async=false )",
        );
        factory.set_transport_mode(rtsp::RTSPTransportMode::RECORD);
        factory.add_role_from_structure(
            &gst::Structure::builder("publisher")
                .field(rtsp::RTSP_PERM_MEDIA_FACTORY_ACCESS, true)
                .field(rtsp::RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, true)
                .build(),
        );
        let (pictures, sounds) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = [("pictures", Arc::clone(&pictures)), ("sounds", Arc::clone(&sounds))];
        factory.connect_media_configure(move |_, media| {
            let bin = media.element().downcast::<gst::Bin>().expect("a bin");
            for (name, counter) in &counters {
                let pad = bin.by_name(name).and_then(|sink| sink.static_pad("sink")).expect("a sink");
                let counter = Arc::clone(counter);
                pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    gst::PadProbeReturn::Ok
                });
            }
        });
        let mounts = rtsp::RTSPMountPoints::new();
        mounts.add_factory("/live", factory);
        server.set_mount_points(Some(&mounts));
        let context = glib::MainContext::new();
        let source = server.create_source(rtsp::gio::Cancellable::NONE).expect("the port is free");
        source.attach(Some(&context));
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let (running, own) = (main_loop.clone(), context.clone());
        let thread = std::thread::spawn(move || {
            own.with_thread_default(|| running.run()).expect("a context of its own");
            source.destroy();
        });
        Self { server, context, main_loop, thread: Some(thread), pictures, sounds }
    }

    /// Pictures and blocks of sound decoded so far.
    pub(crate) fn decoded(&self) -> (u64, u64) {
        (self.pictures.load(Ordering::Relaxed), self.sounds.load(Ordering::Relaxed))
    }
}

impl Drop for RtspMediaServer {
    fn drop(&mut self) {
        let (server, main_loop) = (self.server.clone(), self.main_loop.clone());
        self.context.invoke(move || {
            for client in server.client_filter(Some(&mut |_, _| rtsp::RTSPFilterResult::Ref)) {
                client.close();
            }
            main_loop.quit();
        });
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the media server ends");
        }
    }
}
