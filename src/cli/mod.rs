//! One file per subcommand: its options and its `run`. Only here do errors become exit codes and text for people.

mod bridge;
mod control;
mod demo;
mod doctor;
mod mix;
mod network;
mod parse;
mod probe;
mod publish;
mod repair;
mod serve;
mod shutdown;
mod status;

use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use roomcast::media::template;
use roomcast::memory;
use roomcast::telemetry::{self, LogFormat};
use tokio::runtime::Runtime;

pub(crate) use shutdown::Shutdown;

/// A WebRTC call, in everything that is not a browser.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    /// Print one JSON object per line on stdout instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// How log lines look on stderr; RUST_LOG sets what is logged.
    #[arg(long, global = true, value_enum, default_value_t, env = "ROOMCAST_LOG_FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server, a test participant and a bridge of its room, and print how to watch.
    Demo(demo::Options),
    /// Serve rooms, the call page and the watch page.
    Serve(serve::Options),
    /// Join one room and run its outputs until the end.
    Bridge(Box<bridge::Options>),
    /// Be a test participant: a pattern with a clock, a flash and a beep each second.
    Publish(publish::Options),
    /// Decode an SDP, playlist, URL or file as a player would, and report what it has.
    Probe(probe::Options),
    /// Make recordings of a run that was killed complete and seekable.
    Repair(repair::Options),
    /// Make one film of the files of a session's participants, offline.
    Mix(mix::Options),
    /// Check elements, ports, UDP buffers, the clock and the speed of encoding on this machine.
    Doctor(doctor::Options),
    /// Print a shell completion script.
    Completions {
        /// The shell that will read it.
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether it builds pipeline after pipeline, which costs more memory each time unless there are few heaps. The others end soon, and
    /// need not be started anew. A directory of recordings to repair has as many pipelines as it has files.
    fn fills_heaps(&self) -> bool {
        match self {
            Self::Demo(_) | Self::Serve(_) | Self::Bridge(_) | Self::Publish(_) | Self::Repair(_) | Self::Mix(_) => {
                true
            }
            Self::Probe(_) | Self::Doctor(_) | Self::Completions { .. } => false,
        }
    }

    /// Where its tasks run.
    fn runtime(&self) -> std::io::Result<Runtime> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if let Self::Bridge(_) | Self::Publish(_) = self {
            // Packets need few threads, and each that is woken in vain costs more than a packet: the other cores are for codecs.
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
            builder.worker_threads(cores.div_ceil(2));
        }
        builder.enable_all().build()
    }
}

/// Which pipeline texts are used.
#[derive(Debug, clap::Args)]
pub(crate) struct Pipelines {
    /// A directory whose NAME.launch files take the place of roomcast's own pipelines of the same name.
    #[arg(long = "pipelines", value_name = "DIR", env = "ROOMCAST_PIPELINES")]
    directory: Option<std::path::PathBuf>,
}

impl Pipelines {
    /// The directory, if there is one.
    fn directory(&self) -> Option<&std::path::PathBuf> {
        self.directory.as_ref()
    }

    /// Reads the directory, if there is one.
    fn take(&self) -> Result<(), Failure> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let names = template::use_directory(directory).map_err(Failure::bad_arguments)?;
        tracing::info!(directory = %directory.display(), templates = names.join(", "), "an operator's pipelines are used");
        Ok(())
    }
}

/// What every subcommand gets besides its own options.
pub(crate) struct Context {
    /// Whether stdout carries JSON for programs instead of text for people.
    pub(crate) json: bool,
    /// The process's signals.
    pub(crate) shutdown: Shutdown,
}

/// How a subcommand ended: the exit codes are part of the CLI contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything that was asked for was done.
    Done = 0,
    /// A fault of ours.
    Internal = 1,
    /// Bad arguments or configuration; nothing was started.
    BadArguments = 2,
    /// The room refused us or cannot be reached.
    RoomUnreachable = 3,
    /// An output failed for good.
    OutputFailed = 4,
    /// A probe or a verification found a fault.
    FaultFound = 5,
}

/// An error with the exit code that it means.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    pub(crate) fn bad_arguments(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::BadArguments, error)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Exit::Internal, error)
    }
}

impl Cli {
    /// Runs the subcommand and returns its exit code.
    pub(crate) fn run(self) -> ExitCode {
        if let Command::Completions { shell } = self.command {
            clap_complete::generate(shell, &mut Self::command(), "roomcast", &mut std::io::stdout());
            return ExitCode::SUCCESS;
        }
        telemetry::start(self.log_format);
        if self.command.fills_heaps()
            && let Err(error) = memory::limit_heaps()
        {
            tracing::debug!(%error, "memory may grow: MALLOC_ARENA_MAX=2 prevents it");
        }
        let outcome = self.start();
        let exit = outcome.unwrap_or_else(|failure| {
            report(&failure.error);
            failure.exit
        });
        ExitCode::from(exit as u8)
    }

    fn start(self) -> Result<Exit, Failure> {
        if let Command::Bridge(options) = &self.command {
            bridge::confine(options)?;
        }
        if let Command::Probe(options) = &self.command {
            // Before there are threads: they inherit it.
            options.take_priority();
        }
        let runtime = self.command.runtime()?;
        let outcome = runtime.block_on(self.dispatch());
        // A thread that is blocked in a dead output must not keep the process alive.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        outcome
    }

    async fn dispatch(self) -> Result<Exit, Failure> {
        let context = Context { json: self.json, shutdown: Shutdown::listen()? };
        match self.command {
            Command::Demo(options) => demo::run(options, context).await,
            Command::Serve(options) => serve::run(options, context).await,
            Command::Bridge(options) => bridge::run(*options, context).await,
            Command::Publish(options) => publish::run(options, context).await,
            Command::Probe(options) => probe::run(options, context).await,
            Command::Repair(options) => repair::run(options, context).await,
            Command::Mix(options) => mix::run(options, context).await,
            Command::Doctor(options) => doctor::run(options, context).await,
            Command::Completions { .. } => Ok(Exit::Done),
        }
    }
}

/// Writes an error and its causes to stderr, in colour only on a terminal.
fn report(error: &anyhow::Error) {
    let mut stderr = std::io::stderr();
    let label = if stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        "\x1b[1;31merror:\x1b[0m"
    } else {
        "error:"
    };
    // Nobody is left to tell when stderr itself is gone.
    writeln!(stderr, "{label} {error:#}").ok();
}

/// Writes one line to stdout; a reader that went away (`| head`) is not an error.
pub(crate) fn print_line(line: impl std::fmt::Display) {
    writeln!(std::io::stdout().lock(), "{line}").ok();
}
