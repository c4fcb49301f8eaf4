//! What the integration tests share: real browsers, the real roomcast binary, real players. Nothing here is skipped when
//! a tool is missing: the test fails and names the Debian package.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails here has failed")]
#![allow(clippy::print_stderr, reason = "what was measured belongs to the output of a test")]
#![allow(dead_code, unused_imports, reason = "every test binary uses another part of this harness")]

mod aiortc_endpoint;
mod browser;
mod caller;
mod capture;
mod disk;
mod gstreamer;
mod hop;
mod impaired;
mod marks;
mod media_players;
mod mesh_call;
mod mesh_member;
mod netns;
mod nginx;
mod originals;
mod players;
mod ports;
mod process;
mod roomcast;
mod rtsp_server;
mod scene;

pub(crate) use aiortc_endpoint::AiortcEndpoint;
pub(crate) use browser::{Browser, BrowserOptions};
pub(crate) use caller::Caller;
pub(crate) use capture::{FlashAndBeep, flash_and_beep_js};
pub(crate) use disk::LoopDisk;
pub(crate) use gstreamer::{GstreamerSink, SimpleServer, WebrtcbinPeer};
pub(crate) use hop::Hop;
pub(crate) use impaired::BadWire;
pub(crate) use marks::{beeps, flashes, skews};
pub(crate) use media_players::{Shown, play_with_playbin, play_with_vlc, serve_rtsp_with_vlc};
pub(crate) use mesh_call::{MeshCall, connection};
pub(crate) use mesh_member::MeshMember;
pub(crate) use netns::Namespace;
pub(crate) use nginx::{Nginx, NginxPorts};
pub(crate) use originals::{AiortcPublisher, OriginalGstrsServer, RmcServer, assert_shows_flash_and_beep, library};
pub(crate) use players::{
    Reading, count_error_lines, flash_times, packets_end, picture_at, picture_times, read_late_with_ffmpeg,
    read_with_ffmpeg, receive_late_with_ffmpeg, receive_with_ffmpeg, stream_summary,
};
pub(crate) use ports::{even_rtp_ports, free_tcp_port, free_udp_port};
pub(crate) use process::{Running, piped};
pub(crate) use roomcast::{Roomcast, probe};
pub(crate) use rtsp_server::RtspMediaServer;
pub(crate) use scene::{Scene, Wall, assert_decodes, assert_flawless, assert_whole, time_of};

/// Browsers need the whole machine to keep real time: tests of one binary that use them hold this while they run.
pub(crate) async fn one_at_a_time() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}
