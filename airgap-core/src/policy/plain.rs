//! The plain part of TOML and JSON, handed over one table at a time.
//!
//! A policy of a million openings is plain text all through: bare keys, strings
//! without escapes, whole numbers, lists of these. Such text needs no tree of
//! the whole document. Whatever is not plain ends the reading with `None`, and
//! so does everything that is wrong: then the parsers of the whole languages
//! read the text, and they alone say what it means and what is wrong with it.
//! What is taken here means the same to them.

mod exact;

use super::allow::ExactPair;
use super::load::Form;
use super::model::Place;
use super::node::{Entry, Node, Value};

/// Where a table stands in a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// The keys outside of every table.
    Root,
    Host,
    Allow,
    Admit,
    Bridge,
    Forward,
}

impl Section {
    fn of_list(key: &str) -> Option<Self> {
        match key {
            "allow" => Some(Self::Allow),
            "admit" => Some(Self::Admit),
            "bridge" => Some(Self::Bridge),
            "forward" => Some(Self::Forward),
            _ => None,
        }
    }
}

/// Takes the tables of a text in their order, and says `None` to end.
pub(super) trait Tables {
    fn table(&mut self, section: Section, table: &Node<'_>, place: Place) -> Option<()>;

    /// Takes an allow pair that is no more than one address and one port.
    fn exact(&mut self, pair: ExactPair);
}

/// Reads all of `text`.
pub(super) fn read(text: &str, form: Form, tables: &mut impl Tables) -> Option<()> {
    match form {
        Form::Toml => toml(&mut Cursor::new(text), tables),
        Form::Json => json(&mut Cursor::new(text), tables),
    }
}

/// More keys than any table of a policy has.
const KEYS_MAX: usize = 16;

/// The keys of a table, each once.
fn add<'t>(entries: &mut Vec<Entry<'t>>, key: &'t str, value: Value<'t>) -> Option<()> {
    let twice = entries.iter().any(|entry| entry.key == key);
    if twice || entries.len() >= KEYS_MAX {
        return None;
    }
    entries.push(Entry::data(key, value));
    Some(())
}

/// Hands a table over and gives back the room of its keys.
fn hand_over<'t>(
    tables: &mut impl Tables,
    section: Section,
    entries: Vec<Entry<'t>>,
    place: Place,
) -> Option<Vec<Entry<'t>>> {
    let table = Node::data(Value::Table(entries));
    tables.table(section, &table, place)?;
    match table.value {
        Value::Table(mut entries) => {
            entries.clear();
            Some(entries)
        }
        _ => None,
    }
}

/// A place in a text and the line and column that it has.
#[derive(Clone)]
struct Cursor<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    /// A byte of the line whose column is known, and that column.
    anchor: usize,
    column: usize,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            anchor: 0,
            column: 1,
        }
    }

    /// The next byte. A zero stands for the end; in a text it is never plain.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == byte).then(|| self.at += 1)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take_text(&mut self, text: &str) -> Option<()> {
        self.rest().starts_with(text).then(|| self.at += text.len())
    }

    /// Steps over the line end at the cursor.
    fn newline(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        self.anchor = self.at;
        self.column = 1;
    }

    fn place(&mut self) -> Place {
        let passed = self.text.as_bytes().get(self.anchor..self.at);
        let characters = passed.unwrap_or_default().iter();
        self.column += characters.filter(|byte| **byte & 0xc0 != 0x80).count();
        self.anchor = self.at;
        Place {
            line: self.line,
            column: u32::try_from(self.column).unwrap_or(u32::MAX),
        }
    }

    /// What stands between the cursor and the first byte that is none of these.
    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'t str {
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        self.at += rest
            .iter()
            .position(|byte| !belongs(*byte))
            .unwrap_or(rest.len());
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// A string in double quotes without escapes.
    fn string(&mut self) -> Option<&'t str> {
        self.take(b'"')?;
        let text = self.run(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x7f));
        self.take(b'"')?;
        Some(text)
    }

    /// A string, a number of digits, `true` or `false`.
    fn scalar(&mut self) -> Option<Value<'t>> {
        match self.peek() {
            b'"' => Some(Value::String(self.string()?.into())),
            b'0'..=b'9' => {
                let digits = self.run(|byte| byte.is_ascii_digit());
                let plain = digits.len() < 10 && (digits.len() == 1 || !digits.starts_with('0'));
                Some(Value::Integer(digits.parse().ok().filter(|_| plain)?))
            }
            b't' => self.take_text("true").map(|()| Value::Boolean(true)),
            b'f' => self.take_text("false").map(|()| Value::Boolean(false)),
            _ => None,
        }
    }

    /// A scalar, or a list of these.
    fn value(&mut self, form: Form) -> Option<Value<'t>> {
        if self.take(b'[').is_none() {
            return self.scalar();
        }
        let mut values = Vec::new();
        loop {
            self.space(form)?;
            // TOML takes a comma before the bracket.
            if (values.is_empty() || matches!(form, Form::Toml)) && self.take(b']').is_some() {
                return Some(Value::Array(values));
            }
            values.push(Node::data(self.scalar()?));
            self.space(form)?;
            if self.take(b',').is_none() {
                self.take(b']')?;
                return Some(Value::Array(values));
            }
        }
    }

    /// Blanks, line ends and, in TOML, comments.
    fn space(&mut self, form: Form) -> Option<()> {
        loop {
            match self.peek() {
                b' ' | b'\t' => self.at += 1,
                b'\n' => self.newline(),
                b'\r' => {
                    self.at += 1;
                    (self.peek() == b'\n').then(|| self.newline())?;
                }
                b'#' if matches!(form, Form::Toml) => self.comment(),
                _ => return Some(()),
            }
        }
    }

    /// A comment of TOML; what cannot stand in one is left for the next step.
    fn comment(&mut self) {
        self.run(|byte| byte == b'\t' || !matches!(byte, 0..=0x1f | 0x7f));
    }

    /// The rest of a line of TOML.
    fn line_end(&mut self) -> Option<()> {
        let line = self.line;
        self.space(Form::Toml)?;
        (self.line > line || self.is_at_end()).then_some(())
    }
}

