//! What a diagnostic looks like.

use super::{FULL, refused};
use crate::policy::{Policy, Severity, Style, render};

#[test]
fn plain() {
    let text = "version = 1\n[[bridge]]\nname = \"br0\"\n\n[[bridge]]\nname = \"br0\"\n\n[host]\nresolver = 1\n";
    let error = refused(Policy::from_toml_named(text, "policy.toml"));
    let expected = r#"error: the bridge `br0` is named twice
 --> policy.toml:6:8
  |
6 | name = "br0"
  |        ^^^^^ expected one `[[bridge]]` for each bridge
note: it is named here already
 --> policy.toml:3:8
  |
3 | name = "br0"
  |        ^^^^^

error: unknown key `resolver`
 --> policy.toml:9:1
  |
9 | resolver = 1
  | ^^^^^^^^ expected one of `resolvers`, `dhcp`, `uplinks`, `strict`
  |
  = help: did you mean `resolvers`?"#;
    assert_eq!(error.to_string(), expected);
}

#[test]
fn coloured() {
    let error = refused(Policy::from_toml("version = 2\n"));
    let coloured = error.render(Style::Coloured);
    // The title is red, and bold.
    assert!(
        coloured.starts_with("\u{1b}[1m\u{1b}[91merror"),
        "{coloured:?}"
    );
    assert!(!error.render(Style::Plain).contains('\u{1b}'));
}

#[test]
fn a_long_line_is_cut_around_the_mistake() {
    let filler = "\"192.0.2.1\", ".repeat(100_000);
    let text = format!("version = 1\n[[allow]]\nport = 1\nto = [{filler}\"x_y\", {filler}]\n");
    let rendered = refused(Policy::from_toml(&text)).to_string();
    assert!(
        rendered.lines().all(|line| line.chars().count() < 200),
        "{rendered}"
    );
    assert!(rendered.contains("4:1300007\n"), "{rendered}");
    let lines: Vec<_> = rendered.lines().collect();
    let at = lines[4].find('^').unwrap();
    assert_eq!(&lines[3][at..at + 5], "\"x_y\"");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = "version = 1\n\"\u{7f}\\u001b[31m\" = 1\n";
    let rendered = refused(Policy::from_toml_named(text, "a\u{1b}b")).to_string();
    assert!(
        !rendered.contains(|c: char| c.is_control() && c != '\n'),
        "{rendered:?}"
    );
    let rendered = refused(Policy::from_json(
        "{\"version\":1,\"a\\u001b\": \"\u{1b}\"}",
    ))
    .to_string();
    assert!(
        !rendered.contains(|c: char| c.is_control() && c != '\n'),
        "{rendered:?}"
    );
}

#[test]
fn many_are_counted() {
    let text = format!("version = 1\n{}", "[[allow]]\n".repeat(20_000));
    let error = refused(Policy::from_toml(&text));
    assert_eq!(
        (error.diagnostics().len(), error.omitted()),
        (10_000, 30_000)
    );
    assert!(error.to_string().ends_with("\nand 39900 more"));
    assert_eq!(error.to_string().matches("error: ").count(), 100);
}

#[test]
fn any_message_can_point_at_an_opening() {
    let policy = Policy::from_toml_named(FULL, "p.toml").unwrap();
    let diagnostic =
        policy.diagnostic_at(policy.admit[0].place, Severity::Error, "the kernel said no");
    assert_eq!(diagnostic.path, "admit[0]");
    let expected =
        "error: the kernel said no\n  --> p.toml:21:1\n   |\n21 | [[admit]]\n   | ^^^^^^^^^\n";
    assert_eq!(policy.render(&diagnostic, Style::Plain), expected);
    // A message of a policy without lines.
    let data = Policy::from_json(&policy.to_json()).unwrap();
    let nowhere = data.diagnostic_at(Default::default(), Severity::Warning, "odd");
    assert_eq!(
        render(&nowhere, data.source(), Style::Plain),
        "warning: odd\n --> <policy>\n"
    );
}

#[test]
fn diagnostics_are_data() {
    let error = refused(Policy::from_toml("version = 1\n[host]\nresolver = 1\n"));
    let json = serde_json::to_value(error.diagnostics()).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{
            "severity": "error",
            "message": "unknown key `resolver`",
            "place": { "line": 3, "column": 1 },
            "end": { "line": 3, "column": 9 },
            "path": "host.resolver",
            "label": "expected one of `resolvers`, `dhcp`, `uplinks`, `strict`",
            "help": "did you mean `resolvers`?",
        }])
    );
}
