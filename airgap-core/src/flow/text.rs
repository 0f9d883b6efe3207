//! Flows as text, both ways. A text that is no flow is answered like a mistake
//! in a policy: with the part underlined, and what was expected.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{End, Flow, FlowProto};
use crate::policy::{PolicyError, Span};

/// Protocols by name.
const PROTOCOLS: [(&str, FlowProto); 12] = [
    ("tcp", FlowProto::Tcp),
    ("udp", FlowProto::Udp),
    ("icmp", FlowProto::Icmp),
    ("icmpv6", FlowProto::Icmp),
    ("ping", FlowProto::Icmp),
    ("igmp", FlowProto::Other(2)),
    ("dccp", FlowProto::Other(33)),
    ("gre", FlowProto::Other(47)),
    ("esp", FlowProto::Other(50)),
    ("ah", FlowProto::Other(51)),
    ("sctp", FlowProto::Other(132)),
    ("udplite", FlowProto::Other(136)),
];

const ARROW: &str = "->";
const EXAMPLES: &str = "a flow reads `host -> tcp 203.0.113.9:443`, `tcp 203.0.113.9 -> host:22` or \
                        `docker0 172.17.0.2 -> tcp 203.0.113.9:443`";

/// What names in the text of a flow stand for.
pub trait Names {
    /// The addresses of a host or a container, with the interface behind which
    /// a container is; none for a name that is not known.
    fn find(&self, name: &str) -> Vec<Named>;

    /// Names that are known, for 'did you mean'.
    fn known(&self) -> Vec<String>;

    /// The number of a user.
    fn user(&self, name: &str) -> Option<u32>;
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The interface behind which it is, where that is known.
    pub interface: Option<String>,
    /// Its address.
    pub address: IpAddr,
}

/// Knows no names.
struct NoNames;

impl Names for NoNames {
    fn find(&self, _: &str) -> Vec<Named> {
        Vec::new()
    }

    fn known(&self) -> Vec<String> {
        Vec::new()
    }

    fn user(&self, _: &str) -> Option<u32> {
        None
    }
}

impl FromStr for Flow {
    type Err = PolicyError;

    /// Reads a flow of addresses; see [`Flow::read`] for names.
    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::read(text, &NoNames)
    }
}

impl fmt::Display for FlowProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, proto)| proto == self) {
            Some((name, _)) => f.write_str(name),
            None => match self {
                Self::Other(number) => write!(f, "{number}"),
                _ => Ok(()),
            },
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto_first = matches!(
            self.from,
            End::At {
                interface: None,
                ..
            }
        );
        if proto_first {
            write!(f, "{} ", self.proto)?;
        }
        write_end(&self.from, self.source_port, f)?;
        f.write_str(" -> ")?;
        if !proto_first {
            write!(f, "{} ", self.proto)?;
        }
        write_end(&self.to, self.port, f)?;
        match self.user {
            Some(user) => write!(f, " as {user}"),
            None => Ok(()),
        }
    }
}

fn write_end(end: &End, port: Option<u16>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let address = match end {
        End::Host { address: None } => {
            f.write_str("host")?;
            None
        }
        End::Host {
            address: Some(address),
        } => {
            f.write_str("host ")?;
            Some(address)
        }
        End::At { interface, address } => {
            if let Some(interface) = interface {
                write!(f, "{interface} ")?;
            }
            Some(address)
        }
    };
    match (address, port) {
        (Some(IpAddr::V6(address)), Some(_)) => write!(f, "[{address}]")?,
        (Some(address), _) => write!(f, "{address}")?,
        (None, _) => {}
    }
    match port {
        Some(port) => write!(f, ":{port}"),
        None => Ok(()),
    }
}

/// A word of the text, and where it is.
#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    span: Span,
}

struct Reader<'t> {
    text: &'t str,
    names: &'t dyn Names,
}

/// One side of the arrow, before names are looked up.
struct Side<'t> {
    interface: Option<Word<'t>>,
    target: Word<'t>,
    port: Option<u16>,
}

impl Flow {
    /// Reads a flow in which names of hosts, containers and users may stand for
    /// addresses and numbers. Of several addresses of a name the first of the
    /// version of the other end counts.
    ///
    /// # Errors
    /// When the text is no flow, or a name is not known.
    pub fn read(text: &str, names: &dyn Names) -> Result<Self, PolicyError> {
        Reader { text, names }.flow()
    }
}

