/*
 * libairgap: puts a Linux host with containers behind an air gap that has
 * exactly the openings its policy names.
 *
 * Made from the sources of libairgap; changes here are lost.
 *
 * Conventions
 *
 * Status: functions that can fail return airgap_status_t, AIRGAP_OK being 0.
 * Results come through out-pointers, which are written on success only.
 *
 * Errors: the last parameter is an `airgap_error_t **` that may be NULL. On
 * failure it is given an error that the caller frees by airgap_error_free; on
 * success it is left alone. No error is kept by the library: there are no
 * globals and nothing that belongs to a thread.
 *
 * Ownership: what a function gives through an out-pointer is the caller's, to
 * be freed once by the `_free` of its type, texts by airgap_string_free. Every
 * `_free` takes NULL. To free twice is a mistake of the caller as with free(3);
 * AIRGAP_CLEAR protects from it: it frees and sets the variable to NULL. What
 * is returned as a `const` pointer belongs to the object that it came from.
 * Handles do not keep each other alive and need not: each is whole by itself.
 *
 * Texts: inputs are a pointer and a length in bytes, UTF-8, and need no zero at
 * the end; NULL with length 0 is the empty text. Texts that come back end with
 * a zero.
 *
 * Structs that begin with `size` can grow: the caller sets it to the size of
 * the struct that it was compiled with before each call.
 *
 * Threads: 'any' means that any thread may call the function, several at the
 * same time, also with the same handles.
 *
 * Panics: none crosses; a defect of the library comes back as
 * AIRGAP_ERROR_PANIC, after a line on standard error.
 *
 * Signals: the library installs no handler and changes no mask.
 */


#ifndef AIRGAP_H
#define AIRGAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Frees a handle of this kind (policy, plan, error, string, ...) and sets the
 * variable to NULL, so that a second time does nothing. `handle` is evaluated
 * twice. */
#define AIRGAP_CLEAR(kind, handle) \
  do { \
    airgap_##kind##_free(handle); \
    (handle) = NULL; \
  } while (0)

/**
 * The ABI that this header describes. A program that was built with it runs
 * with every library whose airgap_abi_version() is the same number.
 */
#define AIRGAP_ABI_VERSION 0

/**
 * How a call ended. The numbers stay; new ones may come.
 */
typedef enum {
  /**
   * It did what it says.
   */
  AIRGAP_OK = 0,
  /**
   * An argument is not what the function takes: a pointer is NULL, a length
   * impossible, a text no UTF-8, a size or number unknown. A mistake of the
   * calling program.
   */
  AIRGAP_ERROR_ARGUMENT = 1,
  /**
   * The policy is not well formed; the diagnostics say where.
   */
  AIRGAP_ERROR_POLICY = 2,
  /**
   * The policy names a host or user that this host does not know now.
   */
  AIRGAP_ERROR_UNRESOLVED = 3,
  /**
   * The caller lacks CAP_NET_ADMIN in the network namespace.
   */
  AIRGAP_ERROR_NOT_PERMITTED = 4,
  /**
   * The kernel has no nf_tables.
   */
  AIRGAP_ERROR_NO_NF_TABLES = 5,
  /**
   * The kernel refused the ruleset; nothing was changed.
   */
  AIRGAP_ERROR_KERNEL = 6,
  /**
   * The ruleset does not fit into one message; nothing was changed.
   */
  AIRGAP_ERROR_BATCH_TOO_LARGE = 7,
  /**
   * Other programs kept changing the ruleset; nothing was changed.
   */
  AIRGAP_ERROR_CONFLICT = 8,
  /**
   * The ruleset was changed, and the kernel holds something else than was
   * sent.
   */
  AIRGAP_ERROR_READ_BACK = 9,
  /**
   * The kernel answered in a way that this version does not understand.
   */
  AIRGAP_ERROR_PROTOCOL = 10,
  /**
   * The operating system refused something else.
   */
  AIRGAP_ERROR_IO = 11,
  /**
   * A defect of this library. Nothing is known of the state; the handles can
   * still be freed.
   */
  AIRGAP_ERROR_PANIC = 12,
  /**
   * Another call that changes the air gap does not come to an end; nothing
   * was changed.
   */
  AIRGAP_ERROR_LOCKED = 13,
  /**
   * A policy waits to be confirmed already; nothing was changed.
   */
  AIRGAP_ERROR_PENDING = 14,
  /**
   * Nothing waits to be confirmed.
   */
  AIRGAP_ERROR_NOTHING_PENDING = 15,
  /**
   * What is loaded could not be loaded again as it is, so that there would
   * be no way back; nothing was changed.
   */
  AIRGAP_ERROR_IRREVERSIBLE = 16,
  /**
   * What was there before could not be loaded any more; the host is sealed
   * all the same.
   */
  AIRGAP_ERROR_ROLLBACK = 17,
  /**
   * The policy would cut the connection over which the caller is here; nothing
   * was changed.
   */
  AIRGAP_ERROR_LOCKOUT = 18,
} airgap_status_t;

