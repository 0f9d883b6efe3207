//! Matches and targets of iptables, which iptables-nft puts into rules as they
//! are: a name, a revision, and a structure of `linux/netfilter/xt_*.h` in the
//! machine's byte order. Each becomes the statements that mean the same.

use crate::graph::{
    Cmp, CtKey, Family, FibFlags, FibResult, Foreign, MetaKey, Operand, PayloadBase, Selector,
    Settable, Statement, Translation, TranslationKind, Verdict,
};

/// Reads the fields of a structure from its start.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_ne_bytes(self.bytes(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes(4)?.try_into().ok()?))
    }
}

/// What a match asks; `None` for one that is not known in full.
pub(super) fn matches(
    name: &str,
    revision: u32,
    info: &[u8],
    family: Family,
) -> Option<Vec<Statement>> {
    let f = &mut Fields(info);
    match (name, revision) {
        ("comment", 0) => Some(Vec::new()),
        ("tcp", 0) => tcp(f),
        ("udp", 0) => udp(f),
        ("multiport", 1) => multiport(f),
        ("icmp", 0) | ("icmp6", 0) => icmp(f),
        ("addrtype", 1) => addrtype(f),
        ("state", 0) => {
            let mask = f.u32()?;
            Some(vec![states(mask & 0xf | (mask >> 6 & 1) << 8, false)])
        }
        ("conntrack", 1..=3) => conntrack(f, revision),
        ("mark", 1) => marked(Selector::Meta(MetaKey::Mark), f),
        ("connmark", 1) => marked(Selector::Ct(CtKey::Mark, None), f),
        ("owner", 1) => owner(f),
        ("iprange", 1) => iprange(f, family),
        ("mac", 0) => {
            let address = f.bytes(6)?.to_vec();
            f.bytes(2)?;
            let source = payload(PayloadBase::LinkLayer, 6, 6);
            Some(vec![is(source, f.u32()? != 0, address)])
        }
        ("pkttype", 0) => {
            let kind = u8::try_from(f.u32()?).ok()?;
            let selector = Selector::Meta(MetaKey::PktType);
            Some(vec![is(selector, f.u32()? != 0, vec![kind])])
        }
        _ => None,
    }
}

fn payload(base: PayloadBase, offset: u32, len: u32) -> Selector {
    Selector::Payload { base, offset, len }
}

fn is(left: Selector, negated: bool, right: Vec<u8>) -> Statement {
    Statement::Match {
        left,
        mask: None,
        op: if negated { Cmp::Neq } else { Cmp::Eq },
        right,
    }
}

/// Whether these bits of a number in the machine's order are as given.
fn masked(left: Selector, mask: u32, negated: bool, right: u32) -> Statement {
    Statement::Match {
        left,
        mask: Some(mask.to_ne_bytes().to_vec()),
        op: if negated { Cmp::Neq } else { Cmp::Eq },
        right: right.to_ne_bytes().to_vec(),
    }
}

fn one_of(ways: Vec<Vec<Statement>>, negated: bool) -> Statement {
    Statement::from(Foreign::Any { ways, negated })
}

fn ports(offset: u32, first: u16, last: u16, negated: bool) -> Statement {
    Statement::Range {
        left: payload(PayloadBase::Transport, offset, 2),
        negated,
        first: first.to_be_bytes().to_vec(),
        last: last.to_be_bytes().to_vec(),
    }
}

/// A match of iptables looks at the header of its protocol whatever the range,
/// and holds for none that lacks it.
fn tcp(f: &mut Fields) -> Option<Vec<Statement>> {
    // struct xt_tcp
    let (s0, s1, d0, d1) = (f.u16()?, f.u16()?, f.u16()?, f.u16()?);
    let (option, mask, compare, inverted) = (f.byte()?, f.byte()?, f.byte()?, f.byte()?);
    if option != 0 {
        return None;
    }
    let flags = Statement::Match {
        left: payload(PayloadBase::Transport, 13, 1),
        mask: Some(vec![mask]),
        op: if inverted & 4 != 0 { Cmp::Neq } else { Cmp::Eq },
        right: vec![compare],
    };
    Some(vec![
        ports(0, s0, s1, inverted & 1 != 0),
        ports(2, d0, d1, inverted & 2 != 0),
        flags,
    ])
}

