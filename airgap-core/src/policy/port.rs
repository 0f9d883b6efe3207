//! Ports as they are written in a policy.

use super::fault::Fault;
use super::model::{HostPort, PortRange, Proto};
use super::node::quote;

pub(super) const PORT: &str = "expected a port from 1 to 65535, or a range such as \"8000-8099\"";
pub(super) const HOST_PORT: &str =
    "expected a protocol and a port, such as \"tcp/8888\" or \"udp/5000-5009\"";

/// A port that is written as a number.
pub(super) fn number(number: i64) -> Result<PortRange, Fault> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port.into()),
        _ => Err(Fault::new(format!("{number} is no port"), PORT)),
    }
}

/// A port or a range in a string.
pub(super) fn text(text: &str) -> Result<PortRange, Fault> {
    range(text, PORT)
}

/// A protocol with ports.
pub(super) fn host_port(text: &str) -> Result<HostPort, Fault> {
    let Some((proto, ports)) = text.split_once('/') else {
        let fault = Fault::new(format!("{} names no protocol", quote(text)), HOST_PORT);
        return Err(match range(text, HOST_PORT) {
            Ok(ports) => fault.help(format!("write `tcp/{ports}` or `udp/{ports}`")),
            Err(_) => fault,
        });
    };
    let proto = match proto {
        "tcp" => Proto::Tcp,
        "udp" => Proto::Udp,
        _ => {
            let fault = Fault::new(
                format!("{} is no protocol with ports", quote(proto)),
                HOST_PORT,
            );
            return Err(match ports {
                "tcp" | "udp" => fault.help(format!(
                    "the protocol stands first: {}",
                    quote(&format!("{ports}/{proto}"))
                )),
                _ => fault,
            });
        }
    };
    Ok(HostPort {
        proto,
        ports: range(ports, HOST_PORT)?,
    })
}

fn range(text: &str, expected: &str) -> Result<PortRange, Fault> {
    let Some((first, last)) = text.split_once('-') else {
        return single(text, text, expected).map(PortRange::from);
    };
    let (first, last) = (
        single(first, text, expected)?,
        single(last, text, expected)?,
    );
    if first > last {
        return Err(Fault::new(
            format!("the range ends before it begins: {first} is above {last}"),
            expected,
        )
        .help(format!("did you mean `{last}-{first}`?")));
    }
    Ok(PortRange { first, last })
}

fn single(digits: &str, whole: &str, expected: &str) -> Result<u16, Fault> {
    // `u16::from_str` takes a plus and leading zeros, which nobody writes on
    // purpose.
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse::<u16>().ok().filter(|_| plain).ok_or_else(|| {
        let message = if digits == whole {
            format!("{} is no port", quote(whole))
        } else {
            format!("{} is no port, in {}", quote(digits), quote(whole))
        };
        Fault::new(message, expected)
    })
}
