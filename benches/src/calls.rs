//! What a program pays that embeds the library: reading, planning and applying
//! a policy, without the start of a process.

use std::error::Error;
use std::fs;
use std::time::Instant;

use airgap::{Host, Policy};

/// Loads a policy, and prints how many seconds that took.
pub fn time(policy: &str) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(policy)?;
    let start = Instant::now();
    let policy = Policy::from_toml(&text)?;
    let host = Host::open()?;
    host.apply(&host.plan(&policy)?)?;
    println!("{:.6}", start.elapsed().as_secs_f64());
    Ok(())
}
