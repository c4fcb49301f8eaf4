//! An RTSP server (RFC 2326) on a thread of its own: the library behind it wants GLib's main loop, which runs there and
//! nowhere else. Every player has a pipeline of its own, so that none can hold back another, and begins with a keyframe.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gst::glib;
use gst_rtsp::{RTSPAuthMethod, RTSPLowerTrans, RTSPProfile, RTSPStatusCode};
use gst_rtsp_server::gst_rtsp;
use gst_rtsp_server::prelude::*;
use gstreamer as gst;
use gstreamer_rtsp_server as gst_rtsp_server;
use tokio::sync::oneshot;

use super::OutputError;
use super::rtsp_player::{Programme, feed};
use super::spec::{Credentials, RtspServeDestination};

/// Players at once. Each takes about a dozen threads.
const MOST_PLAYERS: usize = 100;

/// Seconds without a sign of life after which a player is cut off (RFC 2326, section 12.37).
const SILENCE: u32 = 30;

/// Seconds that a player without a session may stay connected.
const AFTER_SESSION: i32 = 5;

/// How often it is looked for players that are gone.
const LOOK: Duration = Duration::from_secs(2);

/// How long the end of a server may take.
const STOP: Duration = Duration::from_secs(5);

/// No request of a player is larger than this.
const LARGEST_REQUEST: u32 = 16 * 1024;

/// The role of everybody who knows the password.
const PLAYER: &str = "player";

/// A running server; dropping it ends it, with all its players.
#[derive(Debug)]
pub(crate) struct RtspServer {
    server: gst_rtsp_server::RTSPServer,
    context: glib::MainContext,
    main_loop: glib::MainLoop,
    ended: oneshot::Receiver<()>,
}

impl RtspServer {
    /// Opens the port and begins to answer.
    pub(crate) fn start(destination: &RtspServeDestination, programme: Programme) -> Result<Self, OutputError> {
        let address = destination.address;
        let server = gst_rtsp_server::RTSPServer::new();
        server.set_address(&address.ip().to_string());
        server.set_service(&address.port().to_string());
        server.set_content_length_limit(LARGEST_REQUEST);
        let threads = gst_rtsp_server::RTSPThreadPool::new();
        // All requests are answered by the one thread: with more of them the library aborts the process when somebody goes away
        // at the wrong moment (an assertion in gst_rtsp_client_finalize).
        threads.set_max_threads(0);
        server.set_thread_pool(Some(&threads));
        let sessions = gst_rtsp_server::RTSPSessionPool::new();
        sessions.set_max_sessions(u32::try_from(MOST_PLAYERS).unwrap_or(u32::MAX));
        server.set_session_pool(Some(&sessions));
        let players = Arc::new(AtomicUsize::new(0));
        let factory = factory(programme.clone(), &players);
        if let Some(credentials) = &destination.credentials {
            server.set_auth(Some(&authentication(credentials)));
            let role = gst::Structure::builder(PLAYER)
                .field(gst_rtsp_server::RTSP_PERM_MEDIA_FACTORY_ACCESS, true)
                .field(gst_rtsp_server::RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, true)
                .build();
            factory.add_role_from_structure(&role);
        }
        let mounts = gst_rtsp_server::RTSPMountPoints::new();
        mounts.add_factory(&format!("/{}", destination.name), factory);
        server.set_mount_points(Some(&mounts));
        server.connect_client_connected(move |_, client| admit(client, &programme, &players));

        let context = glib::MainContext::new();
        let source = server.create_source(gst_rtsp_server::gio::Cancellable::NONE).map_err(|error| {
            let error = std::io::Error::other(error.message().to_owned());
            OutputError::io(format!("TCP port {address}"))(error)
        })?;
        source.attach(Some(&context));
        let cleaning = glib::timeout_source_new(LOOK, None, glib::Priority::DEFAULT, move || {
            sessions.cleanup();
            glib::ControlFlow::Continue
        });
        cleaning.attach(Some(&context));
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let (running, (own_context, own_loop)) = (main_loop.clone(), (context.clone(), main_loop.clone()));
        let (done, ended) = oneshot::channel();
        let run = move || {
            let ran = own_context.with_thread_default(|| running.run());
            if let Err(error) = ran {
                tracing::error!(%error, "the RTSP server's thread has no context of its own");
            }
            // With them the port is closed.
            source.destroy();
            cleaning.destroy();
            // Whoever waits may be gone.
            done.send(()).ok();
        };
        std::thread::Builder::new()
            .name("rtsp-server".into())
            .spawn(run)
            .map_err(OutputError::io("a thread for the RTSP server"))?;
        Ok(Self { server, context, main_loop: own_loop, ended })
    }

