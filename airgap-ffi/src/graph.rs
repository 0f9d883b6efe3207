//! Rule graphs: what is loaded, or would be.

use std::ffi::c_char;

use airgap::RuleGraph;

use crate::boundary::{Failure, Out, borrow, call, free, peek};
use crate::error::airgap_error_t;
use crate::host::airgap_host_t;
use crate::policy::airgap_policy_t;
use crate::status::airgap_status_t;

/// Ways to show a rule graph.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum airgap_format_t {
    /// A file for nft -f.
    AIRGAP_FORMAT_NFT = 0,
    /// The graph as JSON.
    AIRGAP_FORMAT_JSON = 1,
    /// A digraph for dot(1).
    AIRGAP_FORMAT_DOT = 2,
}

/// A rule graph: tables, chains, rules and sets of nf_tables. It does not
/// change; any number of threads may use it at the same time.
pub struct airgap_graph_t(pub(crate) RuleGraph);

/// Compiles a policy: what would be loaded by a host, or with NULL for `host`
/// by the network namespace in which the caller runs, which then need not have
/// nf_tables. Nothing is changed. The caller frees `graph` by
/// airgap_graph_free.
///
/// Errors: AIRGAP_ERROR_UNRESOLVED. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_policy_compile(
    policy: *const airgap_policy_t,
    host: *const airgap_host_t,
    graph: *mut *mut airgap_graph_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(graph, "graph")?;
        let policy = &borrow(policy, "policy")?.0;
        let compiled = match peek(host) {
            Some(host) => host.0.compile(policy)?,
            None => RuleGraph::compile(policy)?,
        };
        out.give(airgap_graph_t(compiled))
    })
}

/// Writes a rule graph out as `format`, a number of airgap_format_t. The caller
/// frees `text` by airgap_string_free.
///
/// Errors: AIRGAP_ERROR_ARGUMENT for another format. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_graph_show(
    graph: *const airgap_graph_t,
    format: i32,
    text: *mut *mut c_char,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    use airgap_format_t::{AIRGAP_FORMAT_DOT, AIRGAP_FORMAT_JSON, AIRGAP_FORMAT_NFT};
    call(error, || {
        let out = Out::new(text, "text")?;
        let graph = &borrow(graph, "graph")?.0;
        out.give_text(match format {
            f if f == AIRGAP_FORMAT_NFT as i32 => graph.to_string(),
            f if f == AIRGAP_FORMAT_JSON as i32 => json(graph)?,
            f if f == AIRGAP_FORMAT_DOT as i32 => graph.to_dot(),
            _ => return Err(Failure::Argument(format!("there is no format {format}"))),
        })
    })
}

/// JSON of the core's own types, whose keys are all texts.
pub(crate) fn json(what: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(what).map_err(|error| Failure::Panic(error.to_string()))
}

/// Frees a rule graph. NULL is fine.
///
/// Threads: any, while no other uses the graph.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_graph_free(graph: *mut airgap_graph_t) {
    free(graph);
}