/**
 * How bad a diagnostic is.
 */
typedef enum {
  /**
   * What was asked for cannot be done.
   */
  AIRGAP_SEVERITY_ERROR = 0,
  /**
   * Legal, and probably not what was meant.
   */
  AIRGAP_SEVERITY_WARNING = 1,
} airgap_severity_t;

/**
 * What happens to a flow.
 */
typedef enum {
  /**
   * It is dropped.
   */
  AIRGAP_VERDICT_DROPPED = 0,
  /**
   * It passes.
   */
  AIRGAP_VERDICT_PASSES = 1,
  /**
   * The rules ask for something that a flow's text does not tell.
   */
  AIRGAP_VERDICT_UNDECIDED = 2,
} airgap_verdict_t;

/**
 * Whether an opening comes or goes.
 */
typedef enum {
  /**
   * It comes.
   */
  AIRGAP_CHANGE_ADDED = 0,
  /**
   * It goes.
   */
  AIRGAP_CHANGE_REMOVED = 1,
  /**
   * It was another before.
   */
  AIRGAP_CHANGE_CHANGED = 2,
} airgap_change_kind_t;

/**
 * What a verification found.
 */
typedef enum {
  /**
   * A packet passes that the policy does not state, or the other way round.
   */
  AIRGAP_RESULT_COUNTEREXAMPLE = 0,
  /**
   * The openings are the policy's: none more, none missing.
   */
  AIRGAP_RESULT_VERIFIED = 1,
  /**
   * Nothing is proved.
   */
  AIRGAP_RESULT_UNDECIDED = 2,
} airgap_result_t;

/**
 * Ways to show a rule graph.
 */
typedef enum {
  /**
   * A file for nft -f.
   */
  AIRGAP_FORMAT_NFT = 0,
  /**
   * The graph as JSON.
   */
  AIRGAP_FORMAT_JSON = 1,
  /**
   * A digraph for dot(1).
   */
  AIRGAP_FORMAT_DOT = 2,
} airgap_format_t;

/**
 * A list of mistakes or warnings, in the order of the policy's text.
 */
typedef struct airgap_diagnostics_t airgap_diagnostics_t;

/**
 * Why a call failed. Made by the failing call, owned by the caller.
 */
typedef struct airgap_error_t airgap_error_t;

/**
 * What happens to a flow, and why. It does not change; any number of threads
 * may use it at the same time.
 */
typedef struct airgap_explanation_t airgap_explanation_t;

/**
 * A kernel for tests: nf_tables in memory, without root and without any change
 * to the machine. It refuses what a real kernel refuses, with its error
 * numbers.
 */
typedef struct airgap_fake_kernel_t airgap_fake_kernel_t;

/**
 * A rule graph: tables, chains, rules and sets of nf_tables. It does not
 * change; any number of threads may use it at the same time.
 */
