//! Long lists of addresses in files of their own: `to = { file = "…" }`, one
//! address, CIDR or range a line, and comments behind a `#`.

use std::fs::File;
use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;

use super::address;
use super::fault::Fault;
use super::load::read_bytes;
use super::model::Address;
use super::node::{Node, Value, quote};
use super::report::{Field, Report};
use super::source::{Source, Span};
use super::table::TableReader;
use super::values::string;

const FILE: &str = "expected `file`: the path of a list of addresses";
const LINE: &str = "expected an address, a CIDR or a range `a-b` on each line";

/// Reads the list that a table names. Mistakes in it are told where they stand
/// in the list.
pub(super) fn read<T>(
    report: &mut Report,
    field: &Field<'_>,
    read: impl Fn(&mut Report, &Field<'_>, Option<usize>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut table = TableReader::open(report, field, FILE)?;
    let named = table.required(report, "file", FILE);
    table.finish(report);
    let named = named?;
    let path = string(report, &named, FILE)?;
    let list = match open(report.source(), path) {
        Ok(list) => Arc::new(list),
        Err(fault) => {
            named.fault(report, fault);
            return None;
        }
    };
    report.source().has_lists();
    report.enter(Arc::clone(&list));
    let items = lines(report, field, &list, read);
    report.leave();
    if items.as_ref().is_some_and(Vec::is_empty) {
        let fault = Fault::new(format!("the list {} is empty", quote(path)), LINE);
        named.fault(report, fault);
        return None;
    }
    items
}

fn lines<T>(
    report: &mut Report,
    field: &Field<'_>,
    list: &Source,
    read: impl Fn(&mut Report, &Field<'_>, Option<usize>) -> Option<T>,
) -> Option<Vec<T>> {
    let (mut items, mut count, mut start) = (Vec::new(), 0, 0);
    for line in list.text().split_inclusive('\n') {
        let written = line.split('#').next().unwrap_or_default();
        let text = written.trim();
        let begin = start + (written.len() - written.trim_start().len());
        start += line.len();
        if text.is_empty() {
            continue;
        }
        let node = Node {
            value: Value::String(text.into()),
            span: Some(Span {
                start: begin,
                end: begin + text.len(),
            }),
        };
        let field = Field {
            node: &node,
            path: field.path,
        };
        count += 1;
        if let Ok(Address::Name(_)) = address::address(text) {
            let fault = Fault::new(format!("{} is a host name", quote(text)), LINE)
                .help("host names stand in the policy itself");
            field.fault(report, fault);
        } else {
            items.extend(read(report, &field, Some(count - 1)));
        }
    }
    (items.len() == count).then_some(items)
}

/// The text of a list, whose path is relative to the policy that names it.
fn open(policy: &Source, path: &str) -> Result<Source, Fault> {
    let bad = |what: String| Fault::new(what, FILE);
    if path.is_empty() {
        return Err(bad("an empty string is no path".to_owned()));
    }
    let path = match (policy.folder(), FilePath::new(path)) {
        (_, path) if path.is_absolute() => path.to_owned(),
        (Some(folder), path) => folder.join(path),
        (None, _) => {
            return Err(bad(format!(
                "{} is relative, and this policy was not read from a file",
                quote(path)
            ))
            .help("write an absolute path"));
        }
    };
    let name = path.to_string_lossy().into_owned();
    let bytes = content(&path).map_err(|error| bad(format!("{}: {error}", quote(&name))))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::list(name, text)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..good).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            Err(bad(format!("{}: line {line} is not UTF-8", quote(&name))))
        }
    }
}

fn content(path: &FilePath) -> io::Result<Vec<u8>> {
    read_bytes(File::open(path)?)
}
