//! Plans, change by change.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::OnceLock;

use airgap::policy::Place;
use airgap::{Change, ChangeKind, Plan, host_warnings};

use crate::boundary::{Out, Sized, borrow, c_text, call, free, none_of, peek};
use crate::diagnostics::airgap_diagnostics_t;
use crate::error::airgap_error_t;
use crate::graph::{airgap_graph_t, json};
use crate::status::airgap_status_t;

/// What is to be done to make a host's air gap that of a policy. It does not
/// change; any number of threads may use it at the same time.
pub struct airgap_plan_t {
    pub(crate) plan: Plan,
    /// The changes in words, made when the first is asked for.
    texts: OnceLock<Vec<Texts>>,
}

struct Texts {
    kind: ChangeKind,
    place: Place,
    opening: CString,
    was: Option<CString>,
    path: Option<CString>,
}

impl airgap_plan_t {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            texts: OnceLock::new(),
        }
    }

    fn texts(&self) -> &[Texts] {
        self.texts.get_or_init(|| {
            let texts = |change: Change| Texts {
                kind: change.kind,
                place: change.origin.map(|origin| origin.place).unwrap_or_default(),
                opening: c_text(change.opening),
                was: change.was.map(c_text),
                path: change.origin.map(|origin| c_text(origin.path())),
            };
            self.plan.changes.iter().map(texts).collect()
        })
    }
}

/// Whether an opening comes or goes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum airgap_change_kind_t {
    /// It comes.
    AIRGAP_CHANGE_ADDED = 0,
    /// It goes.
    AIRGAP_CHANGE_REMOVED = 1,
    /// It was another before.
    AIRGAP_CHANGE_CHANGED = 2,
}

/// A change of what is open. Set `size` before the call; the texts are in
/// UTF-8, end with a zero, and belong to the plan that they came from.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct airgap_change_t {
    /// The size of this struct, set by the caller.
    pub size: usize,
    /// Whether it comes or goes.
    pub kind: airgap_change_kind_t,
    /// The line of the policy that asks for it, from 1; 0 of one that goes.
    pub line: u32,
    /// The column in characters, from 1; 0 of one that goes.
    pub column: u32,
    /// What, in words.
    pub opening: *const c_char,
    /// What it was before, NULL unless it is changed.
    pub was: *const c_char,
    /// The item of the policy that asks for it, such as `allow[3]`; NULL of
    /// one that goes.
    pub path: *const c_char,
}

/// Whether anything is to be done; false for NULL. A plan can have something
/// to do though no opening changes, when the ruleset was altered otherwise.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_plan_changed(plan: *const airgap_plan_t) -> bool {
    peek(plan).is_some_and(|plan| plan.plan.changed())
}

/// How many openings come, go or change; 0 for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_plan_change_count(plan: *const airgap_plan_t) -> usize {
    peek(plan).map_or(0, |plan| plan.plan.changes.len())
}

/// Reads one change of a plan, counted from 0. The texts stay the plan's, and
/// are valid until it is freed.
///
/// Errors: AIRGAP_ERROR_ARGUMENT when there is none of that number, or `size`
/// is not set. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_plan_change(
    plan: *const airgap_plan_t,
    index: usize,
    change: *mut airgap_change_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        // SAFETY: the struct is repr(C), begins with its size, and takes zeros.
        let out = unsafe { Sized::new(change, "change") }?;
        let plan = borrow(plan, "plan")?;
        let Some(texts) = plan.texts().get(index) else {
            return Err(none_of(index, plan.plan.changes.len()));
        };
        let or_null = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |t| t.as_ptr());
        out.write(&airgap_change_t {
            size: 0,
            kind: match texts.kind {
                ChangeKind::Added => airgap_change_kind_t::AIRGAP_CHANGE_ADDED,
                ChangeKind::Removed => airgap_change_kind_t::AIRGAP_CHANGE_REMOVED,
                ChangeKind::Changed => airgap_change_kind_t::AIRGAP_CHANGE_CHANGED,
            },
            line: texts.place.line,
            column: texts.place.column,
            opening: texts.opening.as_ptr(),
            was: or_null(&texts.was),
            path: or_null(&texts.path),
        });
        Ok(())
    })
}

/// What is legal and probably wrong in the plan's policy, by itself and on this
/// host; an empty list where nothing is. The caller frees `warnings` by
/// airgap_diagnostics_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_plan_warnings(
    plan: *const airgap_plan_t,
    warnings: *mut *mut airgap_diagnostics_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(warnings, "warnings")?;
        let plan = &borrow(plan, "plan")?.plan;
        let mut found = plan.policy().warnings();
        found.extend(host_warnings(plan.policy(), &plan.surroundings));
        out.give(airgap_diagnostics_t::of_policy(plan.policy(), &found))
    })
}

/// What the kernel would hold. The caller frees `graph` by airgap_graph_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_plan_graph(
    plan: *const airgap_plan_t,
    graph: *mut *mut airgap_graph_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(graph, "graph")?;
        out.give(airgap_graph_t(borrow(plan, "plan")?.plan.graph().clone()))
    })
}

/// The plan as JSON, as `airgap plan --output json` prints it: the changes,
/// what names stand for, and what chains of other programs could drop. The
/// caller frees `json` by airgap_string_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_plan_to_json(
    plan: *const airgap_plan_t,
    json: *mut *mut c_char,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(json, "json")?;
        out.give_text(self::json(&borrow(plan, "plan")?.plan)?)
    })
}

/// Frees a plan. NULL is fine.
///
/// Threads: any, while no other uses the plan.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_plan_free(plan: *mut airgap_plan_t) {
    free(plan);
}