typedef struct airgap_graph_t airgap_graph_t;

/**
 * A host, or one network namespace of it. Any number of threads may use it at
 * the same time; each call opens a socket of its own.
 */
typedef struct airgap_host_t airgap_host_t;

/**
 * What is to be done to make a host's air gap that of a policy. It does not
 * change; any number of threads may use it at the same time.
 */
typedef struct airgap_plan_t airgap_plan_t;

/**
 * A policy that was read without a mistake. It does not change; any number of
 * threads may use it at the same time.
 */
typedef struct airgap_policy_t airgap_policy_t;

/**
 * What a verification found, and why. It does not change; any number of
 * threads may use it at the same time.
 */
typedef struct airgap_verification_t airgap_verification_t;

/**
 * One mistake or warning. Set `size` before the call; the texts are in UTF-8,
 * end with a zero, and belong to the list that they came from.
 */
typedef struct {
  /**
   * The size of this struct, set by the caller.
   */
  size_t size;
  /**
   * How bad it is.
   */
  airgap_severity_t severity;
  /**
   * The line of the policy where it begins, from 1; 0 where no line is
   * meant.
   */
  uint32_t line;
  /**
   * The column in characters, from 1; 0 where no line is meant.
   */
  uint32_t column;
  /**
   * The line where it ends.
   */
  uint32_t end_line;
  /**
   * The column behind its last character.
   */
  uint32_t end_column;
  /**
   * The same as a path through the policy's keys, such as `allow[3].port`
   * (lists count from 0). Empty where no value is meant.
   */
  const char *path;
  /**
   * What is wrong.
   */
  const char *message;
  /**
   * What was expected there. May be empty.
   */
  const char *label;
  /**
   * How to mend it. May be empty.
   */
  const char *help;
  /**
   * All of it for a reader, with the line underlined, as the command prints
   * it.
   */
  const char *rendered;
} airgap_diagnostic_t;

/**
 * How to apply a plan. Set all of it to zero, then `size`, then what is
 * wanted.
 */
typedef struct {
  /**
   * The size of this struct, set by the caller.
   */
  size_t size;
  /**
   * The milliseconds within which the policy must be confirmed by
   * airgap_host_confirm, of any process; else what was there before is
   * loaded again. 0 if it needs no confirmation.
   */
  uint64_t confirm_within;
  /**
   * Loads the policy even if it cuts the connection over which the caller is
   * here and needs no confirmation.
   */
  bool even_if_locked_out;
} airgap_apply_options_t;

/**
 * What an apply did. Set `size` before the call.
 */
typedef struct {
  /**
   * The size of this struct, set by the caller.
   */
  size_t size;
  /**
   * Whether anything was sent.
   */
  bool changed;
  /**
   * How many operations were sent.
   */
  size_t operations;
  /**
   * How often another program changed the ruleset meanwhile.
   */
  size_t retries;
} airgap_applied_t;

/**
 * A change of what is open. Set `size` before the call; the texts are in
 * UTF-8, end with a zero, and belong to the plan that they came from.
 */
typedef struct {
  /**
   * The size of this struct, set by the caller.
   */
  size_t size;
  /**
   * Whether it comes or goes.
   */
  airgap_change_kind_t kind;
  /**
   * The line of the policy that asks for it, from 1; 0 of one that goes.
   */
  uint32_t line;
  /**
   * The column in characters, from 1; 0 of one that goes.
   */
  uint32_t column;
  /**
   * What, in words.
   */
  const char *opening;
  /**
   * What it was before, NULL unless it is changed.
   */
  const char *was;
  /**
   * The item of the policy that asks for it, such as `allow[3]`; NULL of
   * one that goes.
   */
  const char *path;
} airgap_change_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * How many diagnostics a list has; 0 for NULL.
 *
 * Threads: any.
 */
size_t airgap_diagnostics_count(const airgap_diagnostics_t *diagnostics);

