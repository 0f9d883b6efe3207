//! `include/airgap.h` is the header of this crate as it is.
//! `AIRGAP_WRITE_HEADER=1 cargo test -p airgap-ffi` writes it anew.
#![allow(clippy::unwrap_used, clippy::panic)] // a test

use std::path::Path;
use std::{env, fs};

#[test]
fn the_header_is_that_of_the_sources() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(crate_folder.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_crate(crate_folder)
        .generate()
        .unwrap()
        .write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = crate_folder.join("../include/airgap.h");
    if env::var_os("AIRGAP_WRITE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if kept != made {
        let line = kept
            .lines()
            .zip(made.lines())
            .take_while(|(a, b)| a == b)
            .count()
            + 1;
        panic!(
            "include/airgap.h is not that of the sources from line {line} on: run `make header` and commit it"
        );
    }
}

/// Every type, field, number and function has a comment, and every function
/// says what thread may call it.
#[test]
fn everything_in_the_header_is_explained() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/airgap.h");
    let header = fs::read_to_string(path).unwrap();
    let (mut comment, mut functions, mut open) = (String::new(), 0, false);
    for line in header
        .lines()
        .skip_while(|line| !line.starts_with("#define AIRGAP_H"))
    {
        let code = line.trim();
        let whole = std::mem::take(&mut comment);
        if code.starts_with("/*") || code.starts_with('*') {
            comment = whole + code + "\n";
            continue;
        }
        let skipped =
            code.is_empty() || code.starts_with(['#', '}', '{']) || code.contains("extern \"C\"");
        // Inside a macro or the parameters of a function.
        let continued = open;
        open = code.ends_with([',', '\\']) && (line.contains('(') || continued)
            || code.ends_with('\\');
        if skipped || continued || code.starts_with("airgap_##") {
            continue;
        }
        assert!(!whole.is_empty(), "no comment before: {line}");
        if line.contains("airgap_") && line.contains('(') {
            functions += 1;
            assert!(
                whole.contains("Threads:"),
                "not a word about threads before: {line}"
            );
        }
    }
    assert!(
        functions > 20,
        "only {functions} functions were found in the header"
    );
}
