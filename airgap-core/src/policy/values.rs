//! The values of a policy, each from a [`Field`], or a diagnostic.

use std::net::IpAddr;

use super::address::{self, ADDRESS};
use super::fault::Fault;
use super::list_file;
use super::model::{Address, BridgeName, ContainerSource, HostPort, PortRange, Proto, User};
use super::node::{Path, Value, quote};
use super::port::{self, PORT};
use super::report::{Field, Report};
use super::source::Span;
use super::table::{TableReader, near_miss};

/// `(uid_t) -1` means nobody to the kernel.
const UID_MAX: i64 = u32::MAX as i64 - 1;

/// The longest name that `getpwnam` has to take (`LOGIN_NAME_MAX`).
const USER_NAME_MAX: usize = 255;

/// One value of a list, or the only one.
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) span: Option<Span>,
    pub(super) index: usize,
    /// Whether it was written without a list.
    pub(super) alone: bool,
}

impl<T> Item<T> {
    /// A mistake in this item of the list at `list`.
    pub(super) fn fault(&self, report: &mut Report, list: &Path<'_>, fault: Fault) {
        if self.alone {
            report.at(list, self.span, fault);
        } else {
            report.at(&list.index(self.index), self.span, fault);
        }
    }
}

/// The values alone.
pub(super) fn values<T>(items: Vec<Item<T>>) -> Vec<T> {
    items.into_iter().map(|item| item.value).collect()
}

/// Reads the values of a list without keeping where they stood.
pub(super) fn bare<T>(
    read: fn(&mut Report, &Field<'_>) -> Option<T>,
) -> impl Fn(&mut Report, &Field<'_>, Option<usize>) -> Option<T> {
    move |report, field, _| read(report, field)
}

/// Reads the values of a list with where they stood.
pub(super) fn item<T>(
    read: fn(&mut Report, &Field<'_>) -> Option<T>,
) -> impl Fn(&mut Report, &Field<'_>, Option<usize>) -> Option<Item<T>> {
    move |report, field, index| {
        Some(Item {
            value: read(report, field)?,
            // A place in a list is none in the policy.
            span: field.node.span.filter(|_| !report.is_in_list()),
            index: index.unwrap_or(0),
            alone: index.is_none(),
        })
    }
}

/// A list without gaps, or one value in its place, for which `read` is given no
/// index. A wrong value does not keep the next from being read.
pub(super) fn list<T>(
    report: &mut Report,
    field: &Field<'_>,
    expected: &str,
    mut read: impl FnMut(&mut Report, &Field<'_>, Option<usize>) -> Option<T>,
) -> Option<Vec<T>> {
    let Value::Array(nodes) = &field.node.value else {
        return Some(vec![read(report, field, None)?]);
    };
    if nodes.is_empty() {
        field.fault(report, Fault::new("this list is empty", expected));
        return None;
    }
    let mut items = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let field = Field {
            node,
            path: field.path.index(index),
        };
        items.extend(read(report, &field, Some(index)));
    }
    (items.len() == nodes.len()).then_some(items)
}

pub(super) fn string<'p>(
    report: &mut Report,
    field: &Field<'p>,
    expected: &str,
) -> Option<&'p str> {
    match &field.node.value {
        Value::String(text) => Some(text),
        _ => {
            field.wrong_kind(report, expected);
            None
        }
    }
}

pub(super) fn boolean(report: &mut Report, field: &Field<'_>) -> Option<bool> {
    match &field.node.value {
        Value::Boolean(value) => Some(*value),
        Value::String(text) if text == "true" || text == "false" => {
            let fault = Fault::new("this is a string", "expected true or false")
                .help(format!("write {text} without quotes"));
            field.fault(report, fault);
            None
        }
        _ => {
            field.wrong_kind(report, "expected true or false");
            None
        }
    }
}

/// One of a few words.
pub(super) fn word<'w>(
    report: &mut Report,
    field: &Field<'_>,
    words: &[&'w str],
) -> Option<&'w str> {
    if let Value::String(text) = &field.node.value
        && let Some(found) = words.iter().find(|word| *word == text)
    {
        return Some(found);
    }
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let expected = format!("expected {}", quoted.join(" or "));
    let text = string(report, field, &expected)?;
    let fault = Fault::new(format!("{} is unknown here", quote(text)), expected);
    field.fault(report, suggest(fault, text, words));
    None
}

/// Adds the word that was probably meant.
pub(super) fn suggest(fault: Fault, text: &str, words: &[&str]) -> Fault {
    match near_miss(text, words) {
        Some(near) => fault.help(format!("did you mean \"{near}\"?")),
        None => fault,
    }
}

pub(super) fn transport(report: &mut Report, table: &mut TableReader<'_>) -> Option<Proto> {
    let Some(field) = table.optional("proto") else {
        return Some(Proto::Tcp);
    };
    word(report, &field, &["tcp", "udp"]).map(|word| {
        if word == "udp" {
            Proto::Udp
        } else {
            Proto::Tcp
        }
    })
}

