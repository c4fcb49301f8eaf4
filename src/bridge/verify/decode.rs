//! One file: waits for its turn on the machine, has it decoded by a process of its own, and writes the verdict down.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::verdict::{self, Fault};
use super::{Job, Verdict, Verified, Verify, When, identity, report};
use crate::durable::parent;
use crate::machine::CpuTimes;
use crate::output::path_claim;
use crate::probe::Report;

/// The machine is looked at for this long before it is called idle.
const LOOK: Duration = Duration::from_millis(250);

/// A machine that was busy is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// While a call runs, so much of the machine must do nothing: decoding takes one processor. The call's own load counts.
const IDLE_PART: f64 = 0.5;
const IDLE_PROCESSORS: f64 = 1.0;

/// At the end nothing of ours runs any more.
const IDLE_AT_THE_END: f64 = 0.5;

/// Decodes a file when it is time, and judges it.
pub(super) async fn verify(how: &Verify, room: &str, job: Job, ending: &CancellationToken) -> Verified {
    let mut verified = Verified {
        output: job.began.output.clone(),
        room: room.to_owned(),
        started: job.began.started,
        wall: millis(job.promise.wall),
        complete: job.promise.complete,
        verified: Timestamp::now(),
        verdict: Verdict::Skipped,
        skipped: None,
        faults: Vec::new(),
        announced: job.promise.announced,
        probe: None,
        file: job.file.clone(),
    };
    let result = tokio::select! {
        result = decode_in_turn(how, &job, ending) => result,
        () = how.skip.cancelled() => Err("it was not finished in time".to_owned()),
    };
    verified.verified = Timestamp::now();
    match result {
        Ok(Ok(report)) => {
            verified.faults = verdict::judge(&report, &job.promise);
            verified.probe = Some(report);
        }
        Ok(Err(text)) => verified.faults.push(Fault { fault: "problem".into(), text }),
        Err(reason) => verified.skipped = Some(format!("{reason}: roomcast probe decodes it at any time")),
    }
    verified.verdict = match (&verified.skipped, verified.faults.is_empty()) {
        (Some(_), _) => Verdict::Skipped,
        (None, true) => Verdict::Ok,
        (None, false) => Verdict::Fault,
    };
    verified
}

/// `Err` when it is not decoded, and why; inside, what was decoded or why it could not be.
async fn decode_in_turn(how: &Verify, job: &Job, ending: &CancellationToken) -> Result<Result<Report, String>, String> {
    if how.when == When::Auto {
        wait_for_time(ending).await?;
    }
    if job.identity.is_none() || identity(&job.file) != job.identity {
        return Err("it was taken away".into());
    }
    let output = tokio::select! {
        biased;
        // Whoever asked for it waits from now on: what would take long with the lowest priority begins anew.
        () = ending.cancelled(), if how.when == When::Always => decode(how, &job.file, false).await?,
        output = decode(how, &job.file, !ending.is_cancelled()) => output?,
    };
    if identity(&job.file) != job.identity {
        return Err("it was taken away".into());
    }
    Ok(serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("it cannot be decoded: probe ended with {}", output.status)))
}

async fn decode(how: &Verify, file: &Path, in_background: bool) -> Result<Output, String> {
    let mut command = Command::new(&how.program);
    command.arg("probe").arg(absolute(file)).arg("--json").args(in_background.then_some("--background"));
    // A Ctrl-C in the terminal is for the bridge, which ends this process when it wants to.
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let child = command.spawn().map_err(|error| format!("{}: {error}", how.program.display()))?;
    child.wait_with_output().await.map_err(|error| error.to_string())
}

/// A path that no option can be mistaken for.
fn absolute(file: &Path) -> std::path::PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// Waits until the machine has time. At the end of the bridge it has, or there will be no decoding.
async fn wait_for_time(ending: &CancellationToken) -> Result<(), String> {
    loop {
        let at_the_end = ending.is_cancelled();
        let Some(before) = CpuTimes::now() else { return Ok(()) };
        tokio::time::sleep(LOOK).await;
        let Some(idle) = CpuTimes::now().and_then(|now| now.idle_since(before)) else { return Ok(()) };
        let needed =
            if at_the_end { IDLE_AT_THE_END } else { IDLE_PROCESSORS.max(f64::from(before.processors()) * IDLE_PART) };
        if idle >= needed {
            return Ok(());
        }
        if at_the_end {
            return Err("the machine is busy".into());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = ending.cancelled() => {}
        }
    }
}

/// Adds a verdict to the report beside its file.
pub(super) async fn write_down(verified: &Verified, taken: &[String]) {
    let directory = parent(&verified.file).to_owned();
    let path = directory.join(report::NAME);
    if taken.contains(&path_claim(&path)) {
        return;
    }
    let verified = verified.clone();
    let written = tokio::task::spawn_blocking(move || report::add(&directory, &verified)).await;
    if let Ok(Err(error)) = written {
        tracing::warn!(report = %path.display(), %error, "the verdict on a recording cannot be written there");
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
