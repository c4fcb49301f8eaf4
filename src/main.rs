//! The `roomcast` command: parse, start telemetry, run one subcommand until it ends or a signal stops it.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
