//! Expressions over registers, as the kernel holds the rules of all programs,
//! turned back into statements.

use nftnl::nftnl_sys::libc;

use super::attr::Attributes;
use super::batch::attr;
use super::encode::SOCKET_CGROUPV2;
use super::registers::slot_of;
use super::xt;
use crate::graph::{
    Cgroup, Cmp, CtDirection, CtKey, Exthdr, ExthdrNumbers, Family, FibFlags, FibResult, Foreign,
    HostOrdered, MetaKey, NatTarget, Operand, PayloadBase, Selector, Set, Settable, Statement,
    Translation, TranslationKind, Verdict, address_of, field_width,
};

/// The statements of a list of expressions (`NFTA_RULE_EXPRESSIONS`). `sets`
/// are those of the rule's table.
pub(super) fn statements(
    family: Family,
    sets: &[Set],
    expressions: Attributes,
) -> Option<Vec<Statement>> {
    let mut raiser = Raiser {
        family,
        sets,
        registers: Default::default(),
        statements: Vec::new(),
    };
    for (_, expression) in expressions {
        let expression = Attributes(expression);
        // NFTA_EXPR_NAME, NFTA_EXPR_DATA
        let name = expression.text(1)?;
        let data = expression.find(2).unwrap_or_default();
        let a = Attributes(data);
        if raiser.expression(&name, a).is_none() {
            // Nothing that it may have left in a register can be relied on.
            raiser.registers = Default::default();
            raiser.statements.push(Statement::Unknown {
                name: described(name, a),
                data: data.to_vec(),
            });
        }
    }
    Some(raiser.statements)
}

/// The name of an expression that is not understood. One that writes does more
/// than one of the same name that reads.
fn described(name: String, a: Attributes) -> String {
    let source = match name.as_str() {
        "meta" => 3,
        "ct" => 4,
        "payload" => 5,
        "exthdr" => 7,
        // NFTA_OBJREF_SET_SREG; NFTA_OBJREF_IMM_TYPE 1 tells the object, of
        // which a synproxy (9) takes packets.
        "objref" => {
            return if matches!(a.be32(1), None | Some(9)) {
                "objref set"
            } else {
                "objref"
            }
            .to_owned();
        }
        "target" => return format!("target {}", a.text(1).unwrap_or_default()),
        _ => return name,
    };
    if a.find(source).is_some() {
        name + " set"
    } else {
        name
    }
}

/// What a register holds while a rule is read.
#[derive(Clone)]
enum Held {
    /// A field after masking and turning bits over; empty where it is not.
    Selected(Selector, Bits),
    /// The number of the control group at this level.
    SocketCgroup(u32),
    Value(Vec<u8>),
    Mapped(Vec<Selector>, String),
}

/// `(field & mask) ^ xor`
#[derive(Clone, Default)]
struct Bits {
    mask: Option<Vec<u8>>,
    xor: Vec<u8>,
}

struct Raiser<'a> {
    family: Family,
    sets: &'a [Set],
    registers: [Option<Held>; 16],
    statements: Vec<Statement>,
}

