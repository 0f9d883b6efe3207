//! Names the shared library: programs that are linked with it ask for
//! `libairgap.so.0`, the number being that of `airgap_abi_version`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libairgap.so.0");
}
