//! Interval decision diagrams: sets of packets as graphs that ask one field
//! after the other, always in the same order. A node splits the values of its
//! field into intervals; equal nodes are one node, so that equal sets are equal
//! numbers, whatever they were made from.

use hashbrown::{HashMap, HashTable};

use super::space::Var;

/// A set of packets, by the number of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Diagram(u32);

/// No packet.
pub(crate) const NONE: Diagram = Diagram(0);
/// Every packet.
pub(crate) const ALL: Diagram = Diagram(1);

/// The diagrams have grown beyond what they may take; nothing is known then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Values from the first to the last, both included.
pub(crate) type Interval = (u128, u128);

/// What diagrams may hold together, in edges; an edge takes 20 bytes and the
/// memory of past operations about as much. So many are about 600 MB.
pub(crate) const EDGES_MAX: usize = 15_000_000;

struct Node {
    var: Var,
    first: u32,
    len: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    And,
    Or,
    /// What the first has and the second lacks.
    Without,
}

/// All diagrams of one computation.
pub(crate) struct Diagrams {
    nodes: Vec<Node>,
    /// Of each edge the highest value that it stands for; of the last of a node
    /// that is the highest number of all.
    ends: Vec<u128>,
    kids: Vec<Diagram>,
    unique: HashTable<u32>,
    memo: HashMap<(Op, Diagram, Diagram), Diagram>,
    /// Edges of nodes that are being made.
    scratch: Vec<(u128, Diagram)>,
    edges_max: usize,
}

fn hash_of(var: Var, edges: impl Iterator<Item = (u128, Diagram)>) -> u64 {
    // Multiply and rotate, as in rustc's own hash tables: nodes are many, and
    // nobody chooses them to collide.
    const K: u64 = 0x517c_c1b7_2722_0a95;
    let mut hash = u64::from(var as u8);
    let mut mix = |word: u64| hash = (hash.rotate_left(5) ^ word).wrapping_mul(K);
    for (end, kid) in edges {
        #[allow(clippy::cast_possible_truncation)] // both halves are taken
        mix(end as u64);
        #[allow(clippy::cast_possible_truncation)]
        mix((end >> 64) as u64);
        mix(u64::from(kid.0));
    }
    hash ^ hash >> 29
}

impl Diagrams {
    pub(crate) fn new(edges_max: usize) -> Self {
        let leaf = || Node {
            var: Var::Leaf,
            first: 0,
            len: 0,
        };
        Self {
            nodes: vec![leaf(), leaf()],
            ends: Vec::new(),
            kids: Vec::new(),
            unique: HashTable::new(),
            memo: HashMap::new(),
            scratch: Vec::new(),
            edges_max,
        }
    }

    /// The field that a node asks, [`Var::Leaf`] for [`NONE`] and [`ALL`].
    pub(crate) fn var(&self, d: Diagram) -> Var {
        self.node(d).map_or(Var::Leaf, |node| node.var)
    }

    fn node(&self, d: Diagram) -> Option<&Node> {
        self.nodes.get(d.0 as usize)
    }

    fn len(&self, d: Diagram) -> usize {
        self.node(d).map_or(0, |node| node.len as usize)
    }

    /// An edge of a node: its highest value, and where it leads.
    fn edge(&self, d: Diagram, n: usize) -> (u128, Diagram) {
        let at = self.node(d).map_or(0, |node| node.first as usize) + n;
        let end = self.ends.get(at).copied().unwrap_or(u128::MAX);
        (end, self.kids.get(at).copied().unwrap_or(NONE))
    }