    /// Ends it and waits until the port is closed.
    pub(crate) async fn stop(mut self) {
        self.quit();
        if tokio::time::timeout(STOP, &mut self.ended).await.is_err() {
            tracing::error!("the RTSP server did not end within {STOP:?}");
        }
    }

    fn quit(&self) {
        let (server, main_loop) = (self.server.clone(), self.main_loop.clone());
        self.context.invoke(move || {
            use gst_rtsp_server::RTSPFilterResult::{Ref, Remove};
            for client in server.client_filter(Some(&mut |_, _| Ref)) {
                client.close();
            }
            if let Some(sessions) = server.session_pool() {
                sessions.filter(Some(&mut |_, _| Remove));
            }
            main_loop.quit();
        });
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        self.quit();
    }
}

/// Who asks must know the password, which never travels: digest, RFC 2617.
fn authentication(credentials: &Credentials) -> gst_rtsp_server::RTSPAuth {
    let auth = gst_rtsp_server::RTSPAuth::new();
    auth.set_realm(Some("roomcast"));
    auth.set_supported_methods(RTSPAuthMethod::Digest);
    let token =
        gst_rtsp_server::RTSPToken::builder().field(gst_rtsp_server::RTSP_TOKEN_MEDIA_FACTORY_ROLE, PLAYER).build();
    auth.add_digest(&credentials.user, &credentials.password, &token);
    auth
}

/// Sets limits to somebody who has connected.
fn admit(client: &gst_rtsp_server::RTSPClient, programme: &Programme, players: &Arc<AtomicUsize>) {
    client.set_post_session_timeout(AFTER_SESSION);
    client.connect_new_session(|_, session| session.set_timeout(SILENCE));
    let (programme, players) = (programme.clone(), Arc::clone(players));
    client.connect_pre_describe_request(move |_, _| {
        if players.load(Ordering::Relaxed) >= MOST_PLAYERS {
            tracing::warn!("a further RTSP player is sent away: there are {MOST_PLAYERS}");
        } else if programme.flows() {
            return RTSPStatusCode::Ok;
        }
        RTSPStatusCode::ServiceUnavailable
    });
}

/// Makes a pipeline for each player.
fn factory(programme: Programme, players: &Arc<AtomicUsize>) -> gst_rtsp_server::RTSPMediaFactory {
    let factory = gst_rtsp_server::RTSPMediaFactory::new();
    factory.set_launch(&format!("( {} )", programme.launch));
    factory.set_shared(false);
    // What is described is not sent: PLAY begins anew with the present. Otherwise it would bring all at once whatever had
    // gathered since DESCRIBE, and receivers derive a sender's pace from the first packets.
    factory.set_suspend_mode(gst_rtsp_server::RTSPSuspendMode::Reset);
    factory.set_profiles(RTSPProfile::AVP);
    factory.set_protocols(RTSPLowerTrans::UDP | RTSPLowerTrans::TCP);
    // The clock is this machine's own: nobody else could follow it.
    factory.set_publish_clock_mode(gst_rtsp_server::RTSPPublishClockMode::None);
    let players = Arc::clone(players);
    factory.connect_media_configure(move |_, media| {
        if let Err(error) = feed(media, &programme, &players) {
            tracing::error!(%error, "an RTSP player could not be fed");
        }
    });
    factory
}
