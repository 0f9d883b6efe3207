//! The fake kernel beside the real one, which answers from a network namespace
//! that the test makes (as root): the same error numbers for the same
//! messages, and the same ruleset after them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use mnl::Bus;
use nftnl::nftnl_sys::libc::{self, EBUSY, EEXIST, EINVAL, EMLINK, ENFILE, ENOENT, EOPNOTSUPP};
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{BATCH_BEGIN, BATCH_END, BATCH_GENID, FakeKernel};
use crate::graph::RuleGraph;
use crate::netlink::attr::Writer;
use crate::netlink::batch::{SET_INTERVAL, attr};
use crate::netlink::elements::ELEM_INTERVAL_END;
use crate::netlink::socket::messages;
use crate::netlink::wire::Wire;
use crate::netlink::{Depth, Device, Kernel};
use crate::{Error, ErrorKind, Host, Policy};

const INET: u8 = 1;
const NONE: i32 = 0;
const EXCL: i32 = libc::NLM_F_EXCL;

/// A message for nf_tables about objects of few names.
#[derive(Debug, Clone)]
enum Op {
    Table(&'static str, i32),
    DeleteTable(&'static str),
    Chain(&'static str, &'static str, i32),
    Base(&'static str, &'static str, u32),
    DeleteChain(&'static str, &'static str),
    /// A rule that jumps.
    Jump(&'static str, &'static str, &'static str),
    /// A rule that looks up.
    Lookup(&'static str, &'static str, &'static str),
    Flush(&'static str, &'static str),
    DeleteRule(&'static str, &'static str, u64),
    /// A set of IPv4 addresses, with room for so many.
    Set(&'static str, &'static str, Option<u32>, i32),
    /// The same of ranges.
    Ranges(&'static str, &'static str),
    /// Without the number that a set needs.
    SetWithoutId(&'static str, &'static str),
    DeleteSet(&'static str, &'static str),
    Add(&'static str, &'static str, Vec<u32>, i32),
    Remove(&'static str, &'static str, Vec<u32>),
    /// Ranges from a number up to the other, which is not in it.
    AddRanges(&'static str, &'static str, Vec<(u32, u32)>),
}

fn key(list: &mut Writer, number: u32, flags: u32) {
    list.nest(attr::LIST_ELEM, |w| {
        w.nest(attr::ELEM_KEY, |w| {
            w.be32(attr::DATA_VALUE, number);
        });
        if flags != 0 {
            w.be32(attr::ELEM_FLAGS, flags);
        }
    });
}

fn expression(list: &mut Writer, name: &str, fill: impl FnOnce(&mut Writer)) {
    list.nest(attr::LIST_ELEM, |w| {
        w.text(1, name).nest(2, fill);
    });
}

impl Op {
    /// The type, the flags beside NLM_F_REQUEST, and the attributes.
    fn encode(&self) -> (i32, i32, Writer) {
        let mut w = Writer::default();
        let create = libc::NLM_F_CREATE;
        let append = create | libc::NLM_F_APPEND;
        let set = |w: &mut Writer, table: &str, name: &str, flags: u32| {
            w.text(attr::SET_TABLE, table)
                .text(attr::SET_NAME, name)
                .be32(attr::SET_FLAGS, flags)
                .be32(attr::SET_KEY_TYPE, 7)
                .be32(attr::SET_KEY_LEN, 4);
        };
        let (kind, flags) = match self {
            Op::Table(table, excl) => {
                w.text(attr::TABLE_NAME, table);
                (libc::NFT_MSG_NEWTABLE, create | excl)
            }
            Op::DeleteTable(table) => {
                w.text(attr::TABLE_NAME, table);
                (libc::NFT_MSG_DELTABLE, 0)
            }
            Op::Chain(table, chain, excl) => {
                w.text(attr::CHAIN_TABLE, table)
                    .text(attr::CHAIN_NAME, chain);
                (libc::NFT_MSG_NEWCHAIN, create | excl)
            }
            Op::Base(table, chain, priority) => {
                w.text(attr::CHAIN_TABLE, table)
                    .text(attr::CHAIN_NAME, chain)
                    .nest(attr::CHAIN_HOOK, |w| {
                        w.be32(attr::HOOK_HOOKNUM, 1)
                            .be32(attr::HOOK_PRIORITY, *priority);
                    })
                    .be32(attr::CHAIN_POLICY, 1)
                    .text(attr::CHAIN_TYPE, "filter");
                (libc::NFT_MSG_NEWCHAIN, create)
            }
            Op::DeleteChain(table, chain) => {
                w.text(attr::CHAIN_TABLE, table)
                    .text(attr::CHAIN_NAME, chain);
                (libc::NFT_MSG_DELCHAIN, 0)
            }
            Op::Jump(table, chain, target) => {
                w.text(attr::RULE_TABLE, table)
                    .text(attr::RULE_CHAIN, chain)
                    .nest(attr::RULE_EXPRESSIONS, |w| {
                        // NFT_JUMP is -3.
                        expression(w, "immediate", |w| {
                            w.be32(1, 0).nest(2, |w| {
                                w.nest(2, |w| {
                                    w.be32(1, (-3i32).cast_unsigned()).text(2, target);
                                });
                            });
                        });
                    });
                (libc::NFT_MSG_NEWRULE, append)
            }
            Op::Lookup(table, chain, set) => {
                w.text(attr::RULE_TABLE, table)
                    .text(attr::RULE_CHAIN, chain)
                    .nest(attr::RULE_EXPRESSIONS, |w| {
                        // The source address of IPv4 to register 1.
                        expression(w, "payload", |w| {
                            w.be32(1, 1).be32(2, 1).be32(3, 12).be32(4, 4);
                        });
                        expression(w, "lookup", |w| {
                            w.text(1, set).be32(2, 1);
                        });
                    });
                (libc::NFT_MSG_NEWRULE, append)
            }
            Op::Flush(table, chain) => {
                w.text(attr::RULE_TABLE, table)
                    .text(attr::RULE_CHAIN, chain);
                (libc::NFT_MSG_DELRULE, 0)
            }
            Op::DeleteRule(table, chain, handle) => {
                w.text(attr::RULE_TABLE, table)
                    .text(attr::RULE_CHAIN, chain)
                    .be64(attr::RULE_HANDLE, *handle);
                (libc::NFT_MSG_DELRULE, 0)
            }
            Op::Set(table, name, size, excl) => {
                set(&mut w, table, name, 0);
                w.be32(attr::SET_ID, 1).nest(attr::SET_DESC, |w| {
                    if let Some(size) = size {
                        w.be32(attr::SET_DESC_SIZE, *size);
                    }
                });
                (libc::NFT_MSG_NEWSET, create | excl)
            }
            Op::Ranges(table, name) => {
                set(&mut w, table, name, SET_INTERVAL);
                w.be32(attr::SET_ID, 1);
                (libc::NFT_MSG_NEWSET, create)
            }
            Op::SetWithoutId(table, name) => {
                set(&mut w, table, name, 0);
                (libc::NFT_MSG_NEWSET, create)
            }
            Op::DeleteSet(table, name) => {
                w.text(attr::SET_TABLE, table).text(attr::SET_NAME, name);
                (libc::NFT_MSG_DELSET, 0)
            }
            Op::Add(table, name, keys, _) | Op::Remove(table, name, keys) => {
                w.text(attr::ELEM_LIST_TABLE, table)
                    .text(attr::ELEM_LIST_SET, name)
                    .nest(attr::ELEM_LIST_ELEMENTS, |w| {
                        keys.iter().for_each(|number| key(w, *number, 0));
                    });
                match self {
                    Op::Add(_, _, _, excl) => (libc::NFT_MSG_NEWSETELEM, create | excl),
                    _ => (libc::NFT_MSG_DELSETELEM, 0),
                }
            }
            Op::AddRanges(table, name, ranges) => {
                w.text(attr::ELEM_LIST_TABLE, table)
                    .text(attr::ELEM_LIST_SET, name)
                    .nest(attr::ELEM_LIST_ELEMENTS, |w| {
                        for (start, end) in ranges {
                            key(w, *start, 0);
                            key(w, *end, ELEM_INTERVAL_END);
                        }
                    });
                (libc::NFT_MSG_NEWSETELEM, create)
            }
        };
        (libc::NFNL_SUBSYS_NFTABLES << 8 | kind, flags, w)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // types and flags
fn push(
    batch: &mut Vec<u8>,
    (kind, flags, sequence): (i32, i32, u32),
    family: &[u8; 4],
    a: &Writer,
) {
    batch.extend_from_slice(&((20 + a.0.len()) as u32).to_ne_bytes());
    batch.extend_from_slice(&(kind as u16).to_ne_bytes());
    batch.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
    batch.extend_from_slice(&sequence.to_ne_bytes());
    batch.extend_from_slice(&[0; 4]);
    batch.extend_from_slice(family);
    batch.extend_from_slice(&a.0);
}

/// The number of each operation that was refused, and why. The first has
/// number 1; 0 is the batch itself.
type Refusals = Vec<(u32, i32)>;

/// Sends one batch to the kernel of this thread.
fn send(ops: &[Op], generation: u32) -> Refusals {
    let mut batch = Vec::new();
    let nf_tables = [0, 0, 0, 10];
    let mut begin = Writer::default();
    begin.be32(BATCH_GENID, generation);
    push(&mut batch, (BATCH_BEGIN, 0, 0), &nf_tables, &begin);
    for (number, op) in (1..).zip(ops) {
        let (kind, flags, attributes) = op.encode();
        push(
            &mut batch,
            (kind, flags, number),
            &[INET, 0, 0, 0],
            &attributes,
        );
    }
    push(
        &mut batch,
        (BATCH_END, 0, 0),
        &nf_tables,
        &Writer::default(),
    );
    let wire = Wire::open(Bus::Netfilter).unwrap();
    wire.send(&batch).unwrap();
    let mut refusals = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = wire.receive_now(&mut buffer) {
        for message in messages(buffer.get(..length).unwrap()) {
            if let Some(error) = message.error() {
                refusals.push((message.sequence, error.errno));
            }
        }
    }
    refusals
}

/// What a kernel answers to batches, and what it holds then.
fn answers(batches: &[Vec<Op>]) -> (Vec<Refusals>, RuleGraph) {
    let refusals = batches.iter().map(|ops| send(ops, 0)).collect();
    let graph = Kernel::open().unwrap().read(false, Depth::Full).unwrap().0;
    for table in &graph.tables {
        let name: &'static str = if table.name == "t" { "t" } else { "u" };
        assert_eq!(send(&[Op::DeleteTable(name)], 0), []);
    }
    (refusals, graph)
}

/// Does work in a thread with a network namespace of its own.
fn in_a_namespace<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| {
            panic!("this test makes a network namespace, for which it needs to be root: {e}")
        });
        send.send(work()).unwrap();
    });
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    receive.recv().unwrap()
}

fn fake_answers(batches: &[Vec<Op>]) -> (Vec<Refusals>, RuleGraph) {
    FakeKernel::new().unwrap().enter(|| answers(batches))
}

/// Cases, each some batches and what the last is refused with.
fn cases() -> Vec<(Vec<Vec<Op>>, Refusals)> {
    use Op::*;
    let table = || Table("t", NONE);
    let small = || vec![table(), Set("t", "s", Some(2), NONE)];
    let ranges = || {
        vec![
            table(),
            Ranges("t", "r"),
            AddRanges("t", "r", vec![(10, 20), (30, 40)]),
        ]
    };
    let looked_up = || {
        vec![
            table(),
            Set("t", "s", None, NONE),
            Chain("t", "c", NONE),
            Lookup("t", "c", "s"),
        ]
    };
    let jumped_to = || {
        vec![
            table(),
            Chain("t", "c", NONE),
            Chain("t", "d", NONE),
            Jump("t", "c", "d"),
        ]
    };
    vec![
        (vec![vec![table()]], vec![]),
        (vec![vec![table()], vec![table()]], vec![]),
        (
            vec![vec![table()], vec![Table("t", EXCL)]],
            vec![(1, EEXIST)],
        ),
        (vec![vec![DeleteTable("t")]], vec![(1, ENOENT)]),
        (
            vec![vec![table(), DeleteTable("t"), DeleteTable("t")]],
            vec![(3, ENOENT)],
        ),
        (vec![vec![Chain("t", "c", NONE)]], vec![(1, ENOENT)]),
        (
            vec![
                vec![table(), Chain("t", "c", NONE)],
                vec![Chain("t", "c", EXCL)],
            ],
            vec![(1, EEXIST)],
        ),
        (
            vec![
                vec![table(), Chain("t", "c", NONE)],
                vec![Chain("t", "c", NONE)],
            ],
            vec![],
        ),
        (
            vec![vec![table(), Base("t", "b", 0)], vec![Base("t", "b", 0)]],
            vec![],
        ),
        (
            vec![vec![table(), Base("t", "b", 0)], vec![Base("t", "b", 5)]],
            vec![(1, EOPNOTSUPP)],
        ),
        (
            vec![
                vec![table(), Chain("t", "c", NONE)],
                vec![Base("t", "c", 0)],
            ],
            vec![(1, EOPNOTSUPP)],
        ),
        (
            vec![vec![table(), DeleteChain("t", "c")]],
            vec![(2, ENOENT)],
        ),
        (
            vec![vec![table(), Lookup("t", "c", "s")]],
            vec![(2, ENOENT)],
        ),
        (
            vec![vec![table(), Chain("t", "c", NONE), Lookup("t", "c", "s")]],
            vec![(3, ENOENT)],
        ),
        (
            vec![vec![table(), Chain("t", "c", NONE), Jump("t", "c", "d")]],
            vec![(3, ENOENT)],
        ),
        (
            vec![vec![
                table(),
                Chain("t", "c", NONE),
                Base("t", "b", 0),
                Jump("t", "c", "b"),
            ]],
            vec![(4, EOPNOTSUPP)],
        ),
        (vec![jumped_to()], vec![]),
        (
            vec![jumped_to(), vec![DeleteChain("t", "d")]],
            vec![(1, EBUSY)],
        ),
        (
            vec![
                jumped_to(),
                vec![DeleteChain("t", "c"), DeleteChain("t", "d")],
            ],
            vec![],
        ),
        (
            vec![jumped_to(), vec![Flush("t", "c"), DeleteChain("t", "d")]],
            vec![],
        ),
        (
            vec![jumped_to(), vec![DeleteRule("t", "c", 999)]],
            vec![(1, ENOENT)],
        ),
        (
            vec![
                jumped_to(),
                vec![Base("t", "b", 0), Jump("t", "d", "c"), Jump("t", "b", "c")],
            ],
            vec![(3, EMLINK)],
        ),
        (vec![vec![Flush("t", "c")]], vec![(1, ENOENT)]),
        (vec![vec![table(), Flush("t", "c")]], vec![(2, ENOENT)]),
        (vec![looked_up()], vec![]),
        (
            vec![looked_up(), vec![DeleteSet("t", "s")]],
            vec![(1, EBUSY)],
        ),
        (
            vec![looked_up(), vec![Flush("t", "c"), DeleteSet("t", "s")]],
            vec![],
        ),
        (vec![looked_up(), vec![DeleteTable("t")]], vec![]),
        (
            vec![vec![table(), SetWithoutId("t", "s")]],
            vec![(2, EINVAL)],
        ),
        (vec![vec![Set("t", "s", None, NONE)]], vec![(1, ENOENT)]),
        (vec![small(), vec![Set("t", "s", Some(2), NONE)]], vec![]),
        (
            vec![small(), vec![Set("t", "s", Some(2), EXCL)]],
            vec![(1, EEXIST)],
        ),
        (vec![small(), vec![Ranges("t", "s")]], vec![(1, EEXIST)]),
        (vec![small(), vec![Add("t", "s", vec![1, 2], NONE)]], vec![]),
        (
            vec![small(), vec![Add("t", "s", vec![1, 2, 3], NONE)]],
            vec![(1, ENFILE)],
        ),
        (
            vec![
                small(),
                vec![Add("t", "s", vec![1], NONE)],
                vec![Add("t", "s", vec![1], NONE)],
            ],
            vec![],
        ),
        (
            vec![
                small(),
                vec![Add("t", "s", vec![1], NONE)],
                vec![Add("t", "s", vec![1], EXCL)],
            ],
            vec![(1, EEXIST)],
        ),
        (
            vec![small(), vec![Remove("t", "s", vec![1])]],
            vec![(1, ENOENT)],
        ),
        (
            vec![
                small(),
                vec![Add("t", "s", vec![1, 2], NONE)],
                vec![Remove("t", "s", vec![1])],
            ],
            vec![],
        ),
        (
            vec![small(), vec![Add("t", "nosuch", vec![1], NONE)]],
            vec![(1, ENOENT)],
        ),
        (vec![vec![Add("t", "s", vec![1], NONE)]], vec![(1, ENOENT)]),
        (vec![ranges()], vec![]),
        (
            vec![ranges(), vec![AddRanges("t", "r", vec![(10, 20)])]],
            vec![],
        ),
        (
            vec![ranges(), vec![AddRanges("t", "r", vec![(20, 30)])]],
            vec![],
        ),
        (
            vec![ranges(), vec![AddRanges("t", "r", vec![(15, 25)])]],
            vec![(1, EEXIST)],
        ),
        (
            vec![ranges(), vec![AddRanges("t", "r", vec![(12, 15)])]],
            vec![(1, EEXIST)],
        ),
        (
            vec![ranges(), vec![AddRanges("t", "r", vec![(5, 50)])]],
            vec![(1, EEXIST)],
        ),
        // Each mistake of a batch is told, and nothing of it is done.
        (
            vec![vec![
                table(),
                Chain("u", "c", NONE),
                DeleteSet("t", "s"),
                Chain("t", "c", NONE),
            ]],
            vec![(2, ENOENT), (3, ENOENT)],
        ),
    ]
}

#[test]
fn it_answers_as_the_real_kernel_does() {
    let real = in_a_namespace(|| {
        cases()
            .into_iter()
            .map(|(batches, _)| answers(&batches))
            .collect::<Vec<_>>()
    });
    for ((batches, expected), real) in cases().into_iter().zip(real) {
        assert_eq!(
            real.0.last(),
            Some(&expected),
            "the real kernel, of {batches:?}"
        );
        assert_eq!(
            fake_answers(&batches),
            real,
            "the fake kernel, of {batches:?}"
        );
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    let table = || prop_oneof![9 => Just("t"), 1 => Just("u")];
    let chain = || prop_oneof![Just("c"), Just("d"), Just("e")];
    let any_chain = || prop_oneof![4 => chain(), 1 => Just("b")];
    let set = || prop_oneof![Just("s"), Just("q")];
    let keys = || prop::collection::vec(0u32..6, 1..4);
    let excl = || prop_oneof![4 => Just(NONE), 1 => Just(EXCL)];
    prop_oneof![
        2 => (table(), excl()).prop_map(|(t, e)| Op::Table(t, e)),
        1 => table().prop_map(Op::DeleteTable),
        4 => (table(), chain(), excl()).prop_map(|(t, c, e)| Op::Chain(t, c, e)),
        2 => (table(), 0u32..2).prop_map(|(t, p)| Op::Base(t, "b", p)),
        3 => (table(), any_chain()).prop_map(|(t, c)| Op::DeleteChain(t, c)),
        // One way only: a circle is a case of its own above.
        5 => (table(), any_chain(), chain()).prop_filter("a circle", |(_, c, d)| c < d).prop_map(|(t, c, d)| Op::Jump(t, c, d)),
        5 => (table(), any_chain(), set()).prop_map(|(t, c, s)| Op::Lookup(t, c, s)),
        2 => (table(), any_chain()).prop_map(|(t, c)| Op::Flush(t, c)),
        4 => (table(), set(), prop::option::of(2u32..4), excl()).prop_map(|(t, s, n, e)| Op::Set(t, s, n, e)),
        3 => (table(), set()).prop_map(|(t, s)| Op::DeleteSet(t, s)),
        5 => (table(), set(), keys(), excl()).prop_map(|(t, s, k, e)| Op::Add(t, s, k, e)),
        3 => (table(), set(), keys()).prop_map(|(t, s, k)| Op::Remove(t, s, k)),
    ]
}

#[test]
fn it_answers_any_messages_as_the_real_kernel_does() {
    in_a_namespace(|| {
        let batches = prop::collection::vec(prop::collection::vec(any_op(), 1..8), 1..8);
        let mut runner = TestRunner::new(Config {
            cases: 150,
            failure_persistence: None,
            ..Config::default()
        });
        runner
            .run(&batches, |mut batches| {
                // Without a table there is nothing to talk about.
                batches.insert(0, vec![Op::Table("t", NONE)]);
                let real = answers(&batches);
                prop_assert_eq!(fake_answers(&batches), real);
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn a_batch_for_another_generation_is_refused_by_both() {
    let stale = || {
        send(&[Op::Table("t", NONE)], 0);
        let now = Kernel::open().unwrap().generation().unwrap();
        let refused = send(&[Op::Table("u", NONE)], now.wrapping_add(7));
        (refused, send(&[Op::Table("u", NONE)], now))
    };
    let expected = (vec![(0, libc::ERESTART)], vec![]);
    assert_eq!(in_a_namespace(stale), expected);
    assert_eq!(FakeKernel::new().unwrap().enter(stale), expected);
}

fn policies() -> Vec<Policy> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths: Vec<_> = std::fs::read_dir(root.join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    assert!(paths.len() > 4, "the examples are not where they were");
    paths.push(root.join("tests/lab/policy.toml"));
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    // Users and names of the examples are not those of this host.
    let local = |path: &Path| text(path).replace("user = \"connector\"", "user = \"root\"");
    paths
        .iter()
        .map(|path| Policy::from_toml(&local(path)).unwrap())
        .collect()
}

#[test]
fn what_the_examples_load_is_read_back_from_it() {
    let kernel = FakeKernel::new().unwrap();
    let host = Host::fake(&kernel);
    let mut loaded = 0;
    for policy in policies() {
        let plan = match host.plan(&policy) {
            Err(Error::Unresolved(_)) => continue,
            plan => plan.unwrap(),
        };
        assert!(plan.changed());
        assert!(host.apply(&plan).unwrap().changed);
        assert!(!host.plan(&policy).unwrap().changed());
        let status = host.status(true).unwrap();
        assert_eq!((status.sealed, status.drift), (true, vec![]));
        assert_eq!(status.hash.as_deref(), Some(policy.hash()));
        loaded += 1;
    }
    assert!(loaded > 4, "only {loaded} examples could be loaded");
    assert!(host.remove().unwrap());
    assert!(!host.status(false).unwrap().sealed);
}

#[test]
fn what_it_is_told_to_refuse_is_refused() {
    let kernel = FakeKernel::new().unwrap();
    let host = Host::fake(&kernel);
    let policy =
        Policy::from_toml("version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 443\n").unwrap();
    let plan = host.plan(&policy).unwrap();
    let kind = |errno, times| {
        kernel.refuse(errno, times);
        host.apply(&plan).unwrap_err().kind()
    };
    assert_eq!(kind(libc::EPERM, 1), ErrorKind::NotPermitted);
    assert_eq!(kind(libc::ENOMEM, 1), ErrorKind::Kernel);
    assert_eq!(kind(libc::ERESTART, 1000), ErrorKind::Conflict);
    assert!(!host.status(false).unwrap().sealed, "nothing was changed");
    let kernel = FakeKernel::new().unwrap();
    kernel.refuse(libc::ERESTART, 3);
    assert_eq!(Host::fake(&kernel).apply(&plan).unwrap().retries, 3);
}

#[test]
fn what_goes_while_it_is_read_is_no_error() {
    let kernel = FakeKernel::new().unwrap();
    let host = Host::fake(&kernel);
    let policy =
        Policy::from_toml("version = 1\n[[allow]]\nto = \"192.0.2.1\"\nport = 443\n").unwrap();
    let plan = host.plan(&policy).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|threads| {
        let reader = threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                match host.live() {
                    Ok(_) | Err(Error::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        for _ in 0..20 {
            host.apply(&plan).unwrap();
            host.remove().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn it_has_the_devices_that_it_is_given() {
    let kernel = FakeKernel::new().unwrap();
    let device = |name: &str, index, kind: Option<&str>, address: &str| Device {
        name: name.to_owned(),
        index,
        kind: kind.map(str::to_owned),
        master: None,
        addresses: vec![address.parse().unwrap()],
        default_route: kind.is_none(),
    };
    let devices = vec![
        device("eth0", 2, None, "192.0.2.7/24"),
        device("docker0", 3, Some("bridge"), "2001:db8::1/64"),
    ];
    kernel.set_devices(devices.clone());
    assert_eq!(kernel.enter(crate::netlink::devices).unwrap(), devices);
}
