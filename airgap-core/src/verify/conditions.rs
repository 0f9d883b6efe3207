//! What a statement asks, as the packets that meet it. Of what is not known
//! there are two answers: those that surely meet it, and those that may.

use std::collections::HashMap;

use super::boxes::{merged, union};
use super::diagram::{ALL, Diagram, Diagrams, Full, Interval, NONE};
use super::fields::{Field, Reader, Value};
use super::numbers::{comparing, number, sliced};
use super::space::{State, Var, fragment};
use crate::graph::{Cmp, Data, Foreign, Selector, Set, Statement, Verdict, is_mere_condition};

/// A set of packets of which not everything may be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tri {
    /// These are in it.
    pub must: Diagram,
    /// No others are.
    pub may: Diagram,
}

impl Tri {
    pub(crate) const ALL: Self = Self {
        must: ALL,
        may: ALL,
    };
    pub(crate) const NONE: Self = Self {
        must: NONE,
        may: NONE,
    };
    pub(crate) const UNKNOWN: Self = Self {
        must: NONE,
        may: ALL,
    };

    pub(crate) fn known(diagram: Diagram) -> Self {
        Self {
            must: diagram,
            may: diagram,
        }
    }

    pub(crate) fn not(self, d: &mut Diagrams) -> Result<Self, Full> {
        Ok(Self {
            must: d.not(self.may)?,
            may: d.not(self.must)?,
        })
    }

    pub(crate) fn and(self, d: &mut Diagrams, other: Self) -> Result<Self, Full> {
        Ok(Self {
            must: d.and(self.must, other.must)?,
            may: d.and(self.may, other.may)?,
        })
    }

    pub(crate) fn or(self, d: &mut Diagrams, other: Self) -> Result<Self, Full> {
        Ok(Self {
            must: d.or(self.must, other.must)?,
            may: d.or(self.may, other.may)?,
        })
    }

    /// `then` where the condition holds, else `otherwise`.
    pub(crate) fn choose(
        d: &mut Diagrams,
        condition: Self,
        then: Self,
        otherwise: Self,
    ) -> Result<Self, Full> {
        if condition.must == condition.may {
            let c = condition.must;
            let may = d.choose(c, then.may, otherwise.may)?;
            let must = if (then.must, otherwise.must) == (then.may, otherwise.may) {
                may
            } else {
                d.choose(c, then.must, otherwise.must)?
            };
            return Ok(Self { must, may });
        }
        // Surely in it: surely this way and in, surely that way and in, or in
        // both ways.
        let this = d.choose(condition.must, then.must, NONE)?;
        let that = d.without(otherwise.must, condition.may)?;
        let both = d.and(then.must, otherwise.must)?;
        let must = d.any_of(&[this, that, both])?;
        let this = d.and(condition.may, then.may)?;
        let that = d.without(otherwise.may, condition.must)?;
        Ok(Self {
            must,
            may: d.or(this, that)?,
        })
    }
}

/// The sets of tables as diagrams, so that a large one is made once.
#[derive(Default)]
pub(crate) struct SetCache(HashMap<(usize, Vec<Part>), Option<Diagram>>);

/// A field of a key that is a whole field of the case, or is the same for all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Var { var: Var, shift: u32, bits: u32 },
    Const(Vec<u8>),
}

/// Turns statements into conditions.
pub(crate) struct Conditions<'a, 'd> {
    pub reader: Reader<'a>,
    pub d: &'d mut Diagrams,
    pub cache: &'d mut SetCache,
}

