//! MPEG-TS to everybody who connects to a Unix socket; `serve` passes it on over HTTP.
//!
//! Each viewer starts with the tables and a keyframe. A viewer who does not read in time is cut off and never waited
//! for: the queue in front of each is bounded.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use super::OutputError;
use super::attached::Attached;
use super::players::Play;
use super::tail::Tail;
use crate::media::MediaError;
use crate::probe::{self, Source, Wanted};

/// Pieces of seven packets that may wait for a viewer: about four seconds of 2 Mb/s.
const MAX_WAITING: usize = 1024;

/// The size of a packet of MPEG-TS.
const TS_PACKET: usize = 188;

/// How long one write may take before the viewer is cut off.
const WRITE: Duration = Duration::from_secs(5);

const PROBE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct LiveTsTail {
    path: PathBuf,
    // Ends with the tail: accepting viewers is part of the output's life.
    accepting: Mutex<JoinSet<()>>,
}

/// A piece of the stream.
#[derive(Clone, Debug)]
struct Piece {
    bytes: Bytes,
    /// Where a keyframe begins in it: what a viewer who starts here gets first.
    start: Option<Start>,
}

#[derive(Clone, Debug)]
struct Start {
    /// PAT and PMT.
    tables: Bytes,
    /// The keyframe's first packet.
    offset: usize,
}

impl LiveTsTail {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, accepting: Mutex::new(JoinSet::new()) }
    }
}

#[async_trait]
impl Tail for LiveTsTail {
    fn template(&self) -> &'static str {
        "ts"
    }

    fn configure(&self, attached: &Attached) -> Result<(), OutputError> {
        let sink = attached
            .element("sink")?
            .downcast::<gst_app::AppSink>()
            .map_err(|_| MediaError::Link("pipelines/ts.launch: `sink` is not an appsink".into()))?;
        let listener = listen(&self.path).map_err(OutputError::io(&self.path))?;
        let (pieces, _) = broadcast::channel(MAX_WAITING);
        let sender = pieces.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(piece) = piece(&sample) {
                // An error only says that nobody watches.
                sender.send(piece).ok();
            }
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner).spawn(accept(listener, pieces));
        Ok(())
    }

    async fn verify(&self, _: &gst::Pipeline, wanted: Wanted) -> Result<Play, OutputError> {
        let url = format!("unix:{}", self.path.display());
        probe::first_frames(Source::Uri(url.clone()), wanted, PROBE).await?;
        Ok(Play { url, ..Play::default() })
    }
}

impl Drop for LiveTsTail {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

/// Opens the socket for this user alone; a socket of a bridge that was killed is replaced.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, pieces: broadcast::Sender<Piece>) {
    let mut viewers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { viewers.spawn(view(stream, pieces.subscribe())); }
                Err(error) => {
                    // Out of descriptors, most likely: those who watch go on.
                    tracing::warn!(%error, "a viewer could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = viewers.join_next() => if let Err(error) = ended { tracing::error!(%error, "a viewer's task failed"); },
        }
    }
}

/// Sends the stream to one viewer until one of them ends.
async fn view(mut stream: UnixStream, mut pieces: broadcast::Receiver<Piece>) {
    let mut started = false;
    loop {
        let piece = match pieces.recv().await {
            Ok(piece) => piece,
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::info!(lost, "a viewer was too slow and is cut off");
                return;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let mut bytes = piece.bytes;
        if !started {
            let Some(Start { tables, offset }) = piece.start else { continue };
            started = true;
            if !write(&mut stream, &tables).await {
                return;
            }
            bytes = bytes.slice(offset..);
        }
        if !write(&mut stream, &bytes).await {
            return;
        }
    }
}

async fn write(stream: &mut UnixStream, bytes: &Bytes) -> bool {
    matches!(tokio::time::timeout(WRITE, stream.write_all(bytes)).await, Ok(Ok(())))
}

fn piece(sample: &gst::Sample) -> Option<Piece> {
    let buffer = sample.buffer()?;
    let bytes = Bytes::copy_from_slice(&buffer.map_readable().ok()?);
    let start = bytes
        .chunks_exact(TS_PACKET)
        .position(begins_keyframe)
        .and_then(|index| Some(Start { tables: stream_header(sample.caps()?)?, offset: index * TS_PACKET }));
    Some(Piece { bytes, start })
}

/// Whether a packet begins a picture from which a decoder can start: random access is indicated (ISO/IEC 13818-1, section
/// 2.4.3.4) and the PES packet that begins is one of video. Sound indicates random access as well, in every packet.
fn begins_keyframe(packet: &[u8]) -> bool {
    let &[0x47, second, _, fourth, length, flags, ..] = packet else { return false };
    let (unit_starts, has_adaptation) = (second & 0x40 != 0, fourth & 0x20 != 0);
    let random_access = has_adaptation && length > 0 && flags & 0x40 != 0;
    let payload = packet.get(5 + usize::from(length)..);
    unit_starts && random_access && payload.is_some_and(|payload| matches!(payload, [0, 0, 1, 0xe0..=0xef, ..]))
}

/// The PAT and PMT that mpegtsmux keeps in its caps for those who come later.
fn stream_header(caps: &gst::CapsRef) -> Option<Bytes> {
    let header = caps.structure(0)?.get::<gst::Array>("streamheader").ok()?;
    let mut tables = Vec::new();
    for value in header.as_slice() {
        let buffer = value.get::<gst::Buffer>().ok()?;
        tables.extend_from_slice(&buffer.map_readable().ok()?);
    }
    Some(tables.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(header: [u8; 6], payload: &[u8]) -> Vec<u8> {
        let mut packet = header.to_vec();
        packet.resize(5 + usize::from(header[4]), 0xff);
        packet.extend_from_slice(payload);
        packet.resize(TS_PACKET, 0xff);
        packet
    }

    #[test]
    fn a_viewer_starts_at_a_keyframe_and_nowhere_else() {
        let (video, audio) = ([0, 0, 1, 0xe0], [0, 0, 1, 0xc0]);
        let keyframe = [0x47, 0x40, 0x41, 0x30, 7, 0x50];
        assert!(begins_keyframe(&packet(keyframe, &video)));
        for (header, payload, what) in [
            (keyframe, audio, "sound"),
            ([0x47, 0x40, 0x41, 0x30, 7, 0x10], video, "a picture that needs others"),
            ([0x47, 0x00, 0x41, 0x30, 7, 0x50], video, "the middle of a picture"),
            ([0x47, 0x40, 0x41, 0x10, 7, 0x50], video, "no adaptation field"),
            ([0x48, 0x40, 0x41, 0x30, 7, 0x50], video, "no packet at all"),
            ([0x47, 0x40, 0x41, 0x30, 255, 0x50], [0; 4], "an adaptation field that is too long"),
        ] {
            let mut packet = packet(header, &payload);
            packet.truncate(TS_PACKET);
            assert!(!begins_keyframe(&packet), "{what}");
        }
    }
}
