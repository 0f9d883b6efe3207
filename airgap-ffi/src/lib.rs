//! libairgap: the air gap for programs in C. What a caller must know stands in
//! `include/airgap.h`, which is made from the comments here; its conventions
//! are in `cbindgen.toml`.
//!
//! | module | subject |
//! | --- | --- |
//! | `boundary` | the one way in and out: arguments, results, panics |
//! | `status`, `error`, `diagnostics` | what went wrong |
//! | `policy`, `host`, `plan`, `graph`, `explain`, `verify`, `fake` | the handles of the core's types |
//!
//! No decision is made here: what a function does, the core does.

#![allow(unsafe_code)] // pointers of the caller; only `boundary` reads and writes them
#![allow(non_camel_case_types)] // the names of C
#![allow(clippy::missing_safety_doc)] // the conventions of the header are the contract of every function

mod boundary;
mod diagnostics;
mod error;
mod explain;
mod fake;
mod graph;
mod host;
mod plan;
mod policy;
mod status;
mod verify;
mod version;

/// Handles are shared by threads, as the header says of every function.
#[cfg(test)]
mod tests {
    fn shared<T: Send + Sync>() {}

    #[test]
    fn any_thread_may_use_every_handle() {
        shared::<super::policy::airgap_policy_t>();
        shared::<super::host::airgap_host_t>();
        shared::<super::plan::airgap_plan_t>();
        shared::<super::graph::airgap_graph_t>();
        shared::<super::explain::airgap_explanation_t>();
        shared::<super::verify::airgap_verification_t>();
        shared::<super::fake::airgap_fake_kernel_t>();
        shared::<super::diagnostics::airgap_diagnostics_t>();
        shared::<super::error::airgap_error_t>();
    }
}