impl<'t> Reader<'t> {
    fn flow(&self) -> Result<Flow, PolicyError> {
        let Some(arrow) = self.text.find(ARROW) else {
            let span = Span::from(0..self.text.len());
            return Err(self.fault(span, "there is no `->`", EXAMPLES, None));
        };
        let left = self.words(0, arrow);
        let mut right = self.words(arrow + ARROW.len(), self.text.len());
        let arrow_span = Span::from(arrow..arrow + ARROW.len());
        let user = self.user(&mut right)?;
        let mut proto = None;
        let from = self.side(left, &mut proto, arrow_span, "before")?;
        let to = self.side(right, &mut proto, arrow_span, "behind")?;
        let Some(proto) = proto else {
            return Err(self.no_protocol(&from, &to));
        };
        if proto.has_ports() && to.port.is_none() {
            return Err(self.fault(
                to.target.span,
                &format!("`{}` names no port", to.target.text),
                &format!(
                    "expected the port that the flow is opened to: `{}:443`",
                    bracketed(to.target.text)
                ),
                None,
            ));
        }
        for side in [&from, &to] {
            if !proto.has_ports() && side.port.is_some() {
                return Err(self.fault(
                    side.target.span,
                    &format!("flows of {proto} have no ports"),
                    "expected an address alone",
                    None,
                ));
            }
        }
        let mut from_ends = self.ends(&from)?;
        let mut to_ends = self.ends(&to)?;
        // Of names with many addresses those that both ends can have.
        let of_version = |ends: &[End], ipv4: bool| {
            ends.iter()
                .find(|end| end.address().is_none_or(|a| a.is_ipv4() == ipv4))
                .cloned()
        };
        let pair = [true, false]
            .into_iter()
            .find_map(|ipv4| Some((of_version(&from_ends, ipv4)?, of_version(&to_ends, ipv4)?)));
        let Some((from_end, to_end)) = pair else {
            let (a, b) = (from_ends.pop(), to_ends.pop());
            let version = |end: Option<End>| match end.and_then(|end| end.address()) {
                Some(IpAddr::V6(_)) => "IPv6",
                _ => "IPv4",
            };
            return Err(self.fault(
                to.target.span,
                &format!("this end is {}, the other is {}", version(b), version(a)),
                "expected two addresses of one IP version",
                None,
            ));
        };
        if user.is_some() && !from_end.is_host() {
            return Err(self.fault(
                from.target.span,
                "only flows of the host have a user",
                "expected `host`, or no `as` at the end",
                None,
            ));
        }
        Ok(Flow {
            proto,
            from: from_end,
            source_port: from.port,
            to: to_end,
            port: to.port,
            user,
        })
    }

    fn fault(
        &self,
        span: Span,
        message: &str,
        expected: &str,
        help: Option<String>,
    ) -> PolicyError {
        PolicyError::of_text("<flow>", self.text, span, message, expected, help)
    }

