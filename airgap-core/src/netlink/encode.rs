//! Statements of a rule as expressions of nf_tables.

use std::ffi::CString;
use std::net::IpAddr;

use nftnl::nftnl_sys::{self as sys, libc};

use super::ffi::{AnyExpression, Attribute};
use super::registers::{VERDICT, register_of};
use crate::graph::{Cmp, CtKey, FibFlags, NatTarget, Selector, Statement, Verdict, field_width};

/// `NFT_SOCKET_CGROUPV2` of `linux/netfilter/nf_tables.h`
pub(super) const SOCKET_CGROUPV2: u32 = 3;

/// Appends the expressions that do what the statement says.
pub(super) fn encode(statement: &Statement, out: &mut Vec<AnyExpression>) {
    match statement {
        Statement::Match {
            left,
            mask,
            op,
            right,
        } => {
            out.push(load(left, 0));
            if let Some(mask) = mask {
                out.push(bitwise(mask));
            }
            out.push(compare(*op, right.clone()));
        }
        Statement::Range {
            left,
            negated,
            first,
            last,
        } => {
            out.push(load(left, 0));
            out.push(AnyExpression {
                name: c"range",
                attributes: vec![
                    (sys::NFTNL_EXPR_RANGE_SREG, Attribute::U32(register_of(0))),
                    (
                        sys::NFTNL_EXPR_RANGE_OP,
                        Attribute::U32(u32::from(*negated)),
                    ),
                    (
                        sys::NFTNL_EXPR_RANGE_FROM_DATA,
                        Attribute::Bytes(first.clone()),
                    ),
                    (
                        sys::NFTNL_EXPR_RANGE_TO_DATA,
                        Attribute::Bytes(last.clone()),
                    ),
                ],
            });
        }
        Statement::Lookup { key, set, negated } => {
            let mut slot = 0;
            for selector in key {
                out.push(load(selector, slot));
                slot += field_width(selector.width()) / 4;
            }
            let mut attributes = vec![
                (sys::NFTNL_EXPR_LOOKUP_SREG, Attribute::U32(register_of(0))),
                (sys::NFTNL_EXPR_LOOKUP_SET, Attribute::Text(c_string(set))),
            ];
            if *negated {
                #[allow(clippy::cast_sign_loss)] // a flag of the kernel's header
                attributes.push((
                    sys::NFTNL_EXPR_LOOKUP_FLAGS,
                    Attribute::U32(libc::NFT_LOOKUP_F_INV as u32),
                ));
            }
            out.push(AnyExpression {
                name: c"lookup",
                attributes,
            });
        }
        Statement::SocketCgroup(group) => {
            out.push(AnyExpression {
                name: c"socket",
                attributes: vec![
                    (sys::NFTNL_EXPR_SOCKET_KEY, Attribute::U32(SOCKET_CGROUPV2)),
                    (sys::NFTNL_EXPR_SOCKET_DREG, Attribute::U32(register_of(0))),
                    (sys::NFTNL_EXPR_SOCKET_LEVEL, Attribute::U32(group.level)),
                ],
            });
            out.push(compare(Cmp::Eq, group.id.to_ne_bytes().to_vec()));
        }
        Statement::Verdict(verdict) => out.push(encode_verdict(verdict)),
        Statement::Counter { packets, bytes } => out.push(AnyExpression {
            name: c"counter",
            attributes: vec![
                (sys::NFTNL_EXPR_CTR_PACKETS, Attribute::U64(*packets)),
                (sys::NFTNL_EXPR_CTR_BYTES, Attribute::U64(*bytes)),
            ],
        }),
        Statement::Limit { rate, unit, burst } => out.push(AnyExpression {
            name: c"limit",
            attributes: vec![
                (sys::NFTNL_EXPR_LIMIT_RATE, Attribute::U64(*rate)),
                (sys::NFTNL_EXPR_LIMIT_UNIT, Attribute::U64(*unit)),
                (sys::NFTNL_EXPR_LIMIT_BURST, Attribute::U32(*burst)),
                // NFT_LIMIT_PKTS
                (sys::NFTNL_EXPR_LIMIT_TYPE, Attribute::U32(0)),
                (sys::NFTNL_EXPR_LIMIT_FLAGS, Attribute::U32(0)),
            ],
        }),
        Statement::Log { prefix, group } => {
            let mut attributes = vec![(
                sys::NFTNL_EXPR_LOG_PREFIX,
                Attribute::Text(c_string(prefix)),
            )];
            if let Some(group) = group {
                attributes.push((sys::NFTNL_EXPR_LOG_GROUP, Attribute::U16(*group)));
            }
            out.push(AnyExpression {
                name: c"log",
                attributes,
            });
        }
        Statement::SetLabel(label) => {
            out.push(immediate(0, label.to_ne_bytes().to_vec()));
            out.push(AnyExpression {
                name: c"ct",
                attributes: vec![
                    (sys::NFTNL_EXPR_CT_KEY, Attribute::U32(CtKey::Labels as u32)),
                    (sys::NFTNL_EXPR_CT_SREG, Attribute::U32(register_of(0))),
                ],
            });
        }
        Statement::Masquerade => out.push(AnyExpression {
            name: c"masq",
            attributes: Vec::new(),
        }),
        Statement::Dnat(target) => encode_dnat(target, out),
        // Only what was read from the kernel can be of others or unknown, and
        // that is never written.
        Statement::Foreign(_) | Statement::Unknown { .. } => {}
    }
}