impl Conditions<'_, '_> {
    /// What a statement asks; `None` for one that asks nothing.
    pub(crate) fn condition(
        &mut self,
        statement: &Statement,
        sets: &[Set],
    ) -> Result<Option<Tri>, Full> {
        Ok(Some(match statement {
            Statement::Match {
                left,
                mask,
                op,
                right,
            } => self.compare(left, mask.as_deref(), *op, right)?,
            Statement::Range {
                left,
                negated,
                first,
                last,
            } => {
                let low = self.compare(left, None, Cmp::Gte, first)?;
                let high = self.compare(left, None, Cmp::Lte, last)?;
                let inside = low.and(self.d, high)?;
                self.negated(left, inside, *negated)?
            }
            Statement::Lookup { key, set, negated } => {
                let Some(set) = sets.iter().find(|known| known.name == *set) else {
                    return Ok(Some(Tri::UNKNOWN));
                };
                self.lookup(key, set, *negated, |_| true)?
            }
            Statement::SocketCgroup(group) => match self.reader.cgroup(group.id) {
                Some(place) => Tri::known(self.d.value(Var::Cgroup, place)?),
                None => Tri::UNKNOWN,
            },
            Statement::Limit { .. } => Tri::UNKNOWN,
            Statement::Foreign(foreign) => match foreign.as_ref() {
                Foreign::Any { ways, negated } => {
                    let mut any = Tri::NONE;
                    for way in ways {
                        let mut all = Tri::ALL;
                        for part in way {
                            let part = self.condition(part, sets)?.unwrap_or(Tri::UNKNOWN);
                            all = all.and(self.d, part)?;
                        }
                        any = any.or(self.d, all)?;
                    }
                    if *negated { any.not(self.d)? } else { any }
                }
                _ => return Ok(None),
            },
            Statement::Unknown { name, .. } if is_mere_condition(name) => Tri::UNKNOWN,
            _ => return Ok(None),
        }))
    }

    /// The opposite, for packets that have the field.
    fn negated(&mut self, left: &Selector, inside: Tri, negated: bool) -> Result<Tri, Full> {
        if !negated {
            return Ok(inside);
        }
        let field = self.reader.field(self.d, left)?;
        if matches!(field.value, Value::Absent) {
            return Ok(Tri::NONE);
        }
        let outside = inside.not(self.d)?;
        outside.and(self.d, Tri::known(field.present))
    }

    fn compare(
        &mut self,
        left: &Selector,
        mask: Option<&[u8]>,
        op: Cmp,
        right: &[u8],
    ) -> Result<Tri, Full> {
        let Field { value, present } = self.reader.field(self.d, left)?;
        let met = match value {
            Value::Absent => Tri::NONE,
            Value::Const(bytes) => match compares(&bytes, mask, op, right) {
                true => Tri::ALL,
                false => Tri::NONE,
            },
            Value::Table(var, values) => {
                let meets = (0u128..).zip(values.iter()).filter(|(_, value)| {
                    let bytes = value.as_deref();
                    bytes.is_some_and(|bytes| compares(bytes, mask, op, right))
                });
                let numbers = merged(meets.map(|(n, _)| (n, n)));
                Tri::known(self.d.values(var, numbers)?)
            }
            Value::Number {
                var,
                shift,
                bits,
                host_order,
            } => match number_intervals(var, (shift, bits, host_order), mask, op, right) {
                Some(intervals) => Tri::known(self.d.values(var, intervals)?),
                None => Tri::UNKNOWN,
            },
            Value::Status => self.status(mask, op, right)?,
            Value::FragmentOffset => self.fragment(mask, op, right)?,
            Value::Unknown => Tri::UNKNOWN,
        };
        met.and(self.d, Tri::known(present))
    }

    /// The translations are the bits of a flow's status that are known:
    /// `IPS_SRC_NAT` and `IPS_DST_NAT`. A new flow has none before it is
    /// translated.
    fn status(&mut self, mask: Option<&[u8]>, op: Cmp, right: &[u8]) -> Result<Tri, Full> {
        const SRC_NAT: u32 = 16;
        const DST_NAT: u32 = 32;
        let case = self.reader.case;
        let stage = self.reader.stage;
        let masks = mask.and_then(|m| m.try_into().ok()).map(u32::from_ne_bytes);
        let Some(mask) = masks.filter(|mask| mask & !(SRC_NAT | DST_NAT) == 0) else {
            return Ok(Tri::UNKNOWN);
        };
        let met = |dnat: bool, snat: bool| {
            let status = u32::from(snat) * SRC_NAT + u32::from(dnat) * DST_NAT;
            compares(&(status & mask).to_ne_bytes(), None, op, right)
        };
        let later = met(case.dnat, case.snat);
        let first = met(case.dnat && stage.dst_done, case.snat && stage.src_done);
        let new = self.d.value(Var::State, State::New.number())?;
        let (then, otherwise) = (diagram_of(first), diagram_of(later));
        Ok(Tri::known(self.d.choose(new, then, otherwise)?))
    }