fn udp(f: &mut Fields) -> Option<Vec<Statement>> {
    // struct xt_udp
    let (s0, s1, d0, d1) = (f.u16()?, f.u16()?, f.u16()?, f.u16()?);
    let inverted = f.byte()?;
    Some(vec![
        ports(0, s0, s1, inverted & 1 != 0),
        ports(2, d0, d1, inverted & 2 != 0),
    ])
}

fn multiport(f: &mut Fields) -> Option<Vec<Statement>> {
    // struct xt_multiport_v1; 0 source, 1 destination, 2 either
    let (which, count) = (f.byte()?, usize::from(f.byte()?));
    let mut numbers = Vec::new();
    for _ in 0..15 {
        numbers.push(f.u16()?);
    }
    let with_next = f.bytes(15)?;
    let inverted = f.byte()? != 0;
    let sides: &[u32] = match which {
        0 => &[0],
        1 => &[2],
        2 => &[0, 2],
        _ => return None,
    };
    let mut ways = Vec::new();
    let mut n = 0;
    while n < count {
        let first = *numbers.get(n)?;
        let last = if *with_next.get(n)? != 0 {
            n += 1;
            *numbers.get(n)?
        } else {
            first
        };
        n += 1;
        for side in sides {
            ways.push(vec![ports(*side, first, last, false)]);
        }
    }
    Some(vec![one_of(ways, inverted)])
}

fn icmp(f: &mut Fields) -> Option<Vec<Statement>> {
    // struct ipt_icmp, struct ip6t_icmp
    let (kind, first, last, inverted) = (f.byte()?, f.byte()?, f.byte()?, f.byte()?);
    if kind == 0xff {
        return Some(Vec::new());
    }
    let way = vec![
        is(payload(PayloadBase::Transport, 0, 1), false, vec![kind]),
        Statement::Range {
            left: payload(PayloadBase::Transport, 1, 1),
            negated: false,
            first: vec![first],
            last: vec![last],
        },
    ];
    Some(if inverted & 1 != 0 {
        vec![one_of(vec![way], true)]
    } else {
        way
    })
}

fn addrtype(f: &mut Fields) -> Option<Vec<Statement>> {
    // struct xt_addrtype_info_v1
    let (source, destination, flags) = (f.u16()?, f.u16()?, f.u32()?);
    let limit = match flags & 0xc {
        0 => 0,
        4 => FibFlags::IIF,
        8 => FibFlags::OIF,
        _ => return None,
    };
    let mut statements = Vec::new();
    for (types, by, inverted) in [
        (source, FibFlags::SADDR, flags & 1 != 0),
        (destination, FibFlags::DADDR, flags & 2 != 0),
    ] {
        if types == 0 {
            continue;
        }
        let left = Selector::Fib(FibFlags(by | limit), FibResult::AddrType);
        let ways: Vec<_> = (0..16u32)
            .filter(|kind| types >> kind & 1 == 1)
            .map(|kind| vec![is(left, false, kind.to_ne_bytes().to_vec())])
            .collect();
        statements.push(match (types.count_ones(), types.trailing_zeros()) {
            (1, kind) => is(left, inverted, kind.to_ne_bytes().to_vec()),
            _ => one_of(ways, inverted),
        });
    }
    Some(statements)
}

/// Whether the flow is in one of these states, as `XT_CONNTRACK_STATE_*` tells
/// them: as `ct state` up to 8, then SNAT 64, DNAT 128, UNTRACKED 256.
fn states(mask: u32, inverted: bool) -> Statement {
    let bits = |key, mask| masked(Selector::Ct(key, None), mask, true, 0);
    let state = mask & 0xf | (mask >> 8 & 1) << 6;
    let status = (mask >> 6 & 1) << 4 | (mask >> 7 & 1) << 5;
    match (state, status, inverted) {
        (state, 0, false) => bits(CtKey::State, state),
        (0, status, false) => bits(CtKey::Status, status),
        (state, 0, true) => masked(Selector::Ct(CtKey::State, None), state, false, 0),
        _ => one_of(
            vec![
                vec![bits(CtKey::State, state)],
                vec![bits(CtKey::Status, status)],
            ],
            inverted,
        ),
    }
}