/**
 * Reads one diagnostic of a list, counted from 0. The texts stay the list's,
 * and are valid until it is freed.
 *
 * Errors: AIRGAP_ERROR_ARGUMENT when there is none of that number, or `size`
 * is not set. Threads: any.
 */
airgap_status_t airgap_diagnostics_get(const airgap_diagnostics_t *diagnostics,
                                       size_t index,
                                       airgap_diagnostic_t *diagnostic,
                                       airgap_error_t **error);

/**
 * Frees a list that a function gave to the caller, such as
 * airgap_policy_warnings. NULL is fine.
 *
 * Threads: any, while no other uses the list.
 */
void airgap_diagnostics_free(airgap_diagnostics_t *diagnostics);

/**
 * The status that the failing call returned. AIRGAP_OK for NULL.
 *
 * Threads: any.
 */
airgap_status_t airgap_error_status(const airgap_error_t *error);

/**
 * The kernel's error number (errno(3)), 0 where there is none or for NULL.
 *
 * Threads: any.
 */
int airgap_error_errno(const airgap_error_t *error);

/**
 * What went wrong, for a reader: what was expected, what was found, where,
 * and what to do; the text that the command `airgap` prints. Several lines
 * where there are several mistakes. Owned by the error; NULL for NULL.
 *
 * Threads: any.
 */
const char *airgap_error_message(const airgap_error_t *error);

/**
 * What the error is about one by one, with places in the policy. Owned by the
 * error, not to be freed; NULL where the message says it all, and for NULL.
 *
 * Threads: any.
 */
const airgap_diagnostics_t *airgap_error_diagnostics(const airgap_error_t *error);

/**
 * Frees an error with all that belongs to it. NULL is fine.
 *
 * Threads: any, while no other uses the error.
 */
void airgap_error_free(airgap_error_t *error);

/**
 * What would happen to a flow if a policy were loaded by a host, or with NULL
 * for `host` by the network namespace in which the caller runs, which needs no
 * rights; beside no rules of other programs. A flow is a text such as
 * `host -> tcp 203.0.113.9:443` or `docker0 172.17.0.2 -> udp 192.0.2.53:53`,
 * as airgap(8) explains. The caller frees `explanation` by
 * airgap_explanation_free.
 *
 * Errors: AIRGAP_ERROR_POLICY where the text is no flow,
 * AIRGAP_ERROR_UNRESOLVED, AIRGAP_ERROR_IO. Threads: any.
 */
airgap_status_t airgap_explain(const airgap_policy_t *policy,
                               const airgap_host_t *host,
                               const char *flow,
                               size_t length,
                               airgap_explanation_t **explanation,
                               airgap_error_t **error);

/**
 * What happens to a flow now, under all rules that are loaded, those of other
 * programs too. The flow reads as that of airgap_explain. The caller frees
 * `explanation` by airgap_explanation_free.
 *
 * Errors: AIRGAP_ERROR_POLICY where the text is no flow,
 * AIRGAP_ERROR_NOT_PERMITTED, AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO.
 * Threads: any.
 */
airgap_status_t airgap_host_explain(const airgap_host_t *host,
                                    const char *flow,
                                    size_t length,
                                    airgap_explanation_t **explanation,
                                    airgap_error_t **error);

/**
 * Whether the flow passes. AIRGAP_VERDICT_DROPPED for NULL.
 *
 * Threads: any.
 */
airgap_verdict_t airgap_explanation_verdict(const airgap_explanation_t *explanation);

/**
 * The explanation for a reader, as `airgap explain` prints it. Owned by the
 * explanation; NULL for NULL.
 *
 * Threads: any.
 */
const char *airgap_explanation_text(const airgap_explanation_t *explanation);

