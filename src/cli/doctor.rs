//! `roomcast doctor`: says whether this machine can do the main job, what to do when it cannot, and how many rooms it carries.

mod disk;
mod speed;
mod system;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use roomcast::media::elements::{self, Job};
use roomcast::media::{MediaError, template};
use serde::Serialize;

use super::{Context, Exit, Failure, Pipelines, print_line};

/// Options of `roomcast doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out the measurement of encoding, which takes a few seconds of one core.
    #[arg(long)]
    no_speed: bool,
    /// The directory that is going to be recorded to: how long its disk will last, and whether it is fast enough.
    #[arg(long, default_value = ".", value_name = "DIRECTORY")]
    dir: PathBuf,
    #[command(flatten)]
    pipelines: Pipelines,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    /// The main job works, something else does not, or works less well.
    Limited,
    /// The main job does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Check {
    /// What was looked at.
    name: String,
    verdict: Verdict,
    /// What was seen.
    seen: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn good(name: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Good, seen: seen.into(), remedy: None }
    }

    fn limited(name: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Limited, remedy: Some(remedy.into()), ..Self::good(name, seen) }
    }

    fn bad(name: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, remedy: Some(remedy.into()), ..Self::good(name, seen) }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Diagnosis {
    verdict: Verdict,
    checks: Vec<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<speed::Speed>,
}

pub(crate) async fn run(options: Options, context: Context) -> Result<Exit, Failure> {
    options.pipelines.take()?;
    let stop = context.shutdown.token();
    let examination = tokio::task::spawn_blocking(move || examine(!options.no_speed, &options.dir));
    let diagnosis = tokio::select! {
        diagnosis = examination => diagnosis?,
        () = stop.cancelled() => return Ok(Exit::Internal),
    };
    if context.json {
        print_line(serde_json::to_string(&diagnosis)?);
    } else {
        print_line(text(&diagnosis, std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()));
    }
    Ok(if diagnosis.verdict == Verdict::Bad { Exit::FaultFound } else { Exit::Done })
}

fn examine(with_speed: bool, directory: &Path) -> Diagnosis {
    let mut checks = Vec::new();
    let mut speed = None;
    match elements::init() {
        Ok(()) => {
            checks.extend(Job::ALL.into_iter().map(job));
            checks.push(pipelines());
            let works = checks.iter().all(|check| check.verdict != Verdict::Bad);
            if with_speed && works {
                match speed::measure() {
                    Ok(measured) => {
                        checks.push(measured.check());
                        speed = Some(measured);
                    }
                    Err(error) => checks.push(Check::bad("speed of encoding", error.to_string(), "see the line above")),
                }
            }
        }
        Err(error) => checks.push(Check::bad("GStreamer", error.to_string(), "apt install libgstreamer1.0-0")),
    }
    checks.extend(system::checks());
    checks.extend(disk::checks(directory));
    let worst = checks.iter().map(|check| check.verdict).max_by_key(|verdict| *verdict as u8);
    Diagnosis { verdict: worst.unwrap_or(Verdict::Good), checks, speed }
}

/// Builds every pipeline text once.
fn pipelines() -> Check {
    let name = "build all pipelines";
    let (mut built, mut faults) = (0, Vec::new());
    for template in template::all() {
        match template::try_build(&template) {
            Ok(()) => built += 1,
            // The lines above name what is missing.
            Err(MediaError::Element { .. }) => {}
            Err(error) => faults.push(error.to_string()),
        }
    }
    if faults.is_empty() {
        Check::good(name, format!("{built} of {}", template::all().count()))
    } else {
        Check::bad(name, faults.join("; "), "correct the file, or leave out --pipelines")
    }
}

fn job(job: Job) -> Check {
    let missing = elements::missing(job);
    if missing.is_empty() {
        return Check::good(job.to_string(), elements::found(job).join(", "));
    }
    let mut packages: Vec<&str> = missing.iter().filter_map(|missing| missing.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let remedy = if packages.is_empty() {
        "this build lacks them: build it again from source".into()
    } else {
        format!("apt install {}", packages.join(" "))
    };
    let names: Vec<&str> = missing.iter().map(|missing| missing.element).collect();
    let seen = format!("missing: {}", names.join(", "));
    if job.is_optional() {
        Check::limited(job.to_string(), seen, remedy)
    } else {
        Check::bad(job.to_string(), seen, remedy)
    }
}

/// The diagnosis for people; signs and colours only where a terminal shows them.
fn text(diagnosis: &Diagnosis, is_terminal: bool) -> String {
    let width = diagnosis.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for check in &diagnosis.checks {
        let sign = match (check.verdict, is_terminal) {
            (Verdict::Good, true) => "\x1b[32m✓\x1b[0m",
            (Verdict::Limited, true) => "\x1b[33m!\x1b[0m",
            (Verdict::Bad, true) => "\x1b[31m✗\x1b[0m",
            (Verdict::Good, false) => "ok     ",
            (Verdict::Limited, false) => "limited",
            (Verdict::Bad, false) => "FAILED ",
        };
        lines.push(format!("{sign} {:width$}  {}", check.name, check.seen));
        if let Some(remedy) = &check.remedy {
            let indent = if is_terminal { 2 } else { 8 };
            lines.push(format!("{:indent$}{:width$}  → {remedy}", "", ""));
        }
    }
    lines.push(String::new());
    lines.push(match diagnosis.verdict {
        Verdict::Good => "This machine can do everything that roomcast does.".into(),
        Verdict::Limited => "The main job works; the lines with an arrow say what would make it better.".into(),
        Verdict::Bad => "The main job does not work here: follow the arrows.".to_owned(),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_with_its_remedy_and_without_colours_in_a_pipe() {
        let checks = vec![
            Check::good("mix participants", "compositor"),
            Check::bad("output HLS", "missing: mpegtsmux", "apt install gstreamer1.0-plugins-bad"),
        ];
        let text = text(&Diagnosis { verdict: Verdict::Bad, checks, speed: None }, false);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "ok      mix participants  compositor",
                "FAILED  output HLS        missing: mpegtsmux",
                "                          → apt install gstreamer1.0-plugins-bad",
                "",
                "The main job does not work here: follow the arrows.",
            ]
        );
    }
}