/// A C string; a zero inside, which no name here has, would end it.
pub(super) fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(text.get(..end).unwrap_or_default()).unwrap_or_default()
}

/// Loads a selector into the registers from this slot on.
fn load(selector: &Selector, slot: usize) -> AnyExpression {
    let register = Attribute::U32(register_of(slot));
    match selector {
        Selector::Meta(key) => AnyExpression {
            name: c"meta",
            attributes: vec![
                (sys::NFTNL_EXPR_META_KEY, Attribute::U32(*key as u32)),
                (sys::NFTNL_EXPR_META_DREG, register),
            ],
        },
        Selector::Ct(key, direction) => {
            let mut attributes = vec![
                (sys::NFTNL_EXPR_CT_KEY, Attribute::U32(*key as u32)),
                (sys::NFTNL_EXPR_CT_DREG, register),
            ];
            if let Some(direction) = direction {
                attributes.push((sys::NFTNL_EXPR_CT_DIR, Attribute::U8(*direction as u8)));
            }
            AnyExpression {
                name: c"ct",
                attributes,
            }
        }
        Selector::Payload { base, offset, len } => AnyExpression {
            name: c"payload",
            attributes: vec![
                (sys::NFTNL_EXPR_PAYLOAD_DREG, register),
                (sys::NFTNL_EXPR_PAYLOAD_BASE, Attribute::U32(*base as u32)),
                (sys::NFTNL_EXPR_PAYLOAD_OFFSET, Attribute::U32(*offset)),
                (sys::NFTNL_EXPR_PAYLOAD_LEN, Attribute::U32(*len)),
            ],
        },
        Selector::Fib(FibFlags(flags), result) => AnyExpression {
            name: c"fib",
            attributes: vec![
                (sys::NFTNL_EXPR_FIB_DREG, register),
                (sys::NFTNL_EXPR_FIB_RESULT, Attribute::U32(*result as u32)),
                (sys::NFTNL_EXPR_FIB_FLAGS, Attribute::U32(*flags)),
            ],
        },
        Selector::NetworkOrder(field) => load(&field.selector(), slot),
        Selector::Exthdr(header) => {
            let numbers = header.numbers();
            AnyExpression {
                name: c"exthdr",
                attributes: vec![
                    (sys::NFTNL_EXPR_EXTHDR_DREG, register),
                    (sys::NFTNL_EXPR_EXTHDR_TYPE, Attribute::U8(numbers.kind)),
                    (
                        sys::NFTNL_EXPR_EXTHDR_OFFSET,
                        Attribute::U32(numbers.offset),
                    ),
                    (sys::NFTNL_EXPR_EXTHDR_LEN, Attribute::U32(numbers.len)),
                    (sys::NFTNL_EXPR_EXTHDR_FLAGS, Attribute::U32(numbers.flags)),
                    (sys::NFTNL_EXPR_EXTHDR_OP, Attribute::U32(numbers.op)),
                ],
            }
        }
    }
}

