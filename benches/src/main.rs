//! The parts of the benchmarks that need the library or the bare socket.

mod calls;
mod floor;
mod library;
mod traffic;

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

const USAGE: &str =
    "usage: airgap-bench record POLICY BATCH | floor BATCH | call POLICY | load POLICY |
    change POLICY POLICY ROUNDS | datagrams ADDRESS:PORT SECONDS |
    connections ADDRESS:PORT SECONDS | bytes ADDRESS:PORT SECONDS | serve PORT";

fn run(words: &[&str]) -> Result<(), Box<dyn Error>> {
    match words {
        ["record", policy, batch] => floor::record(policy, batch),
        ["floor", batch] => floor::send(batch),
        ["call", policy] => calls::time(policy),
        ["load", policy] => library::load(policy),
        ["change", one, other, rounds] => library::change(one, other, rounds.parse()?),
        ["datagrams", to, seconds] => traffic::datagrams(to, seconds.parse()?),
        ["connections", to, seconds] => traffic::connections(to, seconds.parse()?),
        ["bytes", to, seconds] => traffic::bytes(to, seconds.parse()?),
        ["serve", port] => traffic::serve(port),
        _ => Err(USAGE.into()),
    }
}