/**
 * The explanation as JSON, as `airgap explain --output json` prints it: the
 * verdict, the way through the chains, and the line or rule that decides. The
 * caller frees `json` by airgap_string_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_explanation_to_json(const airgap_explanation_t *explanation,
                                           char **json,
                                           airgap_error_t **error);

/**
 * Frees an explanation. NULL is fine.
 *
 * Threads: any, while no other uses the explanation.
 */
void airgap_explanation_free(airgap_explanation_t *explanation);

/**
 * Makes a kernel for tests with an empty ruleset and the loopback device. The
 * caller frees `kernel` by airgap_fake_kernel_free.
 *
 * Errors: AIRGAP_ERROR_IO when there can be no folder for temporary files.
 * Threads: any.
 */
airgap_status_t airgap_fake_kernel_new(airgap_fake_kernel_t **kernel,
                                       airgap_error_t **error);

/**
 * A host whose kernel is a fake. Several hosts may have the same one, which
 * lives as long as the last of them. The caller frees `host` by
 * airgap_host_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_host_fake(const airgap_fake_kernel_t *kernel,
                                 airgap_host_t **host,
                                 airgap_error_t **error);

/**
 * The next `times` requests are refused with this error number: EPERM as
 * without rights, ERESTART as while another program changes the ruleset, any
 * other as the kernel's answer to the first operation of an apply.
 *
 * Errors: AIRGAP_ERROR_ARGUMENT for a number that is no error's, and for more
 * than 1,000,000 times. Threads: any.
 */
airgap_status_t airgap_fake_kernel_refuse(const airgap_fake_kernel_t *kernel,
                                          int error_number,
                                          size_t times,
                                          airgap_error_t **error);

/**
 * The next request ends in a panic inside the library, which comes back as
 * AIRGAP_ERROR_PANIC.
 *
 * Threads: any.
 */
airgap_status_t airgap_fake_kernel_panic(const airgap_fake_kernel_t *kernel,
                                         airgap_error_t **error);

/**
 * Frees the handle of a kernel for tests. NULL is fine. Its hosts live on.
 *
 * Threads: any, while no other uses the handle.
 */
void airgap_fake_kernel_free(airgap_fake_kernel_t *kernel);

/**
 * Compiles a policy: what would be loaded by a host, or with NULL for `host`
 * by the network namespace in which the caller runs, which then need not have
 * nf_tables. Nothing is changed. The caller frees `graph` by
 * airgap_graph_free.
 *
 * Errors: AIRGAP_ERROR_UNRESOLVED. Threads: any.
 */
airgap_status_t airgap_policy_compile(const airgap_policy_t *policy,
                                      const airgap_host_t *host,
                                      airgap_graph_t **graph,
                                      airgap_error_t **error);

/**
 * Writes a rule graph out as `format`, a number of airgap_format_t. The caller
 * frees `text` by airgap_string_free.
 *
 * Errors: AIRGAP_ERROR_ARGUMENT for another format. Threads: any.
 */
airgap_status_t airgap_graph_show(const airgap_graph_t *graph,
                                  int32_t format,
                                  char **text,
                                  airgap_error_t **error);

/**
 * Frees a rule graph. NULL is fine.
 *
 * Threads: any, while no other uses the graph.
 */
void airgap_graph_free(airgap_graph_t *graph);

/**
 * Opens the network namespace in which the caller runs. The caller frees
 * `host` by airgap_host_free.
 *
 * Errors: AIRGAP_ERROR_NO_NF_TABLES, AIRGAP_ERROR_NOT_PERMITTED. Threads: any;
 * a thread that entered another namespace opens that one.
 */
airgap_status_t airgap_host_open(airgap_host_t **host, airgap_error_t **error);

/**
 * Opens another network namespace: a name of ip-netns(8), or a path such as
 * `/proc/PID/ns/net`. Calls on it leave the caller's threads where they are.
 * The caller frees `host` by airgap_host_free.
 *
 * Errors: AIRGAP_ERROR_IO when there is no such namespace,
 * AIRGAP_ERROR_NO_NF_TABLES, AIRGAP_ERROR_NOT_PERMITTED. Threads: any.
 */