    /// Only whether a fragment is a later one is known: `!= 0`, `== 0`.
    fn fragment(&mut self, mask: Option<&[u8]>, op: Cmp, right: &[u8]) -> Result<Tri, Full> {
        let offset_only = matches!(mask, Some([0x1f, 0xff] | [0xff, 0xf8]));
        let zero = right.iter().all(|byte| *byte == 0);
        if !offset_only || !zero {
            return Ok(Tri::UNKNOWN);
        }
        let later = self.d.value(Var::Fragment, fragment::LATER)?;
        Ok(match op {
            Cmp::Neq | Cmp::Gt => Tri::known(later),
            Cmp::Eq | Cmp::Lte => Tri::known(self.d.not(later)?),
            Cmp::Gte => Tri::ALL,
            Cmp::Lt => Tri::NONE,
        })
    }

    /// The packets whose key is in the set, or for a map that get what `wanted`
    /// answers true for.
    pub(crate) fn lookup(
        &mut self,
        key: &[Selector],
        set: &Set,
        negated: bool,
        wanted: impl Fn(&Data) -> bool,
    ) -> Result<Tri, Full> {
        if set.is_dynamic() {
            return Ok(Tri::UNKNOWN);
        }
        let mut present = ALL;
        let mut fields = Vec::with_capacity(key.len());
        for selector in key {
            let field = self.reader.field(self.d, selector)?;
            if matches!(field.value, Value::Absent) {
                return Ok(Tri::NONE);
            }
            present = self.d.and(present, field.present)?;
            fields.push(field.value);
        }
        let Some(found) = self.elements(&fields, set, &wanted)? else {
            return Ok(Tri::UNKNOWN);
        };
        let found = if negated { self.d.not(found)? } else { found };
        Ok(Tri::known(self.d.and(found, present)?))
    }

    /// `None` where a part of the key is not known.
    fn elements(
        &mut self,
        fields: &[Value],
        set: &Set,
        wanted: &impl Fn(&Data) -> bool,
    ) -> Result<Option<Diagram>, Full> {
        // Fields of few values: each value on its own.
        if let Some((at, (var, values))) =
            fields
                .iter()
                .enumerate()
                .find_map(|(at, field)| match field {
                    Value::Table(var, values) => Some((at, (*var, values))),
                    _ => None,
                })
        {
            let mut pieces = Vec::new();
            for (n, value) in (0u128..).zip(values.iter()) {
                let Some(bytes) = value else { continue };
                let mut constant = fields.to_vec();
                if let Some(place) = constant.get_mut(at) {
                    *place = Value::Const(bytes.clone());
                }
                let Some(found) = self.elements(&constant, set, wanted)? else {
                    return Ok(None);
                };
                let here = self.d.value(var, n)?;
                pieces.push(self.d.and(here, found)?);
            }
            return Ok(Some(self.d.any_of(&pieces)?));
        }
        let mut parts = Vec::with_capacity(fields.len());
        let widths = set.key.iter().map(|kind| kind.width());
        if fields.len() != set.key.len() {
            return Ok(None);
        }
        for (field, width) in fields.iter().zip(widths) {
            parts.push(match field {
                Value::Const(bytes) => Part::Const(bytes.get(..width).unwrap_or(bytes).to_vec()),
                // Numbers in the machine's order are not ordered as the set is.
                Value::Number {
                    host_order: true,
                    bits,
                    ..
                } if *bits > 8 && set.interval => {
                    return Ok(None);
                }
                Value::Number {
                    var,
                    shift,
                    bits,
                    host_order,
                } => {
                    if *host_order && *bits > 8 {
                        return Ok(None);
                    }
                    Part::Var {
                        var: *var,
                        shift: *shift,
                        bits: *bits,
                    }
                }
                _ => return Ok(None),
            });
        }
        let everything = set.is_map() || set.elements.catch_all().is_some();
        let cache_key = (std::ptr::from_ref(set) as usize, parts.clone());
        if !everything && let Some(known) = self.cache.0.get(&cache_key) {
            return Ok(*known);
        }
        let found = self.boxes(&parts, set, wanted)?;
        if !everything {
            self.cache.0.insert(cache_key, found);
        }
        Ok(found)
    }

