//! Who changed the ruleset.

use std::fs;

use crate::netlink::Author;
use crate::state::Process;

/// A longer command line is cut.
const COMMAND_MAX: usize = 200;

/// What can still be found out about the author of a transaction. The kernel
/// names a thread; the process that it belongs to may have ended.
pub(super) fn process_of(author: &Author) -> Process {
    let folder = format!("/proc/{}", author.thread);
    let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    // The number may be another thread's by now.
    let same = field("Name:").is_some_and(|name| name == author.name);
    let command = fs::read(format!("{folder}/cmdline")).unwrap_or_default();
    Process {
        pid: field("Tgid:")
            .filter(|_| same)
            .and_then(|pid| pid.parse().ok())
            .unwrap_or(author.thread),
        name: words(author.name.as_bytes()),
        command: Some(words(&command)).filter(|text| same && !text.is_empty()),
    }
}

/// The words of a command line in one line, without what could play tricks on
/// a terminal.
fn words(command: &[u8]) -> String {
    let text = String::from_utf8_lossy(command);
    let mut line: String = text
        .trim_end_matches('\0')
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(COMMAND_MAX + 1)
        .collect();
    if line.chars().count() > COMMAND_MAX {
        line.pop();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_one_harmless_line() {
        assert_eq!(words(b"nft\0flush\0ruleset\0"), "nft flush ruleset");
        assert_eq!(words(b"nft\0\x1b[2J\n"), "nft  [2J ");
        assert_eq!(words(&[b'a'; 4000]).chars().count(), COMMAND_MAX + 1);
    }

    #[test]
    fn a_thread_that_is_gone_keeps_its_number() {
        let author = Author {
            thread: u32::MAX,
            name: "nft".to_owned(),
        };
        let process = process_of(&author);
        assert_eq!((process.pid, process.command), (u32::MAX, None));
    }

    #[test]
    fn a_thread_belongs_to_its_process() {
        let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/{name}"));
        let status = read("status").unwrap_or_default();
        let thread = status
            .lines()
            .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
        let author = Author {
            thread: thread.unwrap_or_default(),
            name: read("comm").unwrap_or_default().trim().to_owned(),
        };
        assert_eq!(process_of(&author).pid, std::process::id());
    }
}
