//! A policy as JSON: what serde_json writes of the model, with the allow pairs,
//! of which there can be a million, written by hand.

use std::net::IpAddr;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::model::{Address, AllowPair, Openings};

/// So much is gathered before it is handed on.
const PART: usize = 64 << 10;

/// The JSON form of a policy.
pub(super) fn json(openings: &Openings) -> String {
    let mut text = Vec::new();
    write(openings, &mut |part| text.extend_from_slice(part));
    // Only whole texts are written, all of them UTF-8.
    String::from_utf8(text).unwrap_or_default()
}

/// SHA-256 of the JSON form in lowercase hex.
pub(super) fn hash(openings: &Openings) -> String {
    let mut digest = Sha256::new();
    write(openings, &mut |part| digest.update(part));
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn write(openings: &Openings, take: &mut dyn FnMut(&[u8])) {
    let Openings {
        version,
        host,
        allow,
        admit,
        bridge,
        forward,
    } = openings;
    let mut out = Vec::with_capacity(PART);
    out.extend_from_slice(b"{\"version\":");
    number(*version, &mut out);
    value(",\"host\":", host, &mut out);
    let mut before = b",\"allow\":[".as_slice();
    for pair in allow {
        out.extend_from_slice(before);
        before = b",";
        allow_pair(pair, &mut out);
        if out.len() > PART {
            take(&out);
            out.clear();
        }
    }
    if !allow.is_empty() {
        out.push(b']');
    }
    if !admit.is_empty() {
        value(",\"admit\":", admit, &mut out);
    }
    if !bridge.is_empty() {
        value(",\"bridge\":", bridge, &mut out);
    }
    if !forward.is_empty() {
        value(",\"forward\":", forward, &mut out);
    }
    out.push(b'}');
    take(&out);
}

fn allow_pair(pair: &AllowPair, out: &mut Vec<u8>) {
    let AllowPair {
        to,
        port,
        proto,
        user,
        comment,
        place: _,
    } = pair;
    let mut before = b"{\"to\":[".as_slice();
    for to in to {
        out.extend_from_slice(before);
        before = b",";
        address(to, out);
    }
    before = b"],\"port\":[";
    for ports in port {
        out.extend_from_slice(before);
        before = b",";
        if ports.first == ports.last {
            number(ports.first.into(), out);
        } else {
            value("", ports, out);
        }
    }
    out.push(b']');
    value(",\"proto\":", proto, out);
    if let Some(user) = user {
        value(",\"user\":", user, out);
    }
    if let Some(comment) = comment {
        value(",\"comment\":", comment, out);
    }
    out.push(b'}');
}

fn address(address: &Address, out: &mut Vec<u8>) {
    let Address::Net(net) = address else {
        return value("", address, out);
    };
    let IpAddr::V4(v4) = net.addr() else {
        return value("", address, out);
    };
    let [a, b, c, d] = v4.octets();
    out.push(b'"');
    number(a.into(), out);
    for octet in [b, c, d] {
        out.push(b'.');
        number(octet.into(), out);
    }
    if net.prefix_len() < net.max_prefix_len() {
        out.push(b'/');
        number(net.prefix_len().into(), out);
    }
    out.push(b'"');
}

fn number(number: u32, out: &mut Vec<u8>) {
    if number >= 10 {
        self::number(number / 10, out);
    }
    let digit = u8::try_from(number % 10).unwrap_or_default();
    out.push(b'0' + digit);
}

/// A key and a value as serde_json writes it.
fn value(key: &str, value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    // The types serialise to objects with text keys, and a buffer takes all:
    // neither fails.
    let _ = serde_json::to_writer(out, value);
}