    fn words(&self, from: usize, to: usize) -> Vec<Word<'t>> {
        let mut words = Vec::new();
        let mut start = from;
        let part = self.text.get(from..to).unwrap_or_default();
        for piece in part.split_inclusive(char::is_whitespace) {
            let text = piece.trim_end();
            if !text.is_empty() {
                let span = Span::from(start..start + text.len());
                words.push(Word { text, span });
            }
            start += piece.len();
        }
        words
    }

    /// Takes `as USER` off the end.
    fn user(&self, words: &mut Vec<Word<'t>>) -> Result<Option<u32>, PolicyError> {
        let Some(at) = words.iter().position(|word| word.text == "as") else {
            return Ok(None);
        };
        let tail = words.split_off(at);
        let [keyword, rest @ ..] = tail.as_slice() else {
            return Ok(None);
        };
        let [user] = rest else {
            return Err(self.fault(
                keyword.span,
                "`as` stands before one user",
                "expected a name or a number of a user behind it, and nothing more",
                None,
            ));
        };
        let number = user
            .text
            .parse()
            .ok()
            .or_else(|| self.names.user(user.text));
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.fault(
                user.span,
                &format!("there is no user `{}` on this host", user.text),
                "expected a name or a number of a user",
                None,
            )),
        }
    }

    fn side(
        &self,
        words: Vec<Word<'t>>,
        proto: &mut Option<FlowProto>,
        arrow: Span,
        place: &str,
    ) -> Result<Side<'t>, PolicyError> {
        let mut rest = Vec::new();
        for word in words {
            let Some(found) = protocol(word.text) else {
                rest.push(word);
                continue;
            };
            if proto.replace(found).is_some() {
                return Err(self.fault(
                    word.span,
                    "the flow has a protocol already",
                    "expected one protocol, on one side of the arrow",
                    None,
                ));
            }
        }
        match rest.as_slice() {
            [] => Err(self.fault(
                arrow,
                &format!("there is nobody {place} the arrow"),
                "expected `host`, or an address or a name",
                Some(EXAMPLES.to_owned()),
            )),
            [target] => self.target(None, *target),
            [interface, target] => self.target(Some(*interface), *target),
            [_, _, more, ..] => Err(self.fault(
                more.span,
                "this is one word too many",
                "expected at most an interface and an address",
                Some(EXAMPLES.to_owned()),
            )),
        }
    }

    fn target(&self, interface: Option<Word<'t>>, word: Word<'t>) -> Result<Side<'t>, PolicyError> {
        let (name, port) = match word.text.rsplit_once(':') {
            _ if word.text.ends_with(']') || word.text.parse::<IpAddr>().is_ok() => {
                (word.text, None)
            }
            Some((name, port)) => (name, Some(port)),
            None => (word.text, None),
        };
        let start = word.span.start;
        let target = Word {
            text: name,
            span: Span::from(start..start + name.len()),
        };
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(number) if number > 0 => Some(number),
                _ => {
                    return Err(self.fault(
                        Span::from(start + name.len() + 1..word.span.end),
                        &format!("`{port}` is no port"),
                        "expected a number from 1 to 65535",
                        None,
                    ));
                }
            },
        };
        Ok(Side {
            interface,
            target,
            port,
        })
    }

    /// What a side stands for, in order of preference; at least one.
    fn ends(&self, side: &Side<'t>) -> Result<Vec<End>, PolicyError> {
        let text = side.target.text;
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        let is_host = |word: Option<Word>| word.is_some_and(|word| word.text == "host");
        if bare == "host" {
            return match side.interface {
                None => Ok(vec![End::Host { address: None }]),
                Some(word) => Err(self.fault(
                    word.span,
                    "the host needs no interface",
                    "expected `host` alone, or `host` and one of its addresses",
                    None,
                )),
            };
        }
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = address.to_canonical();
            return Ok(vec![if is_host(side.interface) {
                End::Host {
                    address: Some(address),
                }
            } else {
                End::At {
                    interface: side.interface.map(|word| word.text.to_owned()),
                    address,
                }
            }]);
        }
        let found = self.names.find(bare);
        if found.is_empty() {
            let mut known = self.names.known();
            known.push("host".to_owned());
            let near = known
                .iter()
                .map(|name| (strsim::damerau_levenshtein(name, bare), name))
                .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
                .min();
            return Err(self.fault(
                side.target.span,
                &format!("`{bare}` is neither an address nor a name that is known here"),
                "expected `host`, an address, or the name of a host or a running container",
                near.map(|(_, name)| format!("did you mean `{name}`?")),
            ));
        }
        Ok(found
            .into_iter()
            .map(|named| End::At {
                interface: side
                    .interface
                    .map(|word| word.text.to_owned())
                    .or(named.interface),
                address: named.address,
            })
            .collect())
    }

    fn no_protocol(&self, from: &Side, to: &Side) -> PolicyError {
        let near = [from.interface, to.interface]
            .into_iter()
            .flatten()
            .find_map(|word| {
                let near = PROTOCOLS
                    .iter()
                    .find(|(name, _)| strsim::damerau_levenshtein(name, word.text) == 1)?;
                Some((word, near.0))
            });
        match near {
            Some((word, name)) => self.fault(
                word.span,
                &format!("`{}` is no protocol", word.text),
                "expected tcp, udp, icmp or the number of another",
                Some(format!("did you mean `{name}`?")),
            ),
            None => self.fault(
                Span::from(0..self.text.len()),
                "the flow names no protocol",
                "expected tcp, udp, icmp or the number of another, before an address",
                Some(EXAMPLES.to_owned()),
            ),
        }
    }
}

