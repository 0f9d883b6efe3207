//! Packets as bytes, and random ones, biased to what rules ask for.

use std::net::IpAddr;

use fastrand::Rng;

use crate::stage::Node;

/// Ports around the edges of the ranges that rules name.
pub const PORTS: [u16; 14] = [
    1, 22, 53, 80, 443, 1023, 1024, 7999, 8000, 8079, 8080, 8099, 8100, 65535,
];

/// What a packet's payload begins with; its number follows.
pub const MARK: &[u8; 4] = b"AGDT";

/// A packet to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub from: Node,
    /// To whom the frame is addressed, where it is not the host.
    pub to: Node,
    /// From the IP header on.
    pub packet: Vec<u8>,
    /// How many packets of the flow follow, there and back in turn.
    pub more: u8,
}

/// The fields of a packet that are chosen.
pub struct Fields {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub proto: u8,
    pub ports: (u16, u16),
    /// Of TCP the flags; of ICMP the type.
    pub kind: u8,
    /// Sequence and acknowledgement.
    pub numbers: (u32, u32),
    pub ttl: u8,
    /// IPv6 extension headers, or options of IPv4 in units of four bytes.
    pub extra: Vec<u8>,
    /// How many bytes of the transport header are left out.
    pub cut: usize,
}

fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            total += u32::from(u16::from_be_bytes([
                pair.first().copied().unwrap_or(0),
                low,
            ]));
        }
    }
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).unwrap_or(0)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    for (to, byte) in bytes.iter_mut().skip(at).zip(value.to_be_bytes()) {
        *to = byte;
    }
}