    fn boxes(
        &mut self,
        parts: &[Part],
        set: &Set,
        wanted: &impl Fn(&Data) -> bool,
    ) -> Result<Option<Diagram>, Full> {
        let mut vars: Vec<Var> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Var { var, .. } => Some(*var),
                Part::Const(_) => None,
            })
            .collect();
        vars.sort();
        vars.dedup();
        let mut boxes: Vec<Vec<Interval>> = Vec::new();
        let mut unwanted: Vec<Vec<Interval>> = Vec::new();
        for (n, (element, _)) in set.elements.iter().enumerate() {
            let (first, last) = match element.split_at_checked(set.key_width()) {
                Some((first, last)) if set.interval => (first, last),
                _ => (element, element),
            };
            let mut sides: Vec<Interval> = vars.iter().map(|var| (0, var.highest())).collect();
            let mut met = true;
            let ends = set.fields(first).zip(set.fields(last));
            for (part, ((_, low), (_, high))) in parts.iter().zip(ends) {
                match part {
                    Part::Const(bytes) => {
                        met &= low <= bytes.as_slice() && bytes.as_slice() <= high;
                    }
                    Part::Var { var, shift, bits } => {
                        let (Some(low), Some(high)) = (number(low, false), number(high, false))
                        else {
                            return Ok(None);
                        };
                        let Some(scaled) = sliced(&[(low, high)], *shift, *bits, var.bits()) else {
                            return Ok(None);
                        };
                        let &[(low, high)] = scaled.as_slice() else {
                            return Ok(None);
                        };
                        let place = vars.iter().position(|known| known == var);
                        if let Some(side) = place.and_then(|at| sides.get_mut(at)) {
                            *side = (side.0.max(low), side.1.min(high));
                            met &= side.0 <= side.1;
                        }
                    }
                }
            }
            if met && wanted(set.elements.data(n)) {
                boxes.push(sides);
            } else if met {
                unwanted.push(sides);
            }
        }
        let found = self.union(&vars, boxes)?;
        match set.elements.catch_all() {
            Some(data) if wanted(data) => {
                let others = self.union(&vars, unwanted)?;
                let rest = self.d.not(others)?;
                Ok(Some(self.d.or(found, rest)?))
            }
            _ => Ok(Some(found)),
        }
    }

    fn union(&mut self, vars: &[Var], boxes: Vec<Vec<Interval>>) -> Result<Diagram, Full> {
        union(self.d, vars, boxes)
    }
}

fn diagram_of(holds: bool) -> Diagram {
    if holds { ALL } else { NONE }
}

/// The verdicts of a map, each once.
pub(crate) fn verdicts(set: &Set) -> Vec<Verdict> {
    let mut all: Vec<Verdict> = Vec::new();
    for verdict in set.elements.verdicts() {
        if !all.contains(verdict) {
            all.push(verdict.clone());
        }
    }
    all
}

/// Compares as the kernel does: byte by byte, as many as the right side has.
fn compares(left: &[u8], mask: Option<&[u8]>, op: Cmp, right: &[u8]) -> bool {
    let masked: Vec<u8> = match mask {
        Some(mask) => left
            .iter()
            .zip(mask)
            .map(|(byte, bits)| byte & bits)
            .collect(),
        None => left.to_vec(),
    };
    let left = masked.get(..right.len()).unwrap_or(&masked);
    match op {
        Cmp::Eq => left == right,
        Cmp::Neq => left != right,
        Cmp::Lt => left < right,
        Cmp::Lte => left <= right,
        Cmp::Gt => left > right,
        Cmp::Gte => left >= right,
    }
}

/// The values of a field of which a part compares so.
fn number_intervals(
    var: Var,
    (shift, bits, host_order): (u32, u32, bool),
    mask: Option<&[u8]>,
    op: Cmp,
    right: &[u8],
) -> Option<Vec<Interval>> {
    let given = u32::try_from(right.len()).ok()? * 8;
    // Fewer bytes are the first ones.
    let (shift, bits, cut) = if given < bits {
        if host_order {
            return None;
        }
        (shift + (bits - given), given, bits - given)
    } else {
        (shift, bits, 0)
    };
    if given > bits || host_order && bits > 8 && !matches!(op, Cmp::Eq | Cmp::Neq) {
        return None;
    }
    let mask = match mask {
        Some(mask) => Some(number(mask, host_order)? >> cut),
        None => None,
    };
    let found = comparing(op, mask, number(right, host_order)?, bits)?;
    if shift == 0 && bits == var.bits() {
        return Some(found);
    }
    // The user of a socket is 32 bits of 33.
    if shift == 0 && var == Var::Uid {
        return Some(found);
    }
    sliced(&found, shift, bits, var.bits())
}
