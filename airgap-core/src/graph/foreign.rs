//! Statements that only other programs' rules hold: they are decoded, printed
//! and evaluated, and never sent.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::data::write_hex;
use super::text::{Context, lookup_key, selector_text, write_statement, write_value};
use super::{Selector, Statement};

/// A statement of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// Whether the packet matches one of several lists of conditions; what a
    /// match of iptables with many values says.
    Any {
        /// Each matches when all of its conditions do.
        ways: Vec<Vec<Statement>>,
        /// Whether none may match.
        negated: bool,
    },
    /// Looks the verdict up (`vmap`). Without an element the rule goes on.
    VerdictMap {
        /// What is looked up.
        key: Vec<Selector>,
        /// Where.
        set: String,
    },
    /// Translates addresses or ports.
    Translate(Translation),
    /// Gives something about the packet or its flow a value.
    Set {
        /// What.
        field: Settable,
        /// Its new value.
        to: Operand,
    },
    /// The packet's flow gets no record (`notrack`).
    Notrack,
    /// Drops the packet and tells its sender.
    Reject,
    /// Notes, counts or marks something that no rule asks for, by its name;
    /// the rule always goes on.
    Note(String),
}

/// What [`Foreign::Set`] gives a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the words of nft(8)
pub enum Settable {
    MetaMark,
    CtMark,
}

/// A value that a rule computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// Always the same, in the byte order in which the kernel holds it.
    Value(Vec<u8>),
    /// `(field & mask) ^ xor`.
    Field {
        /// The field.
        field: Selector,
        /// The bits that are kept; all where it is empty.
        mask: Vec<u8>,
        /// The bits that are turned over; none where it is empty.
        xor: Vec<u8>,
    },
    /// What a map holds for a key. Without an element the rule does not match.
    Mapped {
        /// The key.
        key: Vec<Selector>,
        /// The map.
        map: String,
        /// Where in the map's value it begins, in bytes.
        offset: usize,
    },
}

/// A translation of addresses or ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// What is translated to what.
    pub kind: TranslationKind,
    /// The IP version of the address, where there is one: `NFPROTO_IPV4` 2,
    /// `NFPROTO_IPV6` 10.
    pub family: Option<u8>,
    /// The first and the last address, of which the kernel takes one.
    pub address: Option<(Operand, Operand)>,
    /// The first and the last port, in network byte order.
    pub port: Option<(Operand, Operand)>,
}

/// Kinds of [`Translation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TranslationKind {
    /// The source, to an address.
    Snat,
    /// The source, to the address of the outgoing interface.
    Masquerade,
    /// The destination, to an address.
    Dnat,
    /// The destination, to the host itself.
    Redirect,
}

impl TranslationKind {
    /// As nft(8) names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Snat => "snat",
            Self::Masquerade => "masquerade",
            Self::Dnat => "dnat",
            Self::Redirect => "redirect",
        }
    }
}

impl Settable {
    /// As nft(8) names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MetaMark => "meta mark",
            Self::CtMark => "ct mark",
        }
    }
}

/// Whether an expression without a word here can do no more than match or not
/// match. Of all others anything is to be expected: a verdict, another packet.
#[must_use]
pub fn is_mere_condition(expression: &str) -> bool {
    matches!(
        expression,
        "meta"
            | "ct"
            | "payload"
            | "exthdr"
            | "fib"
            | "rt"
            | "socket"
            | "osf"
            | "tunnel"
            | "xfrm"
            | "numgen"
            | "hash"
            | "inner"
            | "bitwise"
            | "byteorder"
            | "cmp"
            | "range"
            | "lookup"
            | "limit"
            | "quota"
            | "connlimit"
            | "last"
            | "log"
            | "dynset"
            | "objref"
            | "match"
    )
}

pub(super) fn write_foreign(foreign: &Foreign, context: &Context, out: &mut String) {
    match foreign {
        Foreign::Any { ways, negated } => {
            // nft(8) has no words for this; the rule is shown, not loaded.
            out.push_str(if *negated { "not (" } else { "(" });
            for (n, way) in ways.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { " or " });
                for (n, statement) in way.iter().enumerate() {
                    out.push_str(if n == 0 { "" } else { " " });
                    write_statement(statement, context, out);
                }
            }
            out.push(')');
        }
        Foreign::VerdictMap { key, set } => {
            let _ = write!(out, "{} vmap @{set}", lookup_key(key, context));
        }
        Foreign::Translate(translation) => write_translation(translation, context, out),
        Foreign::Set { field, to } => {
            let _ = write!(out, "{} set ", field.name());
            write_operand(to, context, out);
        }
        Foreign::Notrack => out.push_str("notrack"),
        Foreign::Reject => out.push_str("reject"),
        Foreign::Note(name) => {
            let _ = write!(out, "# {name}");
        }
    }
}

fn write_translation(t: &Translation, context: &Context, out: &mut String) {
    out.push_str(t.kind.name());
    if let (Some(family), Some(_)) = (t.family, &t.address) {
        out.push_str(if family == 10 { " ip6" } else { " ip" });
    }
    if t.address.is_none() && t.port.is_none() {
        return;
    }
    out.push_str(" to ");
    if let Some((first, last)) = &t.address {
        write_end(first, true, context, out);
        if first != last {
            out.push('-');
            write_end(last, true, context, out);
        }
    }
    if let Some((first, last)) = &t.port {
        out.push(':');
        write_end(first, false, context, out);
        if first != last {
            out.push('-');
            write_end(last, false, context, out);
        }
    }
}

/// An address or a port of a translation.
fn write_end(operand: &Operand, address: bool, context: &Context, out: &mut String) {
    match operand {
        Operand::Value(value) if address => match address_of(value) {
            Some(IpAddr::V6(address)) => {
                let _ = write!(out, "[{address}]");
            }
            Some(address) => {
                let _ = write!(out, "{address}");
            }
            None => write_hex(value, out),
        },
        Operand::Value(value) => match value.as_slice() {
            &[high, low] | &[high, low, 0, 0] => {
                let _ = write!(out, "{}", u16::from_be_bytes([high, low]));
            }
            value => write_hex(value, out),
        },
        _ => write_operand(operand, context, out),
    }
}

/// The address that these bytes are, by their number.
#[must_use]
pub fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

fn write_operand(operand: &Operand, context: &Context, out: &mut String) {
    match operand {
        Operand::Value(value) => match <[u8; 4]>::try_from(value.as_slice()) {
            Ok(bytes) => {
                let _ = write!(out, "{:#x}", u32::from_ne_bytes(bytes));
            }
            Err(_) => write_hex(value, out),
        },
        Operand::Field { field, mask, xor } => {
            let (name, kind) = selector_text(field, context);
            out.push_str(&name);
            for (sign, bits) in [(" & ", mask), (" ^ ", xor)] {
                if !bits.is_empty() {
                    out.push_str(sign);
                    write_value(bits, kind, out);
                }
            }
        }
        Operand::Mapped { key, map, .. } => {
            let _ = write!(out, "{} map @{map}", lookup_key(key, context));
        }
    }
}
