//! The parts of the benchmarks that need the library or the bare socket.

mod calls;
mod floor;

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("airgap-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), Box<dyn Error>> {
    match words {
        ["record", policy, batch] => floor::record(policy, batch),
        ["floor", batch] => floor::send(batch),
        ["call", policy] => calls::time(policy),
        _ => Err("usage: airgap-bench record POLICY BATCH | floor BATCH | call POLICY".into()),
    }
}
