//! A ruleset and packets as text, to be kept and tried again.

use std::fmt::Write as _;

use crate::compare::hex;
use crate::packets::Probe;
use crate::rulesets::Ruleset;
use crate::stage::Node;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub ruleset: Ruleset,
    pub probes: Vec<Probe>,
}

impl Case {
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        if self.ruleset.bridge_filter {
            out.push_str("bridge-filter\n");
        }
        for entry in &self.ruleset.policy {
            let _ = writeln!(out, "policy {}", entry.replace('\n', "; "));
        }
        for line in &self.ruleset.nft {
            let _ = writeln!(out, "nft {line}");
        }
        for line in &self.ruleset.iptables {
            let _ = writeln!(out, "run {line}");
        }
        for probe in &self.probes {
            let _ = writeln!(
                out,
                "packet {} {} {} {}",
                probe.from.name(),
                probe.to.name(),
                probe.more,
                hex(&probe.packet)
            );
        }
        out
    }

    pub fn from_text(text: &str) -> Result<Self, String> {
        let mut case = Self {
            ruleset: Ruleset::default(),
            probes: Vec::new(),
        };
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "bridge-filter" => case.ruleset.bridge_filter = true,
                "policy" => case.ruleset.policy.push(rest.replace("; ", "\n")),
                "nft" => case.ruleset.nft.push(rest.to_owned()),
                "run" => case.ruleset.iptables.push(rest.to_owned()),
                "packet" => case
                    .probes
                    .push(probe(rest).ok_or(format!("no packet: `{rest}`"))?),
                _ => return Err(format!("`{word}` begins no line of a case")),
            }
        }
        Ok(case)
    }

    /// The same without a part of it; `None` where there is no such part.
    pub fn without(&self, n: usize) -> Option<Self> {
        let mut less = self.clone();
        let mut n = n;
        if n < less.probes.len() {
            less.probes.remove(n);
            return Some(less);
        }
        n -= less.probes.len();
        let parts: [fn(&mut Ruleset) -> &mut Vec<String>; 3] =
            [|r| &mut r.policy, |r| &mut r.nft, |r| &mut r.iptables];
        for part in parts {
            let lines = part(&mut less.ruleset);
            if n < lines.len() {
                lines.remove(n);
                return Some(less);
            }
            n -= lines.len();
        }
        None
    }
}

fn probe(text: &str) -> Option<Probe> {
    let mut words = text.split(' ');
    let from = Node::by_name(words.next()?)?;
    let to = Node::by_name(words.next()?)?;
    let more = words.next()?.parse().ok()?;
    let digits = words.next()?;
    let packet = (0..digits.len() / 2)
        .map(|n| u8::from_str_radix(digits.get(2 * n..2 * n + 2)?, 16).ok())
        .collect::<Option<_>>()?;
    Some(Probe {
        from,
        to,
        packet,
        more,
    })
}
