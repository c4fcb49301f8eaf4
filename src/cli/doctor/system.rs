//! What the operating system gives: ports, socket buffers, clocks, descriptors, disk.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant, SystemTime};

use roomcast::sandbox::{self, Confinement};
use rustix::fs::statvfs;
use rustix::net::sockopt::{set_socket_recv_buffer_size, socket_recv_buffer_size};
use rustix::process::{Resource, getrlimit};

use super::Check;

/// A keyframe of 1080p at 8 Mb/s and the packets behind it, while this process waits for its turn.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;
/// A bridge has about forty per participant and output.
const DESCRIPTORS: u64 = 1024;
/// An hour of two recordings at 2 Mb/s.
const FREE_DISK: u64 = 2 * 1024 * 1024 * 1024;
/// How far the two clocks may go apart while nobody looks.
const CLOCK_STEP: Duration = Duration::from_millis(5);
const CLOCK_WINDOW: Duration = Duration::from_millis(200);
/// 2020-01-01: a clock before that was never set, and TLS certificates and sender reports would be wrong.
const EARLIEST: Duration = Duration::from_secs(1_577_836_800);

pub(super) fn checks() -> Vec<Check> {
    vec![ports(), receive_buffer(), clock(), descriptors(), disk(), sandbox()]
}

/// RTP wants an even port and RTCP the one above it.
fn ports() -> Check {
    let name = "UDP ports";
    let pair = || -> std::io::Result<u16> {
        let mut last = None;
        // An odd or half-taken pair is chance; ten of them are not.
        for _ in 0..10 {
            let even = UdpSocket::bind("0.0.0.0:0")?.local_addr()?.port() & !1;
            match UdpSocket::bind(("0.0.0.0", even)).and_then(|_rtp| UdpSocket::bind(("0.0.0.0", even + 1))) {
                Ok(_) => return Ok(even),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
    };
    match pair() {
        Ok(even) => Check::good(name, format!("an even pair can be opened ({even}, {})", even + 1)),
        Err(error) => Check::bad(name, error.to_string(), "allow this user to open UDP sockets (container, seccomp)"),
    }
}

fn receive_buffer() -> Check {
    let name = "UDP receive buffer";
    let size = || -> std::io::Result<usize> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        // Linux reports twice the usable size (socket(7)).
        Ok(socket_recv_buffer_size(&socket)? / 2)
    };
    match size() {
        Ok(size) if size >= RECEIVE_BUFFER => Check::good(name, format!("{} KiB", size / 1024)),
        Ok(size) => Check::limited(
            name,
            format!("{} KiB of {} KiB: bursts of large pictures may lose packets", size / 1024, RECEIVE_BUFFER / 1024),
            format!("sysctl -w net.core.rmem_max={RECEIVE_BUFFER}"),
        ),
        Err(error) => Check::limited(name, error.to_string(), format!("sysctl -w net.core.rmem_max={RECEIVE_BUFFER}")),
    }
}

/// Sender reports carry wall time: when it jumps, receivers lose lip sync.
fn clock() -> Check {
    let name = "clock";
    let (wall, monotonic) = (SystemTime::now(), Instant::now());
    if wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() < EARLIEST {
        return Check::limited(name, "the system time was never set", "start an NTP client, for example chrony");
    }
    std::thread::sleep(CLOCK_WINDOW);
    let by_wall = SystemTime::now().duration_since(wall).unwrap_or_default();
    let difference = by_wall.abs_diff(monotonic.elapsed());
    if difference <= CLOCK_STEP {
        Check::good(name, "wall time runs evenly")
    } else {
        let seen = format!("wall time moved by {} ms against the monotonic clock", difference.as_millis());
        Check::limited(name, seen, "slew the time instead of stepping it (chrony: remove makestep)")
    }
}

fn descriptors() -> Check {
    let name = "file descriptors";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < DESCRIPTORS => Check::limited(name, format!("{limit}"), "ulimit -n 4096"),
        Some(limit) => Check::good(name, format!("{limit}")),
        None => Check::good(name, "no limit"),
    }
}

fn sandbox() -> Check {
    let name = "sandbox of a bridge";
    match sandbox::available() {
        Confinement::Full => Check::good(name, "Landlock"),
        Confinement::Partial => Check::good(name, "Landlock, as far as this kernel knows it"),
        Confinement::None => Check::limited(
            name,
            "no Landlock",
            "use Linux 5.13 or newer, or a container that allows it; until then a bridge has all rights of its user",
        ),
    }
}

fn disk() -> Check {
    let name = "free disk here";
    let free = statvfs(".").map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let here = || std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_else(|_| ".".into());
    match free {
        Ok(free) => {
            let seen = format!("{:.1} GiB in {}", free as f64 / 1_073_741_824.0, here());
            let is_read_only = fs::metadata(".").is_ok_and(|metadata| metadata.permissions().readonly());
            match (free >= FREE_DISK, is_read_only) {
                (true, false) => Check::good(name, seen),
                (_, true) => Check::limited(name, format!("{seen}, read-only"), "record to another directory"),
                (false, _) => Check::limited(name, seen, "an hour of recording takes about 1 GiB per file"),
            }
        }
        Err(error) => Check::limited(name, error.to_string(), "record to another directory"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn every_check_says_what_it_saw_and_every_complaint_has_a_remedy() {
        for check in checks() {
            assert!(!check.seen.is_empty(), "{check:?}");
            assert_eq!(check.remedy.is_some(), check.verdict != Verdict::Good, "{check:?}");
        }
    }
}