/// Compares the first register with a value.
fn compare(op: Cmp, right: Vec<u8>) -> AnyExpression {
    AnyExpression {
        name: c"cmp",
        attributes: vec![
            (sys::NFTNL_EXPR_CMP_SREG, Attribute::U32(register_of(0))),
            (sys::NFTNL_EXPR_CMP_OP, Attribute::U32(op as u32)),
            (sys::NFTNL_EXPR_CMP_DATA, Attribute::Bytes(right)),
        ],
    }
}

/// Keeps the masked bits of the first register.
fn bitwise(mask: &[u8]) -> AnyExpression {
    let len = u32::try_from(mask.len()).unwrap_or(u32::MAX);
    AnyExpression {
        name: c"bitwise",
        attributes: vec![
            (sys::NFTNL_EXPR_BITWISE_SREG, Attribute::U32(register_of(0))),
            (sys::NFTNL_EXPR_BITWISE_DREG, Attribute::U32(register_of(0))),
            (sys::NFTNL_EXPR_BITWISE_LEN, Attribute::U32(len)),
            (
                sys::NFTNL_EXPR_BITWISE_MASK,
                Attribute::Bytes(mask.to_vec()),
            ),
            (
                sys::NFTNL_EXPR_BITWISE_XOR,
                Attribute::Bytes(vec![0; mask.len()]),
            ),
        ],
    }
}

fn immediate(slot: usize, data: Vec<u8>) -> AnyExpression {
    AnyExpression {
        name: c"immediate",
        attributes: vec![
            (sys::NFTNL_EXPR_IMM_DREG, Attribute::U32(register_of(slot))),
            (sys::NFTNL_EXPR_IMM_DATA, Attribute::Bytes(data)),
        ],
    }
}

#[allow(clippy::cast_sign_loss)] // verdicts are signed in the header, unsigned on the wire
fn encode_verdict(verdict: &Verdict) -> AnyExpression {
    let (number, chain) = match verdict {
        Verdict::Accept => (libc::NF_ACCEPT, None),
        Verdict::Drop => (libc::NF_DROP, None),
        Verdict::Return => (libc::NFT_RETURN, None),
        Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (libc::NFT_GOTO, Some(chain)),
        Verdict::Other(number) => (*number, None),
    };
    let mut attributes = vec![
        (sys::NFTNL_EXPR_IMM_DREG, Attribute::U32(VERDICT)),
        (sys::NFTNL_EXPR_IMM_VERDICT, Attribute::U32(number as u32)),
    ];
    if let Some(chain) = chain {
        attributes.push((sys::NFTNL_EXPR_IMM_CHAIN, Attribute::Text(c_string(chain))));
    }
    AnyExpression {
        name: c"immediate",
        attributes,
    }
}

#[allow(clippy::cast_sign_loss)] // family numbers are signed in the header
fn encode_dnat(target: &NatTarget, out: &mut Vec<AnyExpression>) {
    let (family, address) = match target.address {
        IpAddr::V4(a) => (libc::NFPROTO_IPV4 as u32, a.octets().to_vec()),
        IpAddr::V6(a) => (libc::NFPROTO_IPV6 as u32, a.octets().to_vec()),
    };
    let port_slot = address.len() / 4;
    out.push(immediate(0, address));
    out.push(immediate(port_slot, target.port.to_be_bytes().to_vec()));
    out.push(AnyExpression {
        name: c"nat",
        attributes: vec![
            (
                sys::NFTNL_EXPR_NAT_TYPE,
                Attribute::U32(libc::NFT_NAT_DNAT as u32),
            ),
            (sys::NFTNL_EXPR_NAT_FAMILY, Attribute::U32(family)),
            (
                sys::NFTNL_EXPR_NAT_REG_ADDR_MIN,
                Attribute::U32(register_of(0)),
            ),
            (
                sys::NFTNL_EXPR_NAT_REG_PROTO_MIN,
                Attribute::U32(register_of(port_slot)),
            ),
        ],
    });
}
