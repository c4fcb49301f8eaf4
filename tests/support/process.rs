//! A child process in a process group of its own, so that its end takes its children along and nobody else's.

use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A running program; dropping it kills its whole process group.
pub(crate) struct Running {
    name: String,
    pid: Pid,
    /// The process itself, for its pipes.
    pub(crate) child: Child,
}

impl Running {
    /// Starts a program. A program that is not installed fails the test and names the Debian package that brings it.
    pub(crate) fn start(mut command: Command, package: &str) -> Self {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).kill_on_drop(true).spawn().unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!("{name} is not installed: apt-get install {package}"),
            _ => panic!("{name} did not start: {error}"),
        });
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { pid: id.expect("a process that was just started has an id"), name, child }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal to the process alone, as a service manager's first signal would arrive.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap_or_else(|error| panic!("signal to {}: {error}", self.name));
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        timeout(within, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("{} still runs after {within:?}", self.name))
            .unwrap_or_else(|error| panic!("waiting for {}: {error}", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then the group is gone too.
        kill_process_group(self.pid, Signal::KILL).ok();
    }
}

/// A command with no input and captured output.
pub(crate) fn piped(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