/// An address as it must be written before a port.
fn bracketed(text: &str) -> String {
    if text.contains(':') && !text.starts_with('[') {
        format!("[{text}]")
    } else {
        text.to_owned()
    }
}

fn protocol(text: &str) -> Option<FlowProto> {
    if let Some((_, proto)) = PROTOCOLS.iter().find(|(name, _)| *name == text) {
        return Some(*proto);
    }
    Some(match text.parse::<u8>().ok()? {
        6 => FlowProto::Tcp,
        17 => FlowProto::Udp,
        1 | 58 => FlowProto::Icmp,
        number => FlowProto::Other(number),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail that way

    use super::*;

    #[test]
    fn flows_read_as_they_are_written() {
        for text in [
            "host -> tcp 203.0.113.9:443",
            "host -> udp [2001:db8::9]:53",
            "tcp 203.0.113.9 -> host:22",
            "tcp 2001:db8::9 -> host:22",
            "docker0 172.17.0.2 -> tcp 203.0.113.9:443",
            "docker0 172.17.0.2 -> tcp host:8888",
            "host -> icmp 203.0.113.9",
            "host 192.0.2.1:5000 -> tcp docker0 172.17.0.2:80",
            "host -> tcp 203.0.113.9:443 as 1000",
            "gre 203.0.113.9 -> host",
            "docker0 172.17.0.2 -> 99 br-x 172.18.0.2",
        ] {
            assert_eq!(text.parse::<Flow>().unwrap().to_string(), text);
        }
        let spaced = "  tcp   [2001:db8::9]->host:22 ".parse::<Flow>().unwrap();
        assert_eq!(spaced.to_string(), "tcp 2001:db8::9 -> host:22");
    }

    #[test]
    fn a_text_that_is_no_flow_is_underlined_where_it_is_wrong() {
        for (text, underlined, message) in [
            (
                "host tcp 203.0.113.9:443",
                "host tcp 203.0.113.9:443",
                "there is no `->`",
            ),
            ("host -> tpc 203.0.113.9:443", "tpc", "`tpc` is no protocol"),
            (
                "host -> 203.0.113.9:443",
                "host -> 203.0.113.9:443",
                "the flow names no protocol",
            ),
            (
                "host -> tcp 203.0.113.9",
                "203.0.113.9",
                "`203.0.113.9` names no port",
            ),
            ("host -> tcp 203.0.113.9:0", "0", "`0` is no port"),
            (
                "host -> tcp 203.0.113.999:1",
                "203.0.113.999",
                "`203.0.113.999` is neither",
            ),
            ("hots -> tcp 203.0.113.9:1", "hots", "`hots` is neither"),
            (
                "tcp 203.0.113.9 -> udp host:22",
                "udp",
                "the flow has a protocol already",
            ),
            (
                "host -> icmp 203.0.113.9:7",
                "203.0.113.9",
                "flows of icmp have no ports",
            ),
            (
                "tcp 203.0.113.9 -> 2001:db8::1:22",
                "2001:db8::1:22",
                "`2001:db8::1:22` names no port",
            ),
            (
                "tcp 203.0.113.9 -> [2001:db8::1]:22",
                "[2001:db8::1]",
                "this end is IPv6, the other is IPv4",
            ),
            ("tcp -> host:22", "->", "there is nobody before the arrow"),
            (
                "host -> tcp a b 203.0.113.9:1",
                "203.0.113.9:1",
                "this is one word too many",
            ),
            (
                "tcp 203.0.113.9 -> host:22 as 0",
                "203.0.113.9",
                "only flows of the host",
            ),
            (
                "host -> tcp 203.0.113.9:1 as nobody-here",
                "nobody-here",
                "there is no user",
            ),
        ] {
            let error = text.parse::<Flow>().unwrap_err();
            let diagnostic = error.diagnostics().first().unwrap().clone();
            let source = error.policy_source();
            let (start, end) = (
                source.offset(diagnostic.place).unwrap(),
                source.offset(diagnostic.end).unwrap(),
            );
            assert_eq!(text.get(start..end).unwrap(), underlined, "{text}");
            assert!(
                diagnostic.message.starts_with(message),
                "{text}: {}",
                diagnostic.message
            );
            assert!(!diagnostic.label.is_empty(), "{text}");
        }
    }
}
