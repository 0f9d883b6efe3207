//! What programs pay that embed the library: a policy in memory, and a host.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use airgap::{Host, Policy};

/// Loads a policy, and prints the seconds from the policy in memory to the
/// ruleset in the kernel, and the KiB of memory that this took above what the
/// process had with the policy.
pub fn load(policy: &str) -> Result<(), Box<dyn Error>> {
    let policy = Policy::load(Path::new(policy))?;
    let before = memory("VmRSS:")?;
    // Forgets the highest use so far.
    fs::write("/proc/self/clear_refs", "5")?;
    let start = Instant::now();
    let host = Host::open()?;
    host.apply(&host.plan(&policy)?)?;
    let took = start.elapsed();
    let above = memory("VmHWM:")?.saturating_sub(before);
    println!("{:.6} {above}", took.as_secs_f64());
    Ok(())
}

/// Loads one policy, then goes to another and back, and prints the seconds of
/// each plan and of each apply.
pub fn change(one: &str, other: &str, rounds: usize) -> Result<(), Box<dyn Error>> {
    let host = Host::open()?;
    let policies = [
        Policy::load(Path::new(one))?,
        Policy::load(Path::new(other))?,
    ];
    let [one, other] = &policies;
    host.apply(&host.plan(one)?)?;
    for _ in 0..rounds {
        for policy in [other, one] {
            let start = Instant::now();
            let plan = host.plan(policy)?;
            let planned = start.elapsed();
            if !plan.changed() {
                return Err("the two policies are the same".into());
            }
            host.apply(&plan)?;
            let applied: Duration = start.elapsed() - planned;
            println!("{:.6} {:.6}", planned.as_secs_f64(), applied.as_secs_f64());
        }
    }
    Ok(())
}

/// A line of proc_pid_status(5), in KiB.
fn memory(key: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("the kernel does not tell")?.parse()?)
}