fn toml(cursor: &mut Cursor<'_>, tables: &mut impl Tables) -> Option<()> {
    let mut entries = Vec::with_capacity(KEYS_MAX);
    // The table whose keys are being read.
    let mut table = Some((Section::Root, cursor.place()));
    let mut host_was = false;
    cursor.space(Form::Toml)?;
    loop {
        match cursor.peek() {
            b'[' => {
                if let Some((section, place)) = table.take() {
                    entries = hand_over(tables, section, entries, place)?;
                }
                let place = cursor.place();
                let section = header(cursor)?;
                if section == Section::Host {
                    (!host_was).then_some(())?;
                    host_was = true;
                }
                if section == Section::Allow
                    && let Some(pair) = exact::pair(cursor, Form::Toml, place)
                {
                    tables.exact(pair);
                    continue;
                }
                table = Some((section, place));
            }
            _ if cursor.is_at_end() => {
                if let Some((section, place)) = table {
                    hand_over(tables, section, entries, place)?;
                }
                return Some(());
            }
            _ => {
                let key =
                    cursor.run(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
                (!key.is_empty()).then_some(())?;
                cursor.run(|byte| byte == b' ' || byte == b'\t');
                cursor.take(b'=')?;
                cursor.run(|byte| byte == b' ' || byte == b'\t');
                let value = cursor.value(Form::Toml)?;
                add(&mut entries, key, value)?;
            }
        }
        cursor.line_end()?;
    }
}

/// `[host]`, or the list of a section in doubled brackets.
fn header(cursor: &mut Cursor<'_>) -> Option<Section> {
    cursor.take(b'[')?;
    let section = if cursor.take(b'[').is_some() {
        let section = Section::of_list(cursor.run(|byte| byte.is_ascii_lowercase()))?;
        cursor.take(b']')?;
        section
    } else {
        cursor.take_text("host")?;
        Section::Host
    };
    cursor.take(b']')?;
    Some(section)
}

fn json(cursor: &mut Cursor<'_>, tables: &mut impl Tables) -> Option<()> {
    let mut root = Vec::with_capacity(KEYS_MAX);
    let mut entries = Vec::with_capacity(KEYS_MAX);
    cursor.space(Form::Json)?;
    let start = cursor.place();
    members(cursor, |cursor, key| {
        if key != "host" && Section::of_list(key).is_none() {
            let value = cursor.value(Form::Json)?;
            return add(&mut root, key, value);
        }
        let Some(section) = Section::of_list(key) else {
            // Kept among the keys of the root only to be there once.
            add(&mut root, key, Value::Null)?;
            return object(cursor, tables, Section::Host, &mut entries);
        };
        add(&mut root, key, Value::Null)?;
        cursor.take(b'[')?;
        cursor.space(Form::Json)?;
        if cursor.take(b']').is_some() {
            return Some(());
        }
        loop {
            object(cursor, tables, section, &mut entries)?;
            cursor.space(Form::Json)?;
            if cursor.take(b',').is_none() {
                return cursor.take(b']');
            }
            cursor.space(Form::Json)?;
        }
    })?;
    cursor.space(Form::Json)?;
    cursor.is_at_end().then_some(())?;
    root.retain(|entry| entry.node.value != Value::Null);
    hand_over(tables, Section::Root, root, start).map(|_| ())
}

/// One table of a policy.
fn object<'t>(
    cursor: &mut Cursor<'t>,
    tables: &mut impl Tables,
    section: Section,
    room: &mut Vec<Entry<'t>>,
) -> Option<()> {
    let place = cursor.place();
    if section == Section::Allow
        && let Some(pair) = exact::pair(cursor, Form::Json, place)
    {
        tables.exact(pair);
        return Some(());
    }
    let mut entries = std::mem::take(room);
    members(cursor, |cursor, key| {
        let value = cursor.value(Form::Json)?;
        add(&mut entries, key, value)
    })?;
    *room = hand_over(tables, section, entries, place)?;
    Some(())
}

/// Calls `each` with every key of an object, at its value.
fn members<'t>(
    cursor: &mut Cursor<'t>,
    mut each: impl FnMut(&mut Cursor<'t>, &'t str) -> Option<()>,
) -> Option<()> {
    cursor.take(b'{')?;
    cursor.space(Form::Json)?;
    if cursor.take(b'}').is_some() {
        return Some(());
    }
    loop {
        let key = cursor.string()?;
        cursor.space(Form::Json)?;
        cursor.take(b':')?;
        cursor.space(Form::Json)?;
        each(cursor, key)?;
        cursor.space(Form::Json)?;
        if cursor.take(b',').is_none() {
            return cursor.take(b'}');
        }
        cursor.space(Form::Json)?;
    }
}
