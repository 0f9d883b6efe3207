//! The command `airgap`: seals a Linux host with containers.

mod arguments;
mod commands;
mod print;
mod progress;
mod units;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = arguments.output;
    match commands::run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print::error(&error, output);
            ExitCode::from(error.exit_code())
        }
    }
}
