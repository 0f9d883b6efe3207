//! Many boxes, such as the elements of a set, as one diagram: sorted and swept
//! once, where joining them pair by pair would take the square of their number.

use std::collections::BTreeMap;

use super::diagram::{ALL, Diagram, Diagrams, Full, Interval, NONE};
use super::space::Var;

/// What a sweep may take in steps; beyond it nothing is decided.
const STEPS_MAX: usize = 400_000_000;

/// The packets whose fields lie in one of the boxes. The fields are in the
/// order in which diagrams ask them; a box has an interval for each.
pub(crate) fn union<B: AsRef<[Interval]> + Ord>(
    diagrams: &mut Diagrams,
    vars: &[Var],
    mut boxes: Vec<B>,
) -> Result<Diagram, Full> {
    debug_assert!(vars.is_sorted());
    if boxes.is_empty() {
        return Ok(NONE);
    }
    boxes.sort_unstable();
    boxes.dedup();
    let mut sweep = Sweep {
        diagrams,
        steps: STEPS_MAX,
    };
    let boxes: Vec<&[Interval]> = boxes.iter().map(AsRef::as_ref).collect();
    sweep.union(vars, &boxes)
}

struct Sweep<'d> {
    diagrams: &'d mut Diagrams,
    steps: usize,
}

impl Sweep<'_> {
    fn spend(&mut self, steps: usize) -> Result<(), Full> {
        self.steps = self.steps.checked_sub(steps).ok_or(Full)?;
        Ok(())
    }

    /// `boxes` are ordered.
    fn union(&mut self, vars: &[Var], boxes: &[&[Interval]]) -> Result<Diagram, Full> {
        let [var, rest @ ..] = vars else {
            return Ok(if boxes.is_empty() { NONE } else { ALL });
        };
        self.spend(boxes.len())?;
        if rest.is_empty() {
            let intervals = boxes.iter().filter_map(|b| b.first().copied());
            return self.diagrams.values(*var, merged(intervals));
        }
        let tail = |b: &&[Interval]| -> Option<(Interval, Vec<Interval>)> {
            let (first, rest) = b.split_first()?;
            Some((*first, rest.to_vec()))
        };
        // Boxes that begin with the same interval, or apart from all others.
        let apart = boxes.windows(2).all(|pair| match pair {
            [a, b] => match (a.first(), b.first()) {
                (Some(a), Some(b)) => a == b || a.1 < b.0,
                _ => true,
            },
            _ => true,
        });
        let mut pieces = Vec::new();
        if apart {
            let mut from = 0;
            while let Some(first) = boxes.get(from).and_then(|b| b.first().copied()) {
                let same = boxes
                    .iter()
                    .skip(from)
                    .take_while(|b| b.first() == Some(&first))
                    .count();
                let group: Vec<&[Interval]> = boxes
                    .iter()
                    .skip(from)
                    .take(same)
                    .filter_map(|b| b.get(1..))
                    .collect();
                pieces.push((first, self.union(rest, &group)?));
                from += same;
            }
            return self.diagrams.pieces(*var, pieces);
        }
        // Where boxes begin and end; between two such places the same boxes lie.
        let mut events: Vec<(u128, bool, Vec<Interval>)> = Vec::with_capacity(2 * boxes.len());
        for ((first, last), rest) in boxes.iter().filter_map(tail) {
            events.push((first, true, rest.clone()));
            if let Some(behind) = last.checked_add(1) {
                events.push((behind, false, rest));
            }
        }
        events.sort_unstable();
        let mut lying: BTreeMap<Vec<Interval>, usize> = BTreeMap::new();
        let mut events = events.into_iter().peekable();
        let mut known = (true, NONE);
        while let Some(&(at, ..)) = events.peek() {
            while let Some((_, begins, rest)) = events.next_if(|event| event.0 == at) {
                self.spend(1)?;
                let count = lying.entry(rest.clone()).or_default();
                if begins {
                    *count += 1;
                    known.0 &= *count > 1;
                } else {
                    *count -= 1;
                    if *count == 0 {
                        lying.remove(&rest);
                        known.0 = false;
                    }
                }
            }
            if !known.0 {
                let group: Vec<&[Interval]> = lying.keys().map(Vec::as_slice).collect();
                known = (true, self.union(rest, &group)?);
            }
            let last = events.peek().map_or(u128::MAX, |next| next.0 - 1);
            pieces.push(((at, last), known.1));
        }
        self.diagrams.pieces(*var, pieces)
    }
}

/// The same values in the fewest intervals, in their order.
pub(crate) fn merged(intervals: impl IntoIterator<Item = Interval>) -> Vec<Interval> {
    let mut sorted: Vec<Interval> = intervals.into_iter().collect();
    sorted.sort_unstable();
    let mut out: Vec<Interval> = Vec::with_capacity(sorted.len());
    for (first, last) in sorted {
        match out.last_mut() {
            Some(before) if before.1 >= first || before.1.checked_add(1) == Some(first) => {
                before.1 = before.1.max(last);
            }
            _ => out.push((first, last)),
        }
    }
    out
}
