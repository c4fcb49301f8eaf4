//! What a bridge is to write and where: directories, ports and its room's URL.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::output::{OutputSpec, any_free_rtp_ports};

/// A bridge to be run.
#[derive(Debug)]
pub struct BridgePlan {
    pub(super) room: String,
    pub(super) outputs: Vec<String>,
    pub(super) hls: PathBuf,
    pub(super) sdp: PathBuf,
    /// Where the bridge says which files it has written, if it records.
    pub(super) manifest: Option<PathBuf>,
    /// Runs whether somebody watches or not.
    pub(super) stays: bool,
    /// Runs, watched or not, as long as somebody is in the room.
    pub(super) records: bool,
    /// What is deleted when the bridge has ended.
    pub(super) directory: Option<tempfile::TempDir>,
}

/// Where a bridge's live media are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFiles {
    /// The directory with `index.m3u8`.
    pub hls: PathBuf,
    /// The SDP of its RTP.
    pub sdp: PathBuf,
    /// The Unix socket that gives MPEG-TS to whoever connects.
    pub ts_socket: PathBuf,
}

impl BridgePlan {
    /// A bridge with outputs of the caller's choice, two of which the server offers as live media too.
    pub fn new(room: &str, outputs: Vec<String>, hls: PathBuf, sdp: PathBuf) -> Self {
        Self { room: room.to_owned(), outputs, hls, sdp, manifest: None, stays: true, records: false, directory: None }
    }

    /// A bridge for who watches a room, in a directory of its own. The room's name is not part of any path but those of
    /// recordings, where it is made safe.
    pub(super) fn on_demand(room: &str, parent: &Path, settings: &str, record: &[OutputSpec]) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bridge-").tempdir_in(parent)?;
        let (hls, sdp) = (directory.path().join("hls"), directory.path().join("live.sdp"));
        let port = any_free_rtp_ports()?;
        let settings = if settings.is_empty() { String::new() } else { format!("?{settings}") };
        let mut outputs = vec![format!("hls:{}{settings}", hls.display()), rtp_output(port, &sdp)];
        outputs.extend(record.iter().map(OutputSpec::to_string));
        let manifest = record.iter().find_map(|spec| spec.manifest(room));
        if let Some(directory) = manifest.as_deref().and_then(Path::parent) {
            std::fs::create_dir_all(directory)?;
        }
        let (stays, records) = (false, !record.is_empty());
        Ok(Self { room: room.to_owned(), outputs, hls, sdp, manifest, stays, records, directory: Some(directory) })
    }

    pub(super) fn files(&self, ts_socket: PathBuf) -> LiveFiles {
        LiveFiles { hls: self.hls.clone(), sdp: self.sdp.clone(), ts_socket }
    }
}

/// The RTP output to a port of this machine, with its SDP file.
pub fn rtp_output(port: u16, sdp: &Path) -> String {
    // A path as a query's value, readable where that is possible: people paste it.
    let value = sdp.to_string_lossy().bytes().fold(String::new(), |mut value, byte| {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            value.push(char::from(byte));
        } else {
            value += &format!("%{byte:02X}");
        }
        value
    });
    format!("rtp://127.0.0.1:{port}?sdp={value}")
}

/// A directory that only we can read, deleted at the end.
pub(super) fn private_directory() -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("roomcast-").permissions(std::fs::Permissions::from_mode(0o700)).tempdir()
}

/// A new name for a socket. Socket paths have little room: at most 107 bytes.
pub(super) fn ts_socket(directory: &Path) -> io::Result<PathBuf> {
    let path = directory.join(format!("{:08x}.ts.sock", rand::random::<u32>()));
    if path.as_os_str().len() > 107 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidFilename,
            format!("{} is too long for a socket; let TMPDIR name a shorter directory", path.display()),
        ));
    }
    Ok(path)
}

/// The room's URL for a bridge on this machine.
pub(super) fn room_url(server: SocketAddr, room: &str) -> io::Result<String> {
    let mut url = Url::parse(&format!("ws://{server}/ws")).map_err(io::Error::other)?;
    url.query_pairs_mut().append_pair("room", room);
    Ok(format!("mesh+{url}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_of_any_name_stays_inside_its_directory_and_its_url() {
        let parent = private_directory().unwrap();
        assert_eq!(parent.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for room in ["../../etc", "a/b", "é &?#=", "room"] {
            let plan = BridgePlan::on_demand(room, parent.path(), "", &[]).unwrap();
            assert!(plan.hls.starts_with(parent.path()) && plan.sdp.starts_with(parent.path()));
            assert!(!plan.hls.display().to_string().contains(".."));
            let url: crate::signaling::RoomUrl =
                room_url("127.0.0.1:8080".parse().unwrap(), room).unwrap().parse().unwrap();
            assert_eq!(url.room(), room);
        }
    }

    #[test]
    fn an_sdp_path_of_any_name_survives_its_url() {
        let path = Path::new("/srv/a b/é&?#%=.sdp");
        let output = url::Url::parse(&rtp_output(5004, path)).unwrap();
        assert_eq!(output.query_pairs().next().unwrap().1, path.to_str().unwrap());
        assert_eq!(rtp_output(5004, Path::new("/a-b/c.sdp")), "rtp://127.0.0.1:5004?sdp=/a-b/c.sdp");
    }
}
