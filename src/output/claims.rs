//! Which paths and ports an output takes for itself, in a form that is the same however they are spelt.
//!
//! The bridge compares them before it joins: two outputs that write to one file would lose both recordings.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use super::spec::{Destination, OutputSpec, SrtDestination, SrtEnd, parent};

impl OutputSpec {
    /// The paths and ports that no second output may use.
    pub fn claims(&self) -> Vec<String> {
        match &self.destination {
            Destination::Rtp(rtp) => rtp
                .receivers()
                .flat_map(|to| (0..4).map(move |offset| port_claim(SocketAddr::new(to.ip(), to.port() + offset))))
                .chain(rtp.sdp.as_deref().map(path_claim))
                .collect(),
            Destination::Hls(hls) => vec![path_claim(&hls.directory)],
            Destination::File(file) => vec![path_claim(&file.path)],
            Destination::TsSocket(path) => vec![path_claim(path)],
            Destination::Whip(whip) => vec![whip.endpoint.to_string()],
            Destination::TsUdp(ts) => vec![port_claim(ts.address)],
            Destination::Srt(SrtDestination { end: SrtEnd::Listener(address), .. }) => vec![port_claim(*address)],
            // Two callers may bring two streams to one receiver, and the stream id tells them apart.
            Destination::Srt(_) => vec![self.to_string()],
            Destination::Rtmp(rtmp) => vec![rtmp.to_string()],
            Destination::RtspServe(rtsp) => vec![format!("TCP port {}", rtsp.address.port())],
            Destination::RtspPush(rtsp) => vec![rtsp.location.clone()],
        }
    }
}

fn port_claim(address: SocketAddr) -> String {
    format!("port {} of {}", address.port(), address.ip())
}

/// Where a path leads: absolute, without `.` and `..`, and with the links of those directories that exist resolved.
pub fn path_claim(path: &Path) -> String {
    let mut plain = PathBuf::new();
    for component in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    // What does not exist yet cannot be a link.
    let mut rest: Vec<OsString> = Vec::new();
    let mut existing = plain.as_path();
    loop {
        match (existing.canonicalize(), existing.parent(), existing.file_name()) {
            (Ok(real), _, _) => {
                return rest.iter().rev().fold(real, |path, name| path.join(name)).display().to_string();
            }
            (Err(_), Some(above), Some(name)) => {
                rest.push(name.to_owned());
                existing = above;
            }
            _ => return plain.display().to_string(),
        }
    }
}

/// Whether a file could be written here, found out without writing it.
///
/// # Errors
/// What the file system says: the directory is missing or not writable, or there is something else of this name.
pub fn check_file(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        std::fs::OpenOptions::new().append(true).open(path).map(drop)
    } else {
        tempfile::tempfile_in(parent(path)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_name_however_it_is_spelt() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, directory.path().join("link")).unwrap();
        let expected = path_claim(&real.join("a/call.mkv"));
        for spelling in ["link/a/call.mkv", "real/./a/call.mkv", "real/b/../a/call.mkv", "link//a//call.mkv"] {
            assert_eq!(path_claim(&directory.path().join(spelling)), expected, "{spelling}");
        }
        assert_ne!(path_claim(&real.join("call.mkv")), expected);
        assert_eq!(path_claim(Path::new("call.mkv")), path_claim(Path::new("./call.mkv")));
    }

    #[test]
    fn a_file_is_checked_and_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.json");
        check_file(&path).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "kept").unwrap();
        check_file(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        assert!(check_file(directory.path()).is_err() && check_file(Path::new("/proc/none/r.json")).is_err());
    }
}