/// A key that holds far addresses, and what is said where it is missing.
pub(super) type FarKey = (&'static str, &'static str);

pub(super) const TO: FarKey = ("to", "expected `to`: the far address, or a list of these");
pub(super) const FROM: FarKey = (
    "from",
    "expected `from`: the far address, or a list of these",
);

/// The far addresses of an opening.
pub(super) fn far<T>(
    report: &mut Report,
    table: &mut TableReader<'_>,
    (key, missing): FarKey,
    read: impl Fn(&mut Report, &Field<'_>, Option<usize>) -> Option<T>,
) -> Option<Vec<T>> {
    let field = table.required(report, key, missing)?;
    match field.node.value {
        Value::Table(_) => list_file::read(report, &field, read),
        _ => list(report, &field, ADDRESS, read),
    }
}

pub(super) fn address(report: &mut Report, field: &Field<'_>) -> Option<Address> {
    let text = string(report, field, ADDRESS)?;
    let address =
        address::address(text).and_then(|address| address::unicast(&address).map(|()| address));
    field.judge(report, address)
}

pub(super) fn ports<T>(
    report: &mut Report,
    table: &mut TableReader<'_>,
    read: impl Fn(&mut Report, &Field<'_>, Option<usize>) -> Option<T>,
) -> Option<Vec<T>> {
    let field = table.required(
        report,
        "port",
        "expected `port`: a port, a range, or a list of these",
    )?;
    list(report, &field, PORT, read)
}

pub(super) fn port(report: &mut Report, field: &Field<'_>) -> Option<PortRange> {
    match &field.node.value {
        Value::Integer(number) => field.judge(report, port::number(*number)),
        Value::String(text) => field.judge(report, port::text(text)),
        _ => {
            field.wrong_kind(report, PORT);
            None
        }
    }
}

pub(super) fn host_port(report: &mut Report, field: &Field<'_>) -> Option<HostPort> {
    let text = string(report, field, port::HOST_PORT)?;
    field.judge(report, port::host_port(text))
}

pub(super) fn server(report: &mut Report, field: &Field<'_>) -> Option<IpAddr> {
    let text = string(report, field, "expected an IP address")?;
    field.judge(report, address::server(text))
}

pub(super) fn container_source(report: &mut Report, field: &Field<'_>) -> Option<ContainerSource> {
    let text = string(report, field, "expected a bridge, an address or a CIDR")?;
    field.judge(report, address::container_source(text))
}

pub(super) fn bridge_name(report: &mut Report, field: &Field<'_>) -> Option<BridgeName> {
    let text = string(
        report,
        field,
        "expected the name of a bridge, or a pattern such as `br-*`",
    )?;
    field.judge(report, address::bridge(text))
}

pub(super) fn user(report: &mut Report, field: &Field<'_>) -> Option<User> {
    const USER: &str = "expected a user's name, or a uid from 0 to 4294967294";
    let judged = match &field.node.value {
        Value::Integer(number) if (0..=UID_MAX).contains(number) => u32::try_from(*number)
            .map(User::Uid)
            .map_err(|_| Fault::new("this is no uid", USER)),
        Value::Integer(number) => Err(Fault::new(format!("{number} is no uid"), USER)),
        Value::String(name) => user_name(name, USER).map(|()| User::Name(name.as_ref().into())),
        _ => {
            field.wrong_kind(report, USER);
            return None;
        }
    };
    field.judge(report, judged)
}

fn user_name(name: &str, expected: &str) -> Result<(), Fault> {
    let bad = |what: &str| Err(Fault::new(what, expected));
    if name.is_empty() {
        return bad("a user's name cannot be empty");
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(
            Fault::new(format!("{} is a number in quotes", quote(name)), expected)
                .help(format!("write the uid without quotes: {}", quote(name))),
        );
    }
    if name.len() > USER_NAME_MAX {
        return bad("this is longer than a user's name can be");
    }
    // What /etc/passwd cannot hold, and what would be a slip in any other place.
    if name.trim() != name || name.contains(|c: char| c.is_control() || c == ':') {
        return bad("no user's name has a colon, a control character, or a blank at an end");
    }
    Ok(())
}

/// Comments are shown by other programs, on terminals too.
pub(super) fn comment(report: &mut Report, table: &mut TableReader<'_>) -> Option<Option<String>> {
    const COMMENT: &str = "expected text on one line";
    let Some(field) = table.optional("comment") else {
        return Some(None);
    };
    let text = string(report, &field, COMMENT)?;
    match text.chars().find(|c| c.is_control()) {
        None => Some(Some(text.to_owned())),
        Some(odd) => {
            field.fault(
                report,
                Fault::new(
                    format!("a comment has no control characters, this has {odd:?}"),
                    COMMENT,
                ),
            );
            None
        }
    }
}