airgap_status_t airgap_host_open_netns(const char *netns,
                                       size_t length,
                                       airgap_host_t **host,
                                       airgap_error_t **error);

/**
 * What would change if the policy were applied. Nothing is changed. The caller
 * frees `plan` by airgap_plan_free.
 *
 * Errors: AIRGAP_ERROR_UNRESOLVED, AIRGAP_ERROR_NOT_PERMITTED,
 * AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO. Threads: any.
 */
airgap_status_t airgap_host_plan(const airgap_host_t *host,
                                 const airgap_policy_t *policy,
                                 airgap_plan_t **plan,
                                 airgap_error_t **error);

/**
 * Loads what was planned in one transaction, and reads it back. If another
 * program changed the ruleset since the plan, the difference is taken anew.
 * `options` may be NULL; `applied` may be NULL where nobody asks.
 *
 * With `confirm_within`, a process waits for the time before anything is
 * loaded. It outlives the caller: a copy of it in a session of its own, or a
 * transient unit of systemd that runs the command `airgap`. The caller need
 * not wait for it.
 *
 * Errors: AIRGAP_ERROR_LOCKOUT, AIRGAP_ERROR_PENDING, AIRGAP_ERROR_IRREVERSIBLE, AIRGAP_ERROR_KERNEL, AIRGAP_ERROR_BATCH_TOO_LARGE,
 * AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_NOT_PERMITTED with nothing changed;
 * AIRGAP_ERROR_READ_BACK with the ruleset changed; AIRGAP_ERROR_IO says itself
 * which. Threads: any.
 */
airgap_status_t airgap_host_apply(const airgap_host_t *host,
                                  const airgap_plan_t *plan,
                                  const airgap_apply_options_t *options,
                                  airgap_applied_t *applied,
                                  airgap_error_t **error);

/**
 * Keeps the policy that is pending: it counts after a reboot too.
 *
 * Errors: AIRGAP_ERROR_NOTHING_PENDING; AIRGAP_ERROR_READ_BACK when it is no
 * longer what is loaded; AIRGAP_ERROR_IO when it cannot be kept on the disk,
 * and is still pending; AIRGAP_ERROR_NOT_PERMITTED. Threads: any.
 */
airgap_status_t airgap_host_confirm(const airgap_host_t *host,
                                    airgap_error_t **error);

/**
 * Takes the policy that is pending back now: what was there before is loaded
 * again, exactly.
 *
 * Errors: AIRGAP_ERROR_NOTHING_PENDING; AIRGAP_ERROR_ROLLBACK when what was
 * there before can no longer be loaded; AIRGAP_ERROR_CONFLICT, and it is still
 * pending; AIRGAP_ERROR_NOT_PERMITTED. Threads: any.
 */
airgap_status_t airgap_host_rollback(const airgap_host_t *host,
                                     airgap_error_t **error);

/**
 * The state of the air gap as JSON, as `airgap status --output json` prints
 * it: whether the host is sealed, by which policy, since when, what was
 * dropped, drift, what is pending. With `full`, sets of more than 10,000 elements are compared
 * one by one too. The caller frees `json` by airgap_string_free.
 *
 * Errors: AIRGAP_ERROR_NOT_PERMITTED, AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO.
 * Threads: any.
 */
airgap_status_t airgap_host_status(const airgap_host_t *host,
                                   bool full,
                                   char **json,
                                   airgap_error_t **error);

/**
 * The whole ruleset that is loaded, tables of other programs too. The caller
 * frees `graph` by airgap_graph_free.
 *
 * Errors: AIRGAP_ERROR_NOT_PERMITTED, AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO.
 * Threads: any.
 */
airgap_status_t airgap_host_live(const airgap_host_t *host,
                                 airgap_graph_t **graph,
                                 airgap_error_t **error);