fn conntrack(f: &mut Fields, revision: u32) -> Option<Vec<Statement>> {
    // struct xt_conntrack_mtinfo1 to 3: 8 addresses, 2 expiries, 5 ports,
    // match_flags, invert_flags, state_mask, status_mask
    f.bytes(8 * 16 + 2 * 4)?;
    f.u16()?; // the protocol
    f.bytes(4 * 2)?;
    let (which, inverted) = (f.u16()?, f.u16()?);
    let (state, status) = if revision == 1 {
        (u32::from(f.byte()?), u32::from(f.byte()?))
    } else {
        (u32::from(f.u16()?), u32::from(f.u16()?))
    };
    // Only XT_CONNTRACK_STATE 1 and _STATUS 64.
    if which & !(1 | 64) != 0 {
        return None;
    }
    let mut statements = Vec::new();
    if which & 1 != 0 {
        statements.push(states(state, inverted & 1 != 0));
    }
    if which & 64 != 0 {
        let negated = inverted & 64 != 0;
        // 'One of these bits', or 'none of these'.
        statements.push(masked(
            Selector::Ct(CtKey::Status, None),
            status,
            !negated,
            0,
        ));
    }
    Some(statements)
}

fn marked(left: Selector, f: &mut Fields) -> Option<Vec<Statement>> {
    // struct xt_mark_mtinfo1, struct xt_connmark_mtinfo1
    let (mark, mask, inverted) = (f.u32()?, f.u32()?, f.byte()? != 0);
    Some(vec![masked(left, mask, inverted, mark)])
}

fn owner(f: &mut Fields) -> Option<Vec<Statement>> {
    // struct xt_owner_match_info; UID 1, GID 2, SOCKET 4
    let (u0, u1, g0, g1) = (f.u32()?, f.u32()?, f.u32()?, f.u32()?);
    let (which, inverted) = (f.byte()?, f.byte()?);
    let mut statements = Vec::new();
    for (bit, key, first, last) in [(1, MetaKey::SkUid, u0, u1), (2, MetaKey::SkGid, g0, g1)] {
        if which & bit == 0 {
            continue;
        }
        if first != last {
            return None;
        }
        let value = first.to_ne_bytes().to_vec();
        statements.push(is(Selector::Meta(key), inverted & bit != 0, value));
    }
    (which & !3 == 0).then_some(statements)
}

fn iprange(f: &mut Fields, family: Family) -> Option<Vec<Statement>> {
    // struct xt_iprange_mtinfo; SRC 1, DST 2, SRC_INV 16, DST_INV 32
    let (source, destination, width) = match family {
        Family::Ip => (12, 16, 4),
        Family::Ip6 => (8, 24, 16),
        _ => return None,
    };
    let mut ends = Vec::new();
    for _ in 0..4 {
        ends.push(f.bytes(16)?.get(..width)?.to_vec());
    }
    let flags = f.byte()?;
    let [s0, s1, d0, d1] = <[Vec<u8>; 4]>::try_from(ends).ok()?;
    let mut statements = Vec::new();
    for (bit, offset, first, last) in [(1u8, source, s0, s1), (2, destination, d0, d1)] {
        if flags & bit != 0 {
            statements.push(Statement::Range {
                left: payload(PayloadBase::Network, offset, u32::try_from(width).ok()?),
                negated: flags & bit << 4 != 0,
                first,
                last,
            });
        }
    }
    Some(statements)
}

