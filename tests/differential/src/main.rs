//! Sends random packets through random rulesets in network namespaces of its
//! own, and compares what the kernel does with what the evaluator says.
//!
//!     airgap-differential [--rulesets N] [--seed N] [--keep FOLDER]
//!
//! First come the cases in `cases/`, then random ones: N, or without it until a
//! disagreement is found, which shrinks and is kept in FOLDER.

mod case;
mod compare;
mod packets;
mod rulesets;
mod stage;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use fastrand::Rng;

use crate::case::Case;
use crate::compare::{Mismatch, Tally, Tried, load};
use crate::stage::Stage;

/// So many packets go through each ruleset, with their answers.
const PACKETS: u64 = 40;

type Failure = Box<dyn std::error::Error>;

struct Options {
    rulesets: Option<u64>,
    seed: u64,
    keep: PathBuf,
}

fn options() -> Result<Options, Failure> {
    let cases = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut options = Options {
        rulesets: None,
        seed: fastrand::u64(..),
        keep: cases,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
        match word.as_str() {
            "--rulesets" => options.rulesets = Some(value()?.parse()?),
            "--seed" => options.seed = value()?.parse()?,
            "--keep" => options.keep = value()?.into(),
            _ => return Err(format!("there is no option `{word}`").into()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match compared() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("differential: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compared() -> Result<bool, Failure> {
    let options = options()?;
    let stage = Stage::enter()?;
    let mut tried = Tried::new(&stage)?;
    let mut tally = Tally::default();
    let mut agreed = true;
    let cases = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut kept: Vec<_> = fs::read_dir(&cases)?.filter_map(Result::ok).collect();
    kept.sort_by_key(fs::DirEntry::file_name);
    for file in kept {
        let path = file.path();
        let case = Case::from_text(&fs::read_to_string(&path)?)?;
        if let Some(mismatch) = differs(&mut tried, &case, &mut tally)? {
            println!("{}: {}", path.display(), mismatch.text);
            agreed = false;
        }
    }
    println!("seed {}", options.seed);
    let started = Instant::now();
    let (mut loaded, mut refused, mut n) = (0u64, 0u64, 0u64);
    while options.rulesets.is_none_or(|all| loaded < all) {
        let mut rng = Rng::with_seed(options.seed.wrapping_add(n));
        n += 1;
        let mut ruleset = rulesets::random(&mut rng);
        let probes = (0..PACKETS)
            .map(|number| packets::random(&mut rng, n * PACKETS + number))
            .collect();
        let trimmed = compare::trim(&mut ruleset);
        let case = Case { ruleset, probes };
        match trimmed.and_then(|()| differs(&mut tried, &case, &mut tally)) {
            Ok(None) => loaded += 1,
            Ok(Some(mismatch)) => {
                loaded += 1;
                agreed = false;
                let seed = options.seed.wrapping_add(n - 1);
                println!("seed {seed} disagrees: {}", mismatch.text);
                let (case, text) = shrunk(&mut tried, case, mismatch)?;
                let path = options.keep.join(format!("{seed}.case"));
                let comment: String = text.lines().map(|line| format!("# {line}\n")).collect();
                fs::write(&path, comment + &case.to_text())?;
                println!("kept as {}:\n{}", path.display(), case.to_text());
                if options.rulesets.is_none() {
                    break;
                }
            }
            // Some that come about by chance nft(8) does not take.
            Err(error) => {
                refused += 1;
                if refused > 20 + n / 5 {
                    return Err(format!("too many rulesets are refused: {error}").into());
                }
                if std::env::var_os("VERBOSE").is_some() {
                    println!("refused: {error}");
                }
            }
        }
        if n % 100 == 0 {
            println!(
                "{loaded} rulesets, {} s: {tally:?}",
                started.elapsed().as_secs()
            );
        }
    }
    println!(
        "{loaded} rulesets ({refused} refused by their programs), {} s: {tally:?}",
        started.elapsed().as_secs()
    );
    Ok(agreed)
}

fn differs(tried: &mut Tried, case: &Case, tally: &mut Tally) -> Result<Option<Mismatch>, Failure> {
    load(&case.ruleset)?;
    tried.packets(&case.ruleset, &case.probes, tally)
}

/// Leaves out of a case whatever it can do without.
fn shrunk(tried: &mut Tried, case: Case, mismatch: Mismatch) -> Result<(Case, String), Failure> {
    let (mut case, mut text) = (case, mismatch.text);
    // Mostly one packet is enough.
    if let Some(probe) = case.probes.get(mismatch.probe) {
        let alone = Case {
            probes: vec![probe.clone()],
            ..case.clone()
        };
        if let Ok(Some(found)) = differs(tried, &alone, &mut Tally::default()) {
            (case, text) = (alone, found.text);
        }
    }
    let mut n = 0;
    while let Some(less) = case.without(n) {
        match differs(tried, &less, &mut Tally::default()) {
            Ok(Some(found)) => (case, text) = (less, found.text),
            _ => n += 1,
        }
    }
    Ok((case, text))
}