/**
 * Takes the air gap away; the host is then as open as its other tables leave
 * it. `removed` tells whether there was one; NULL where nobody asks.
 *
 * Errors: AIRGAP_ERROR_KERNEL, AIRGAP_ERROR_NOT_PERMITTED,
 * AIRGAP_ERROR_CONFLICT with nothing changed; AIRGAP_ERROR_IO. Threads: any.
 */
airgap_status_t airgap_host_remove(const airgap_host_t *host,
                                   bool *removed,
                                   airgap_error_t **error);

/**
 * Frees a host. NULL is fine. What is loaded stays loaded.
 *
 * Threads: any, while no other uses the host.
 */
void airgap_host_free(airgap_host_t *host);

/**
 * Whether anything is to be done; false for NULL. A plan can have something
 * to do though no opening changes, when the ruleset was altered otherwise.
 *
 * Threads: any.
 */
bool airgap_plan_changed(const airgap_plan_t *plan);

/**
 * How many openings come, go or change; 0 for NULL.
 *
 * Threads: any.
 */
size_t airgap_plan_change_count(const airgap_plan_t *plan);

/**
 * Reads one change of a plan, counted from 0. The texts stay the plan's, and
 * are valid until it is freed.
 *
 * Errors: AIRGAP_ERROR_ARGUMENT when there is none of that number, or `size`
 * is not set. Threads: any.
 */
airgap_status_t airgap_plan_change(const airgap_plan_t *plan,
                                   size_t index,
                                   airgap_change_t *change,
                                   airgap_error_t **error);

/**
 * What is legal and probably wrong in the plan's policy, by itself and on this
 * host; an empty list where nothing is. The caller frees `warnings` by
 * airgap_diagnostics_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_plan_warnings(const airgap_plan_t *plan,
                                     airgap_diagnostics_t **warnings,
                                     airgap_error_t **error);

/**
 * What the kernel would hold. The caller frees `graph` by airgap_graph_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_plan_graph(const airgap_plan_t *plan,
                                  airgap_graph_t **graph,
                                  airgap_error_t **error);

/**
 * The plan as JSON, as `airgap plan --output json` prints it: the changes,
 * what names stand for, and what chains of other programs could drop. The
 * caller frees `json` by airgap_string_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_plan_to_json(const airgap_plan_t *plan,
                                    char **json,
                                    airgap_error_t **error);

/**
 * Frees a plan. NULL is fine.
 *
 * Threads: any, while no other uses the plan.
 */
void airgap_plan_free(airgap_plan_t *plan);

/**
 * Reads a policy from `length` bytes of TOML. Messages call it `<policy>`.
 * The caller frees `policy` by airgap_policy_free.
 *
 * Errors: AIRGAP_ERROR_POLICY with every mistake of the text, also where it
 * is not UTF-8. Threads: any.
 */
airgap_status_t airgap_policy_from_toml(const char *toml,
                                        size_t length,
                                        airgap_policy_t **policy,
                                        airgap_error_t **error);

/**
 * Reads a policy from `length` bytes of JSON. Messages call it `<policy>`.
 * The caller frees `policy` by airgap_policy_free.
 *
 * Errors: AIRGAP_ERROR_POLICY with every mistake of the text, also where it
 * is not UTF-8. Threads: any.
 */
airgap_status_t airgap_policy_from_json(const char *json,
                                        size_t length,
                                        airgap_policy_t **policy,
                                        airgap_error_t **error);

/**
 * Reads a policy from a file: JSON where the path ends in `.json`, else TOML;
 * `-` is standard input. The caller frees `policy` by airgap_policy_free.
 *
 * Errors: AIRGAP_ERROR_POLICY with every mistake of the file, or why it cannot
 * be read. Threads: any.
 */
airgap_status_t airgap_policy_load(const char *path,
                                   size_t length,
                                   airgap_policy_t **policy,
                                   airgap_error_t **error);