impl Raiser<'_> {
    /// Takes an expression; `None` if it is not understood in full.
    fn expression(&mut self, name: &str, a: Attributes) -> Option<()> {
        match name {
            "meta" => self.meta(a),
            "ct" => self.ct(a),
            "payload" => {
                // DREG 1, BASE 2, OFFSET 3, LEN 4
                let base = match a.be32(2)? {
                    0 => PayloadBase::LinkLayer,
                    1 => PayloadBase::Network,
                    2 => PayloadBase::Transport,
                    _ => return None,
                };
                self.load(
                    a.be32(1)?,
                    Selector::Payload {
                        base,
                        offset: a.be32(3)?,
                        len: a.be32(4)?,
                    },
                )
            }
            "fib" => {
                // DREG 1, RESULT 2, FLAGS 3
                let result = match a.be32(2)? {
                    1 => FibResult::Oif,
                    2 => FibResult::OifName,
                    3 => FibResult::AddrType,
                    _ => return None,
                };
                self.load(a.be32(1)?, Selector::Fib(FibFlags(a.be32(3)?), result))
            }
            "exthdr" => {
                // DREG 1, TYPE 2, OFFSET 3, LEN 4, FLAGS 5, OP 6
                let numbers = ExthdrNumbers {
                    op: a.be32(6).unwrap_or_default(),
                    kind: a.byte(2)?,
                    offset: a.be32(3)?,
                    len: a.be32(4)?,
                    flags: a.be32(5).unwrap_or_default(),
                };
                let header = Exthdr::from_numbers(numbers)?;
                self.load(a.be32(1)?, Selector::Exthdr(header))
            }
            "bitwise" => self.bitwise(a),
            "byteorder" => self.byteorder(a),
            "socket" => {
                // KEY 1, DREG 2, LEVEL 3
                if a.be32(1)? != SOCKET_CGROUPV2 {
                    return None;
                }
                self.put(a.be32(2)?, Held::SocketCgroup(a.be32(3)?), 8)
            }
            "cmp" => self.cmp(a),
            "range" => {
                // SREG 1, OP 2, FROM_DATA 3, TO_DATA 4
                let (left, bits) = self.selected(a.be32(1)?)?;
                if bits.mask.is_some() || !bits.xor.is_empty() {
                    return None;
                }
                let value = |kind| Some(a.nested(kind).find(attr::DATA_VALUE)?.to_vec());
                self.say(Statement::Range {
                    left,
                    negated: a.be32(2)? == 1,
                    first: value(3)?,
                    last: value(4)?,
                })
            }
            "lookup" => self.lookup(a),
            "immediate" => self.immediate(a),
            "counter" => {
                // BYTES 1, PACKETS 2
                self.say(Statement::Counter {
                    packets: a.be64(2)?,
                    bytes: a.be64(1)?,
                })
            }
            "limit" => self.limit(a),
            "log" => self.log(a),
            "last" => self.note(name),
            // NFTA_OBJREF_IMM_TYPE: a counter 1, a helper 3, a timeout 7, an
            // expectation 8, a security mark 10
            "objref" if matches!(a.be32(1)?, 1 | 3 | 7 | 8 | 10) => self.note("object"),
            "masq" if a.find(1).is_none() && a.find(2).is_none() => self.say(Statement::Masquerade),
            // FLAGS 1, PROTO_MIN 2, PROTO_MAX 3
            "masq" => self.translate(TranslationKind::Masquerade, None, [None, None], [2, 3], a),
            // PROTO_MIN 1, PROTO_MAX 2, FLAGS 3
            "redir" => self.translate(TranslationKind::Redirect, None, [None, None], [1, 2], a),
            "nat" => self.nat(a),
            "notrack" => self.say(Statement::from(Foreign::Notrack)),
            "reject" => self.say(Statement::from(Foreign::Reject)),
            // NAME 1, REV 2, INFO 3
            "match" => {
                let statements = xt::matches(&a.text(1)?, a.be32(2)?, a.find(3)?, self.family)?;
                self.statements.extend(statements);
                Some(())
            }
            "target" => {
                let statement = xt::target(&a.text(1)?, a.be32(2)?, a.find(3)?, self.family)?;
                self.say(statement)
            }
            _ => None,
        }
    }

    #[allow(clippy::unnecessary_wraps)] // so that the calls above read alike
    fn say(&mut self, statement: Statement) -> Option<()> {
        self.statements.push(statement);
        Some(())
    }

    fn note(&mut self, what: &str) -> Option<()> {
        self.say(Statement::from(Foreign::Note(what.to_owned())))
    }

    /// Fills a register and what of its neighbours the value covers.
    fn put(&mut self, register: u32, held: Held, width: usize) -> Option<()> {
        let slot = slot_of(register)?;
        for covered in self.registers.iter_mut().skip(slot).take(width.div_ceil(4)) {
            *covered = None;
        }
        *self.registers.get_mut(slot)? = Some(held);
        Some(())
    }

    fn load(&mut self, register: u32, selector: Selector) -> Option<()> {
        let width = selector.width();
        self.put(register, Held::Selected(selector, Bits::default()), width)
    }

    fn selected(&self, register: u32) -> Option<(Selector, Bits)> {
        match self.registers.get(slot_of(register)?)? {
            Some(Held::Selected(selector, bits)) => Some((*selector, bits.clone())),
            _ => None,
        }
    }

    fn value(&self, register: u32) -> Option<&[u8]> {
        match self.registers.get(slot_of(register)?)? {
            Some(Held::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// What a register holds, to be used as a value.
    fn operand(&self, register: u32) -> Option<Operand> {
        let slot = slot_of(register)?;
        Some(match self.registers.get(slot)? {
            Some(Held::Value(value)) => Operand::Value(value.clone()),
            Some(Held::Selected(field, bits)) => Operand::Field {
                field: *field,
                mask: bits.mask.clone().unwrap_or_default(),
                xor: bits.xor.clone(),
            },
            Some(Held::Mapped(key, map)) => Operand::Mapped {
                key: key.clone(),
                map: map.clone(),
                offset: 0,
            },
            Some(Held::SocketCgroup(_)) => return None,
            // A later part of what a map holds.
            None => {
                let before = self.registers.get(..slot)?;
                let start = before.iter().rposition(Option::is_some)?;
                let Some(Held::Mapped(key, map)) = before.get(start)? else {
                    return None;
                };
                Operand::Mapped {
                    key: key.clone(),
                    map: map.clone(),
                    offset: (slot - start) * 4,
                }
            }
        })
    }

    fn meta(&mut self, a: Attributes) -> Option<()> {
        // DREG 1, KEY 2, SREG 3
        let key = a.be32(2)?;
        let Some(source) = a.be32(3) else {
            return self.load(a.be32(1)?, Selector::Meta(MetaKey::from_number(key)?));
        };
        match key {
            3 => self.set(Settable::MetaMark, source),
            // priority, tracing, class, security mark: no rule asks for them
            2 | 12 | 13 | 14 => self.note("meta set"),
            _ => None,
        }
    }

    fn set(&mut self, field: Settable, source: u32) -> Option<()> {
        let to = self.operand(source)?;
        // What was read before holds the old value.
        self.registers = Default::default();
        self.say(Statement::from(Foreign::Set { field, to }))
    }

    fn ct(&mut self, a: Attributes) -> Option<()> {
        // DREG 1, KEY 2, DIRECTION 3, SREG 4
        if let Some(source) = a.be32(4) {
            return match a.be32(2)? {
                3 => self.set(Settable::CtMark, source),
                // security mark, event mask
                4 | 18 => self.note("ct set"),
                13 => {
                    let label = u128::from_ne_bytes(self.value(source)?.try_into().ok()?);
                    self.say(Statement::SetLabel(label))
                }
                _ => None,
            };
        }
        let key = CtKey::from_number(a.be32(2)?)?;
        let direction = match a.byte(3) {
            None => None,
            Some(0) => Some(CtDirection::Original),
            Some(1) => Some(CtDirection::Reply),
            Some(_) => return None,
        };
        self.load(a.be32(1)?, Selector::Ct(key, direction))
    }

    fn bitwise(&mut self, a: Attributes) -> Option<()> {
        // SREG 1, DREG 2, LEN 3, MASK 4, XOR 5, OP 6
        if a.be32(6).unwrap_or_default() != 0 {
            return None;
        }
        let mask = a.nested(4).find(attr::DATA_VALUE)?;
        let xor = a.nested(5).find(attr::DATA_VALUE)?;
        let (selector, bits) = self.selected(a.be32(1)?)?;
        if bits.mask.is_some() || !bits.xor.is_empty() || mask.len() != xor.len() {
            return None;
        }
        let bits = Bits {
            mask: Some(mask.to_vec()),
            xor: if xor.iter().all(|byte| *byte == 0) {
                Vec::new()
            } else {
                xor.to_vec()
            },
        };
        let width = mask.len();
        self.put(a.be32(2)?, Held::Selected(selector, bits), width)
    }

    fn byteorder(&mut self, a: Attributes) -> Option<()> {
        // SREG 1, DREG 2, OP 3 (1 to network order), LEN 4, SIZE 5
        // A value that is shorter than the numbers to be turned stays as it is.
        if a.be32(4)? < a.be32(5)? && a.be32(1)? == a.be32(2)? {
            return self.selected(a.be32(1)?).map(|_| ());
        }
        let (selector, bits) = self.selected(a.be32(1)?)?;
        let field = match selector {
            Selector::Meta(key) => HostOrdered::Meta(key),
            Selector::Ct(key, direction) => HostOrdered::Ct(key, direction),
            _ => return None,
        };
        let width = selector.width();
        let size = |kind| Some(usize::try_from(a.be32(kind)?).ok()? == width);
        if a.be32(3)? != 1 || bits.mask.is_some() || !size(4)? || !size(5)? {
            return None;
        }
        self.load(a.be32(2)?, Selector::NetworkOrder(field))
    }

    fn cmp(&mut self, a: Attributes) -> Option<()> {
        // SREG 1, OP 2, DATA 3
        let op = Cmp::from_number(a.be32(2)?)?;
        let right = a.nested(3).find(attr::DATA_VALUE)?;
        if let Some(Held::SocketCgroup(level)) = self.registers.get(slot_of(a.be32(1)?)?)? {
            let level = *level;
            let id = u64::from_ne_bytes(right.try_into().ok()?);
            let path = String::new();
            return match op {
                Cmp::Eq => self.say(Statement::SocketCgroup(Cgroup { level, id, path })),
                _ => None,
            };
        }
        let (left, bits) = self.selected(a.be32(1)?)?;
        if right.len() > field_width(left.width()) {
            return None;
        }
        let mut right = right.to_vec();
        if !bits.xor.is_empty() {
            // Bits that are turned over on one side can be on the other.
            if !matches!(op, Cmp::Eq | Cmp::Neq) || bits.xor.len() != right.len() {
                return None;
            }
            right.iter_mut().zip(&bits.xor).for_each(|(b, x)| *b ^= x);
        }
        self.say(Statement::Match {
            left,
            mask: bits.mask,
            op,
            right,
        })
    }

    fn lookup(&mut self, a: Attributes) -> Option<()> {
        // SET 1, SREG 2, DREG 3, SET_ID 4, FLAGS 5
        let name = a.text(1)?;
        let set = self.sets.iter().find(|set| set.name == name)?;
        let width = set.key_width() / 4;
        let mut slot = slot_of(a.be32(2)?)?;
        let end = slot + width;
        let mut key = Vec::new();
        while slot < end {
            let Some(Held::Selected(selector, bits)) = self.registers.get(slot)? else {
                return None;
            };
            if bits.mask.is_some() {
                return None;
            }
            key.push(*selector);
            slot += field_width(selector.width()) / 4;
        }
        if slot != end || key.is_empty() {
            return None;
        }
        match a.be32(3) {
            None => self.say(Statement::Lookup {
                key,
                set: name,
                negated: a.be32(5).unwrap_or_default() & 1 != 0,
            }),
            Some(register) if slot_of(register).is_none() => {
                self.say(Statement::from(Foreign::VerdictMap { key, set: name }))
            }
            // The width of what it holds is at most that of four registers.
            Some(register) => self.put(register, Held::Mapped(key, name), 64),
        }
    }

    fn immediate(&mut self, a: Attributes) -> Option<()> {
        // DREG 1, DATA 2
        let register = a.be32(1)?;
        let data = a.nested(2);
        if slot_of(register).is_some() {
            let value = data.find(attr::DATA_VALUE)?.to_vec();
            let width = value.len();
            return self.put(register, Held::Value(value), width);
        }
        self.say(Statement::Verdict(verdict(data)?))
    }

    fn limit(&mut self, a: Attributes) -> Option<()> {
        // RATE 1, UNIT 2, BURST 3, TYPE 4 (0 packets), FLAGS 5
        if a.be32(4).unwrap_or_default() != 0 || a.be32(5).unwrap_or_default() != 0 {
            return None;
        }
        self.say(Statement::Limit {
            rate: a.be64(1)?,
            unit: a.be64(2)?,
            burst: a.be32(3).unwrap_or_default(),
        })
    }

    fn log(&mut self, a: Attributes) -> Option<()> {
        // GROUP 1, PREFIX 2, SNAPLEN 3, QTHRESHOLD 4, LEVEL 5 (4 a warning), FLAGS 6
        let group = match a.find(1) {
            None => None,
            Some(group) => Some(u16::from_be_bytes(group.try_into().ok()?)),
        };
        if a.be32(3).unwrap_or_default() != 0
            || a.find(4).is_some_and(|queue| queue != [0, 0])
            || a.be32(5).is_some_and(|level| level != 4)
            || a.be32(6).unwrap_or_default() != 0
        {
            return self.note("log");
        }
        self.say(Statement::Log {
            prefix: a.text(2).unwrap_or_default(),
            group,
        })
    }

    #[allow(clippy::cast_sign_loss)] // numbers of the kernel's header
    fn nat(&mut self, a: Attributes) -> Option<()> {
        // TYPE 1, FAMILY 2, ADDR_MIN 3, ADDR_MAX 4, PROTO_MIN 5, PROTO_MAX 6, FLAGS 7
        // The kernel answers with a maximum equal to the minimum, and with the
        // flags that it derives from both (1 addresses, 2 ports). Others choose
        // a port by chance (4, 16) or by the source (8); more than those do
        // something else than is said here.
        let flags = a.be32(7).unwrap_or_default();
        if flags & !0x1f != 0 {
            return None;
        }
        let kind = match a.be32(1)? {
            kind if kind == libc::NFT_NAT_DNAT as u32 => TranslationKind::Dnat,
            kind if kind == libc::NFT_NAT_SNAT as u32 => TranslationKind::Snat,
            _ => return None,
        };
        if kind == TranslationKind::Dnat
            && flags & !3 == 0
            && a.be32(4).is_none_or(|max| Some(max) == a.be32(3))
            && a.be32(6).is_none_or(|max| Some(max) == a.be32(5))
            && let (Some(address), Some(port)) = (
                a.be32(3).and_then(|register| self.value(register)),
                a.be32(5).and_then(|register| self.value(register)),
            )
            && let (Some(address), Ok(port)) = (address_of(address), port.try_into())
        {
            let port = u16::from_be_bytes(port);
            return self.say(Statement::Dnat(NatTarget { address, port }));
        }
        let family = u8::try_from(a.be32(2)?).ok()?;
        self.translate(kind, Some(family), [a.be32(3), a.be32(4)], [5, 6], a)
    }

    fn translate(
        &mut self,
        kind: TranslationKind,
        family: Option<u8>,
        address: [Option<u32>; 2],
        ports: [u16; 2],
        a: Attributes,
    ) -> Option<()> {
        let pair = |[min, max]: [Option<u32>; 2]| match min {
            None => Some(None),
            Some(min) => Some(Some((
                self.operand(min)?,
                self.operand(max.unwrap_or(min))?,
            ))),
        };
        let translation = Translation {
            kind,
            family,
            address: pair(address)?,
            port: pair(ports.map(|kind| a.be32(kind)))?,
        };
        self.say(Statement::from(Foreign::Translate(translation)))
    }
}

/// A verdict from `NFTA_DATA_VERDICT` 2: CODE 1, CHAIN 2.
pub(super) fn verdict(data: Attributes) -> Option<Verdict> {
    let verdict = data.nested(2);
    #[allow(clippy::cast_possible_wrap)] // verdicts are signed
    let code = verdict.be32(1)? as i32;
    Some(match code {
        libc::NF_ACCEPT => Verdict::Accept,
        libc::NF_DROP => Verdict::Drop,
        libc::NFT_RETURN => Verdict::Return,
        libc::NFT_JUMP => Verdict::Jump(verdict.text(2)?),
        libc::NFT_GOTO => Verdict::Goto(verdict.text(2)?),
        other => Verdict::Other(other),
    })
}
