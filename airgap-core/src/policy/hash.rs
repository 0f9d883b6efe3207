//! The hash of a policy: SHA-256 of what it says, in a form that is quick to
//! write. Each allow pair is a tag and bytes of a length that the tag tells, so
//! that no two policies write the same.

use std::net::IpAddr;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::allow::Allow;
use super::model::{Admit, BridgeExemption, HostNeeds, Openings, ServiceForwarder};

/// So much is gathered before it is hashed.
const PART: usize = 16 << 10;

const V4: u8 = 4;
const V6: u8 = 6;
const LISTED: u8 = 1;
const REST: u8 = 0;

/// What a policy says beside its allow pairs.
#[derive(Serialize)]
struct Rest<'p> {
    version: u32,
    host: &'p HostNeeds,
    admit: &'p [Admit],
    bridge: &'p [BridgeExemption],
    forward: &'p [ServiceForwarder],
}

/// The hash in lowercase hex.
pub(super) fn hash(openings: &Openings) -> String {
    let Openings {
        version,
        host,
        allow,
        admit,
        bridge,
        forward,
    } = openings;
    let mut digest = Sha256::new();
    let mut out = Vec::with_capacity(PART + 64);
    for entry in allow.entries() {
        match entry {
            Allow::Exact(pair) => {
                match pair.address {
                    IpAddr::V4(address) => {
                        out.push(V4);
                        out.extend_from_slice(&address.octets());
                    }
                    IpAddr::V6(address) => {
                        out.push(V6);
                        out.extend_from_slice(&address.octets());
                    }
                }
                out.extend_from_slice(&pair.port.to_be_bytes());
                out.push(pair.proto as u8);
            }
            Allow::Listed(pair) => json(LISTED, pair, &mut out),
        }
        if out.len() > PART {
            digest.update(&out);
            out.clear();
        }
    }
    let rest = Rest {
        version: *version,
        host,
        admit,
        bridge,
        forward,
    };
    json(REST, &rest, &mut out);
    digest.update(&out);
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A tag, the length of what follows, and that in JSON.
fn json(tag: u8, value: &impl Serialize, out: &mut Vec<u8>) {
    // The types serialise to objects with text keys, which does not fail.
    let text = serde_json::to_vec(value).unwrap_or_default();
    out.push(tag);
    out.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
    out.extend_from_slice(&text);
}