/**
 * What is legal and probably wrong in a policy; an empty list where nothing
 * is. What only the host can tell is in airgap_plan_warnings. The caller frees
 * `warnings` by airgap_diagnostics_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_policy_warnings(const airgap_policy_t *policy,
                                       airgap_diagnostics_t **warnings,
                                       airgap_error_t **error);

/**
 * The policy as JSON, in the form that its hash is taken of. The caller frees
 * `json` by airgap_string_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_policy_to_json(const airgap_policy_t *policy,
                                      char **json,
                                      airgap_error_t **error);

/**
 * The SHA-256 of the policy's JSON in lowercase hex, as airgap_host_status
 * tells it of the policy that is loaded. Policies that say the same in the
 * same order have the same hash. The caller frees `hash` by
 * airgap_string_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_policy_hash(const airgap_policy_t *policy,
                                   char **hash,
                                   airgap_error_t **error);

/**
 * Frees a policy. NULL is fine. Plans that were made of it live on.
 *
 * Threads: any, while no other uses the policy.
 */
void airgap_policy_free(airgap_policy_t *policy);

/**
 * The name of a status in lowercase words, such as `ok` or `not-permitted`, as
 * in the `code` of the command's JSON. `unknown` for a number that is none of
 * this version. Owned by the library, never freed.
 *
 * Threads: any.
 */
const char *airgap_status_name(int32_t status);

/**
 * Proves that what would be loaded opens exactly what a policy states: by a
 * host, or with NULL for `host` by the network namespace in which the caller
 * runs, which needs no rights. The caller frees `verification` by
 * airgap_verification_free.
 *
 * Errors: AIRGAP_ERROR_UNRESOLVED, AIRGAP_ERROR_IO. Threads: any.
 */
airgap_status_t airgap_verify(const airgap_policy_t *policy,
                              const airgap_host_t *host,
                              airgap_verification_t **verification,
                              airgap_error_t **error);

/**
 * Proves that what the kernel holds opens exactly what a policy states. The
 * caller frees `verification` by airgap_verification_free.
 *
 * Errors: AIRGAP_ERROR_UNRESOLVED, AIRGAP_ERROR_NOT_PERMITTED,
 * AIRGAP_ERROR_CONFLICT, AIRGAP_ERROR_IO. Threads: any.
 */
airgap_status_t airgap_host_verify(const airgap_host_t *host,
                                   const airgap_policy_t *policy,
                                   airgap_verification_t **verification,
                                   airgap_error_t **error);

/**
 * What was found. AIRGAP_RESULT_COUNTEREXAMPLE for NULL.
 *
 * Threads: any.
 */
airgap_result_t airgap_verification_result(const airgap_verification_t *verification);

/**
 * What was found as JSON, as `airgap verify --output json` prints it: with the
 * packet that differs, or with what could not be decided. The caller frees
 * `json` by airgap_string_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_verification_to_json(const airgap_verification_t *verification,
                                            char **json,
                                            airgap_error_t **error);

/**
 * Frees what a verification found. NULL is fine.
 *
 * Threads: any, while no other uses it.
 */
void airgap_verification_free(airgap_verification_t *verification);

/**
 * The version of the library in use, such as `0.1.0`. Owned by the library,
 * never freed.
 *
 * Threads: any.
 */
const char *airgap_version(void);

/**
 * The ABI of the library in use; the number in its soname. A program that
 * opens the library by dlopen(3) compares it with AIRGAP_ABI_VERSION.
 *
 * Threads: any.
 */
uint32_t airgap_abi_version(void);

/**
 * The JSON Schema of policies, by which editors complete them. The caller
 * frees `json` by airgap_string_free.
 *
 * Threads: any.
 */
airgap_status_t airgap_schema(char **json, airgap_error_t **error);

/**
 * Frees a text that a function gave to the caller. NULL is fine.
 *
 * Threads: any, while no other uses the text.
 */
void airgap_string_free(char *string);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* AIRGAP_H */
