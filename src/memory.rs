//! Memory that was given back stays given back.
//!
//! The GNU C library gives threads heaps of their own, up to eight for each processor, and each heap keeps the most that it ever held.
//! Every pipeline comes with new threads, so each recording part that is completed can fill another heap: after thirty MP4 files of
//! 2000 s, completed one after the other on two processors, a process held 76 MB. With two heaps it held 31 MB after the second file and
//! 34 MB after the last. Threads rarely wait for each other: what is small and was just given back stays with its thread.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What limits them, mallopt(3). It is read when a program starts: from within, only unsafe code could say it.
///
/// `MALLOC_TRIM_THRESHOLD_` would give back more, and fix what is large enough for pages of its own: many a picture is, and each would
/// then be a system call and new pages, 50 times a second with two participants.
const LIMIT: &str = "MALLOC_ARENA_MAX";

/// One more than would do: threads that allocate at the same moment do not wait for each other.
const HEAPS: &str = "2";

/// The process that was started anew already: one with capabilities of its own loses what the C library reads (ld.so(8)). A child inherits
/// it, and has another number.
const STARTED_ANEW: &str = "ROOMCAST_STARTED_ANEW";

/// Starts this program anew with few heaps: the same process with the same arguments and open files. To be called before there are
/// threads or anything else to lose. Returns when there are few already, and where somebody has decided otherwise by
/// `MALLOC_ARENA_MAX` or `GLIBC_TUNABLES`.
///
/// # Errors
/// The program could not be started anew, because its file is gone for example: it may go on as it is.
pub fn limit_heaps() -> io::Result<()> {
    let process = std::process::id().to_string();
    if cfg!(not(target_env = "gnu")) || is_decided(&process, |name| env::var_os(name)) {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let mut command = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    Err(command.args(arguments).env(LIMIT, HEAPS).env(STARTED_ANEW, process).exec())
}

/// Whether somebody has said how many heaps there are, or this process has tried.
fn is_decided(process: &str, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name: &&str| variable(name).is_some();
    [LIMIT, "GLIBC_TUNABLES"].iter().any(is_set) || variable(STARTED_ANEW).is_some_and(|started| started == process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_decides_for_itself_whatever_its_parent_was_started_with() {
        for (name, value, expected) in [
            (STARTED_ANEW, "17", true),
            (STARTED_ANEW, "16", false),
            (LIMIT, "16", true),
            ("GLIBC_TUNABLES", "glibc.malloc.arena_max=4", true),
            ("PATH", "17", false),
        ] {
            let variable = |asked: &str| (asked == name).then(|| value.into());
            assert_eq!(is_decided("17", variable), expected, "{name}={value}");
        }
    }
}