/// The packet, with a mark of this number.
pub fn build(f: &Fields, number: u64) -> Vec<u8> {
    let payload = [MARK.as_slice(), &number.to_be_bytes()].concat();
    let (source, destination) = (octets(f.source), octets(f.destination));
    let ports = [f.ports.0.to_be_bytes(), f.ports.1.to_be_bytes()].concat();
    let (mut body, check) = match f.proto {
        6 => {
            let numbers = [f.numbers.0.to_be_bytes(), f.numbers.1.to_be_bytes()].concat();
            let rest = [0x50, f.kind, 0xff, 0xff, 0, 0, 0, 0];
            ([ports, numbers, rest.to_vec(), payload].concat(), Some(16))
        }
        17 => {
            let length = u16::try_from(8 + payload.len()).unwrap_or(0).to_be_bytes();
            let rest = [length, [0, 0]].concat();
            ([ports, rest, payload].concat(), Some(6))
        }
        1 | 58 => {
            let id = f.ports.0.to_be_bytes();
            let head = [f.kind, 0, 0, 0, id[0], id[1], 0, 1];
            ([head.to_vec(), payload].concat(), Some(2))
        }
        // Ports where those of TCP and UDP are, which rules for any transport see.
        99 => ([ports, vec![0; 4], payload].concat(), None),
        _ => ([vec![0; 8], payload].concat(), None),
    };
    if let Some(at) = check {
        let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
        let pseudo = [
            source.as_slice(),
            &destination,
            &length,
            &[0, 0, 0, f.proto],
        ]
        .concat();
        let total = match f.proto {
            1 => sum(&[&body]),
            _ => sum(&[&pseudo, &body]),
        };
        put(&mut body, at, if total == 0 { 0xffff } else { total });
    }
    // What is cut off cannot be told by its mark any more; it stands behind.
    if f.cut > 0 {
        body.truncate(f.cut);
    }
    let mut packet = Vec::new();
    if f.source.is_ipv4() {
        let header = 20 + f.extra.len();
        packet.push(0x40 | u8::try_from(header / 4).unwrap_or(5));
        packet.push(0);
        packet.extend(
            u16::try_from(header + body.len())
                .unwrap_or(0)
                .to_be_bytes(),
        );
        packet.extend([0, 1, 0, 0, f.ttl, f.proto, 0, 0]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(&f.extra);
        let total = sum(&[&packet]);
        put(&mut packet, 10, total);
    } else {
        let length = f.extra.len() + body.len();
        packet.extend([0x60, 0, 0, 0]);
        packet.extend(u16::try_from(length).unwrap_or(0).to_be_bytes());
        // The first extension header, if there is one, is told in its place.
        let first = match f.extra.len() {
            0 => f.proto,
            _ => 60,
        };
        packet.extend([first, f.ttl]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(&f.extra);
    }
    packet.extend(body);
    packet
}

/// The number in a packet's mark.
pub fn number_of(bytes: &[u8]) -> Option<u64> {
    let at = bytes.windows(4).rposition(|window| window == MARK)?;
    let number = bytes.get(at + 4..at + 12)?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// The packet with another number in its mark, and checksums that fit.
pub fn fields_of(packet: &[u8]) -> Option<Fields> {
    let is_v4 = packet.first()? >> 4 == 4;
    let byte = |at: usize| packet.get(at).copied();
    let word = |at: usize| Some(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    let long = |at: usize| Some(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?));
    let (source, destination, proto, start, extra, ttl) = if is_v4 {
        let header = usize::from(byte(0)? & 15) * 4;
        let four = |at: usize| -> Option<[u8; 4]> { packet.get(at..at + 4)?.try_into().ok() };
        (
            IpAddr::from(four(12)?),
            IpAddr::from(four(16)?),
            byte(9)?,
            header,
            packet.get(20..header)?.to_vec(),
            byte(8)?,
        )
    } else {
        let sixteen = |at: usize| -> Option<[u8; 16]> { packet.get(at..at + 16)?.try_into().ok() };
        let (proto, start) = match byte(6)? {
            60 => (byte(40)?, 48),
            proto => (proto, 40),
        };
        (
            IpAddr::from(sixteen(8)?),
            IpAddr::from(sixteen(24)?),
            proto,
            start,
            packet.get(40..start)?.to_vec(),
            byte(7)?,
        )
    };
    let has_ports = matches!(proto, 6 | 17 | 99);
    Some(Fields {
        source,
        destination,
        proto,
        ports: match proto {
            1 | 58 => (word(start + 4)?, 0),
            _ if has_ports => (word(start)?, word(start + 2)?),
            _ => (0, 0),
        },
        kind: match proto {
            6 => byte(start + 13)?,
            _ => byte(start)?,
        },
        numbers: match proto {
            6 => (long(start + 4)?, long(start + 8)?),
            _ => (0, 0),
        },
        ttl,
        extra,
        cut: 0,
    })
}

/// The packet that answers one.
pub fn answer(packet: &[u8]) -> Option<Fields> {
    let f = fields_of(packet)?;
    let payload = 12;
    Some(Fields {
        source: f.destination,
        destination: f.source,
        ports: match f.proto {
            1 | 58 => f.ports,
            _ => (f.ports.1, f.ports.0),
        },
        kind: match (f.proto, f.kind) {
            // A SYN is answered by SYN and ACK, all else by ACK.
            (6, 0x02) => 0x12,
            (6, _) => 0x10,
            (1, 8) => 0,
            (1, _) => 8,
            (58, 128) => 129,
            (58, _) => 128,
            (_, kind) => kind,
        },
        numbers: match f.kind {
            0x02 => (5000, f.numbers.0 + 1 + payload),
            0x12 => (f.numbers.1, f.numbers.0 + 1 + payload),
            _ => (f.numbers.1, f.numbers.0 + payload),
        },
        ttl: 64,
        extra: Vec::new(),
        cut: 0,
        ..f
    })
}

/// A random packet; `number` is told in its mark.
pub fn random(rng: &mut Rng, number: u64) -> Probe {
    let nodes = [
        Node::Host,
        Node::World,
        Node::World,
        Node::First,
        Node::Second,
        Node::Third,
    ];
    let from = choose(rng, &nodes);
    let mut to = choose(rng, &nodes);
    while to == from {
        to = choose(rng, &nodes);
    }
    let is_v4 = rng.u8(..10) < 6;
    let pick = |rng: &mut Rng, node: Node| -> IpAddr {
        let all: Vec<IpAddr> = node
            .addresses()
            .iter()
            .filter_map(|address| address.parse().ok())
            .filter(|address: &IpAddr| address.is_ipv4() == is_v4)
            .collect();
        choose(rng, &all)
    };
    let source = match (rng.u8(..20), from) {
        // Somebody who poses as another; as the host the kernel itself drops.
        (0, Node::World | Node::Third) => pick(rng, Node::First),
        (0, Node::First | Node::Second) => pick(rng, Node::World),
        (_, Node::Host) => host_address(to, is_v4),
        _ => pick(rng, from),
    };
    let spoofed =
        from != Node::Host && !from.addresses().iter().any(|own| own.parse() == Ok(source));
    let destination = pick(rng, to);
    let icmp = if is_v4 { 1 } else { 58 };
    let proto = choose(rng, &[6, 6, 6, 6, 17, 17, 17, icmp, 47, 99, 99]);
    let kind = match proto {
        6 => choose(
            rng,
            &[2, 2, 2, 2, 2, 0x12, 0x10, 0x18, 0x04, 0x11, 0x29, 0x00],
        ),
        1 => choose(rng, &[8, 8, 8, 8, 13, 0, 3, 11]),
        58 => choose(rng, &[128, 128, 128, 128, 129, 1, 139]),
        _ => 0,
    };
    let extra = match (rng.u8(..12), is_v4) {
        (0, true) => vec![1, 1, 1, 0],
        (1, true) => vec![1, 1, 1, 1, 1, 1, 1, 0],
        // Destination options of eight bytes, all padding.
        (0 | 1, false) => vec![proto, 0, 1, 4, 0, 0, 0, 0],
        _ => Vec::new(),
    };
    let low = u16::try_from(number % 30_000).unwrap_or(0);
    let fields = Fields {
        source,
        destination,
        proto,
        ports: (
            match rng.u8(..8) {
                0 => choose(rng, &PORTS),
                _ => 20_000 + low,
            },
            match rng.u8(..8) {
                0 => rng.u16(1..),
                _ => choose(rng, &PORTS),
            },
        ),
        kind,
        numbers: (1000, if kind & 0x10 != 0 { 7000 } else { 0 }),
        ttl: choose(rng, &[64, 64, 64, 128, 255, 2]),
        extra,
        cut: 0,
    };
    Probe {
        from,
        to,
        packet: build(&fields, number),
        // Who poses as another gets no answers.
        more: match spoofed {
            true => 0,
            false => choose(rng, &[0, 0, 1, 2, 3]),
        },
    }
}

fn host_address(to: Node, is_v4: bool) -> IpAddr {
    match (to.interface(), is_v4) {
        ("br0", true) => [198, 51, 100, 1].into(),
        ("br1", true) => [198, 51, 100, 65].into(),
        (_, true) => [192, 0, 2, 1].into(),
        ("br0", false) => [0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1].into(),
        ("br1", false) => [0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1].into(),
        (_, false) => [0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1].into(),
    }
}

pub fn choose<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    let n = rng.usize(..from.len());
    #[allow(clippy::indexing_slicing)] // less than its length
    from[n].clone()
}