    /// The intervals of a node's field, each with the set behind it.
    pub(crate) fn edges(&self, d: Diagram) -> impl Iterator<Item = (Interval, Diagram)> + '_ {
        let mut first = 0u128;
        (0..self.len(d)).map(move |n| {
            let (end, kid) = self.edge(d, n);
            let interval = (first, end);
            first = end.wrapping_add(1);
            (interval, kid)
        })
    }

    /// Makes a node of the edges in `scratch` from `base` on, and takes them
    /// off. Neighbours that lead to the same become one.
    fn finish(&mut self, var: Var, base: usize) -> Result<Diagram, Full> {
        let mut kept = base;
        for n in base..self.scratch.len() {
            let Some(&edge) = self.scratch.get(n) else {
                break;
            };
            let before = kept.checked_sub(1).filter(|at| *at >= base);
            match before.and_then(|at| self.scratch.get_mut(at)) {
                Some(last) if last.1 == edge.1 => last.0 = edge.0,
                _ => {
                    if let Some(place) = self.scratch.get_mut(kept) {
                        *place = edge;
                    }
                    kept += 1;
                }
            }
        }
        self.scratch.truncate(kept);
        let made = self.scratch.get(base..).unwrap_or_default();
        if let &[(_, only)] = made {
            self.scratch.truncate(base);
            return Ok(only);
        }
        let hash = hash_of(var, made.iter().copied());
        let (nodes, ends, kids) = (&self.nodes, &self.ends, &self.kids);
        let same = |n: &u32| {
            nodes.get(*n as usize).is_some_and(|node| {
                let range = node.first as usize..(node.first + node.len) as usize;
                node.var == var
                    && node.len as usize == made.len()
                    && made
                        .iter()
                        .zip(ends.get(range.clone()).unwrap_or_default())
                        .zip(kids.get(range).unwrap_or_default())
                        .all(|((edge, end), kid)| edge.0 == *end && edge.1 == *kid)
            })
        };
        if let Some(n) = self.unique.find(hash, same) {
            let found = Diagram(*n);
            self.scratch.truncate(base);
            return Ok(found);
        }
        if self.ends.len() + made.len() + self.memo.len() > self.edges_max {
            return Err(Full);
        }
        let number = u32::try_from(self.nodes.len()).map_err(|_| Full)?;
        let node = Node {
            var,
            first: u32::try_from(self.ends.len()).map_err(|_| Full)?,
            len: u32::try_from(made.len()).map_err(|_| Full)?,
        };
        self.ends.extend(made.iter().map(|edge| edge.0));
        self.kids.extend(made.iter().map(|edge| edge.1));
        self.nodes.push(node);
        self.scratch.truncate(base);
        let (nodes, ends, kids) = (&self.nodes, &self.ends, &self.kids);
        self.unique.insert_unique(hash, number, |n| {
            let Some(node) = nodes.get(*n as usize) else {
                return 0;
            };
            let range = node.first as usize..(node.first + node.len) as usize;
            let edges = ends.get(range.clone()).unwrap_or_default().iter().copied();
            let to = kids.get(range).unwrap_or_default().iter().copied();
            hash_of(node.var, edges.zip(to))
        });
        Ok(Diagram(number))
    }

    /// The packets whose field lies in one of these intervals and that are in
    /// the set with it. They are ordered and apart from each other.
    pub(crate) fn pieces(
        &mut self,
        var: Var,
        pieces: impl IntoIterator<Item = (Interval, Diagram)>,
    ) -> Result<Diagram, Full> {
        let base = self.scratch.len();
        let mut next = Some(0u128);
        for ((first, last), kid) in pieces {
            if next.is_some_and(|next| first > next) {
                self.scratch.push((first - 1, NONE));
            }
            // No value is above the field's highest.
            let last = if last >= var.highest() {
                u128::MAX
            } else {
                last
            };
            self.scratch.push((last, kid));
            next = last.checked_add(1);
        }
        if next.is_some() {
            self.scratch.push((u128::MAX, NONE));
        }
        self.finish(var, base)
    }

    /// The packets whose field lies in one of these intervals, which are
    /// ordered and apart from each other.
    pub(crate) fn values(
        &mut self,
        var: Var,
        intervals: impl IntoIterator<Item = Interval>,
    ) -> Result<Diagram, Full> {
        self.pieces(var, intervals.into_iter().map(|interval| (interval, ALL)))
    }

    /// The packets whose field has this value.
    pub(crate) fn value(&mut self, var: Var, value: u128) -> Result<Diagram, Full> {
        self.values(var, [(value, value)])
    }

    pub(crate) fn and(&mut self, a: Diagram, b: Diagram) -> Result<Diagram, Full> {
        self.apply(Op::And, a, b)
    }

    pub(crate) fn or(&mut self, a: Diagram, b: Diagram) -> Result<Diagram, Full> {
        self.apply(Op::Or, a, b)
    }

    /// What `a` has and `b` lacks.
    pub(crate) fn without(&mut self, a: Diagram, b: Diagram) -> Result<Diagram, Full> {
        self.apply(Op::Without, a, b)
    }

    pub(crate) fn not(&mut self, a: Diagram) -> Result<Diagram, Full> {
        self.without(ALL, a)
    }

    pub(crate) fn all_of(&mut self, parts: &[Diagram]) -> Result<Diagram, Full> {
        parts.iter().try_fold(ALL, |all, part| self.and(all, *part))
    }

    pub(crate) fn any_of(&mut self, parts: &[Diagram]) -> Result<Diagram, Full> {
        parts.iter().try_fold(NONE, |any, part| self.or(any, *part))
    }

    /// `then` where the condition holds, else `otherwise`.
    pub(crate) fn choose(
        &mut self,
        condition: Diagram,
        then: Diagram,
        otherwise: Diagram,
    ) -> Result<Diagram, Full> {
        if condition == NONE || then == otherwise {
            return Ok(otherwise);
        }
        if condition == ALL {
            return Ok(then);
        }
        let yes = self.and(condition, then)?;
        let no = self.without(otherwise, condition)?;
        self.or(yes, no)
    }

    fn apply(&mut self, op: Op, a: Diagram, b: Diagram) -> Result<Diagram, Full> {
        match (op, a, b) {
            (Op::And, NONE, _) | (Op::And, _, NONE) => return Ok(NONE),
            (Op::And, ALL, other) | (Op::And, other, ALL) => return Ok(other),
            (Op::Or, ALL, _) | (Op::Or, _, ALL) => return Ok(ALL),
            (Op::Or, NONE, other) | (Op::Or, other, NONE) => return Ok(other),
            (Op::Without, NONE, _) | (Op::Without, _, ALL) => return Ok(NONE),
            (Op::Without, _, NONE) => return Ok(a),
            _ if a == b => return Ok(if op == Op::Without { NONE } else { a }),
            _ => {}
        }
        let key = match op {
            Op::Without => (op, a, b),
            Op::And | Op::Or => (op, a.min(b), a.max(b)),
        };
        if let Some(known) = self.memo.get(&key) {
            return Ok(*known);
        }
        let var = self.var(a).min(self.var(b));
        let side = |d: Diagram| if self.var(d) == var { self.len(d) } else { 0 };
        let (a_len, b_len) = (side(a), side(b));
        let base = self.scratch.len();
        let (mut i, mut j) = (0, 0);
        loop {
            let (a_end, a_kid) = if a_len == 0 {
                (u128::MAX, a)
            } else {
                self.edge(a, i)
            };
            let (b_end, b_kid) = if b_len == 0 {
                (u128::MAX, b)
            } else {
                self.edge(b, j)
            };
            let kid = match self.apply(op, a_kid, b_kid) {
                Ok(kid) => kid,
                Err(full) => {
                    self.scratch.truncate(base);
                    return Err(full);
                }
            };
            let end = a_end.min(b_end);
            self.scratch.push((end, kid));
            if end == u128::MAX {
                break;
            }
            i += usize::from(a_end == end);
            j += usize::from(b_end == end);
        }
        let made = self.finish(var, base)?;
        self.memo.insert(key, made);
        Ok(made)
    }

    /// The packets of which one with another value of this field is in `d`
    /// (`any`), or all are (not `any`).
    pub(crate) fn whatever(&mut self, var: Var, d: Diagram, any: bool) -> Result<Diagram, Full> {
        self.replace(var, d, &mut HashMap::new(), &mut |all, kids| {
            let start = if any { NONE } else { ALL };
            kids.iter().try_fold(start, |sum, (_, kid)| {
                if any {
                    all.or(sum, *kid)
                } else {
                    all.and(sum, *kid)
                }
            })
        })
    }

    /// The packets that are in `d` once their field has this value.
    pub(crate) fn with_value(
        &mut self,
        var: Var,
        value: u128,
        d: Diagram,
    ) -> Result<Diagram, Full> {
        self.replace(var, d, &mut HashMap::new(), &mut |_, kids| {
            let found = kids.iter().find(|(end, _)| value <= *end);
            Ok(found.map_or(NONE, |(_, kid)| *kid))
        })
    }

    fn replace(
        &mut self,
        var: Var,
        d: Diagram,
        known: &mut HashMap<Diagram, Diagram>,
        with: &mut impl FnMut(&mut Self, &[(u128, Diagram)]) -> Result<Diagram, Full>,
    ) -> Result<Diagram, Full> {
        let here = self.var(d);
        if here > var {
            return Ok(d);
        }
        if let Some(made) = known.get(&d) {
            return Ok(*made);
        }
        let mut kids: Vec<_> = (0..self.len(d)).map(|n| self.edge(d, n)).collect();
        let made = if here == var {
            with(self, &kids)?
        } else {
            for (_, kid) in &mut kids {
                *kid = self.replace(var, *kid, known, with)?;
            }
            let base = self.scratch.len();
            self.scratch.append(&mut kids);
            self.finish(here, base)?
        };
        known.insert(d, made);
        Ok(made)
    }

    /// Whether a packet is in the set, by the values of its fields.
    pub(crate) fn holds(&self, mut d: Diagram, value: impl Fn(Var) -> u128) -> bool {
        while d != NONE && d != ALL {
            let value = value(self.var(d));
            let Some((_, kid)) = self.edges(d).find(|((_, last), _)| value <= *last) else {
                return false;
            };
            d = kid;
        }
        d == ALL
    }
}