/// What a target does; `None` for one that is not known in full.
pub(super) fn target(name: &str, revision: u32, info: &[u8], family: Family) -> Option<Statement> {
    let f = &mut Fields(info);
    let kind = match name {
        "MASQUERADE" => TranslationKind::Masquerade,
        "SNAT" => TranslationKind::Snat,
        "DNAT" => TranslationKind::Dnat,
        "REDIRECT" => TranslationKind::Redirect,
        "REJECT" => return Some(Statement::from(Foreign::Reject)),
        "MARK" if revision == 2 => {
            // struct xt_mark_tginfo2: the bits of `mask` are cleared first
            let (mark, mask) = (f.u32()?, f.u32()?);
            let to = Operand::Field {
                field: Selector::Meta(MetaKey::Mark),
                mask: (!mask).to_ne_bytes().to_vec(),
                xor: mark.to_ne_bytes().to_vec(),
            };
            let field = Settable::MetaMark;
            return Some(Statement::from(Foreign::Set { field, to }));
        }
        // Only for the log, for queues of a device, or of the TCP options.
        "LOG" | "NFLOG" | "TRACE" | "CLASSIFY" | "TCPMSS" | "CHECKSUM" | "AUDIT" | "SECMARK"
        | "CONNSECMARK" => return Some(Statement::from(Foreign::Note(name.to_owned()))),
        // Of ebtables: EBT_ACCEPT -1, EBT_DROP -2, EBT_CONTINUE -3, EBT_RETURN -4
        "standard" if family == Family::Bridge => {
            #[allow(clippy::cast_possible_wrap)] // signed in the header
            let verdict = f.u32()? as i32;
            return Some(Statement::Verdict(match verdict {
                -1 => Verdict::Accept,
                -2 => Verdict::Drop,
                -4 => Verdict::Return,
                _ => return None,
            }));
        }
        _ => return None,
    };
    translation(kind, revision, f, family)
}

fn translation(
    kind: TranslationKind,
    revision: u32,
    f: &mut Fields,
    family: Family,
) -> Option<Statement> {
    let (number, width) = match family {
        Family::Ip => (2, 4),
        Family::Ip6 => (10, 16),
        _ => return None,
    };
    // Revision 0 of IPv4: struct nf_nat_ipv4_multi_range_compat; of IPv6 and
    // from 1 on: struct nf_nat_range or nf_nat_range2.
    let old = revision == 0 && family == Family::Ip;
    if old && f.u32()? != 1 {
        return None;
    }
    let flags = f.u32()?;
    // NF_NAT_RANGE_PROTO_OFFSET 32, _NETMAP 64
    if flags & (32 | 64) != 0 {
        return None;
    }
    let field = if old { 4 } else { 16 };
    let first = f.bytes(field)?.get(..width)?.to_vec();
    let last = f.bytes(field)?.get(..width)?.to_vec();
    let (low, high) = (f.bytes(2)?.to_vec(), f.bytes(2)?.to_vec());
    let pair = |a, b| Some((Operand::Value(a), Operand::Value(b)));
    let has_address = matches!(kind, TranslationKind::Snat | TranslationKind::Dnat);
    Some(Statement::from(Foreign::Translate(Translation {
        kind,
        family: Some(number),
        address: if flags & 1 != 0 && has_address {
            pair(first, last)
        } else {
            None
        },
        port: if flags & 2 != 0 {
            pair(low, high)
        } else {
            None
        },
    })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use proptest::prelude::*;

    use super::*;

    const MATCHES: [(&str, u32); 14] = [
        ("tcp", 0),
        ("udp", 0),
        ("multiport", 1),
        ("icmp", 0),
        ("icmp6", 0),
        ("addrtype", 1),
        ("state", 0),
        ("conntrack", 1),
        ("conntrack", 3),
        ("mark", 1),
        ("owner", 1),
        ("iprange", 1),
        ("mac", 0),
        ("pkttype", 0),
    ];

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(info in prop::collection::vec(any::<u8>(), 0..200), n in 0..14usize) {
            let (name, revision) = MATCHES.get(n).copied().unwrap();
            for family in [Family::Ip, Family::Ip6, Family::Bridge] {
                let _ = matches(name, revision, &info, family);
                for name in ["MASQUERADE", "DNAT", "SNAT", "REDIRECT", "MARK", "standard"] {
                    for revision in 0..3 {
                        let _ = target(name, revision, &info, family);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_known_in_full_is_not_known() {
        assert_eq!(matches("recent", 1, &[0; 300], Family::Ip), None);
        assert_eq!(matches("tcp", 0, &[0; 3], Family::Ip), None);
        assert_eq!(target("TPROXY", 1, &[0; 40], Family::Ip), None);
    }
}
