"""What the answers are made of."""

from __future__ import annotations

from dataclasses import dataclass

@dataclass(frozen=True)
class Related:
    """Another place that a :class:`Diagnostic` is about.

    >>> import airgap
    >>> airgap.Related(path="bridge[0]", line=3, column=1, end_line=3, end_column=11, label="named here").line
    3
    """

    #: The path of the value, such as ``bridge[0].name``; lists count from 0.
    path: str
    #: Where it begins, from 1; None where the policy is data and no text.
    line: int | None
    column: int | None
    #: The place behind its last character.
    end_line: int | None
    end_column: int | None
    #: What it has to do with the mistake.
    label: str


@dataclass(frozen=True)
class Diagnostic:
    """One mistake in a policy, or one warning, and where it is.

    >>> import airgap
    >>> try:
    ...     airgap.Policy.from_dict({"version": 1, "allow": [{"to": "192.0.2.1", "port": "https"}]})
    ... except airgap.PolicyError as error:
    ...     print(error.diagnostics[0].path)
    allow[0].port
    """

    #: ``error`` or ``warning``.
    severity: str
    #: What is wrong.
    message: str
    #: The path of the value, such as ``allow[3].port``; lists count from 0.
    path: str
    #: Where it begins, from 1; None where the policy is data and no text.
    line: int | None
    #: In characters, from 1.
    column: int | None
    #: The place behind its last character.
    end_line: int | None
    end_column: int | None
    #: What was expected there. May be empty.
    label: str
    #: How to mend it.
    help: str | None
    #: The other places that it is about.
    related: tuple[Related, ...]


@dataclass(frozen=True)
class Origin:
    """An item of a policy.

    >>> import airgap
    >>> str(airgap.Origin(section="allow", index=3, line=None, column=None))
    'allow[3]'
    """

    #: ``host``, ``allow``, ``admit``, ``bridge`` or ``forward``.
    section: str
    #: Which of its entries, from 0.
    index: int
    #: Where it was written, from 1; None where the policy is data and no text.
    line: int | None
    column: int | None

    def __str__(self) -> str:
        item = self.section if self.section == "host" else f"{self.section}[{self.index}]"
        return item if self.line is None else f"{item} (line {self.line})"


@dataclass(frozen=True)
class Change:
    """An opening that comes, goes or changes.

    >>> import airgap
    >>> airgap.Change(kind="added", opening="allow: tcp from the host to 192.0.2.1, port 443", was=None, origin=None).kind
    'added'
    """

    #: ``added``, ``removed`` or ``changed``.
    kind: str
    #: What, in words.
    opening: str
    #: What it was before, of a changed one.
    was: str | None
    #: The item of the policy that asks for it, of one that comes.
    origin: Origin | None


@dataclass(frozen=True)
class DecidingRule:
    """A rule, and whose it is.

    >>> import airgap
    >>> policy = airgap.Policy.from_dict({"version": 1, "allow": [{"to": "203.0.113.9", "port": 443}]})
    >>> str(policy.explain("host -> tcp 203.0.113.9:443").by.origin)
    'allow[0]'
    """

    #: ``airgap``, ``docker``, or the table of another program.
    owner: str
    #: Family and name of its table.
    table: str
    #: Its chain.
    chain: str
    #: The rule as nft(8) writes it, or the chain's policy.
    rule: str
    #: What it is for.
    comment: str | None
    #: The item of the policy that asks for it.
    origin: Origin | None
    #: The hook at which a packet met it, of a step of its way.
    hook: str | None


@dataclass(frozen=True)
class Explanation:
    """What happens to a flow, and why. It is true where the flow passes, and
    false where it is dropped or where that cannot be told.

    >>> import airgap
    >>> policy = airgap.Policy.from_toml("version = 1")
    >>> policy.explain("host -> tcp 203.0.113.9:443").verdict
    'dropped'
    """

    #: The flow.
    flow: str
    #: ``passes``, ``dropped`` or ``undecided``.
    verdict: str
    #: Which of its packets decides: ``the opening packet``, ``the answer``, …
    packet: str
    #: The rule that decides; None where no rule had a say.
    by: DecidingRule | None
    #: The way of that packet through the chains.
    way: tuple[DecidingRule, ...]
    #: Of an undecided flow, what is not known.
    unsure: tuple[str, ...]
    #: What was taken for granted, since nothing tells.
    assumed: tuple[str, ...]
    #: Of a dropped flow, what opening comes nearest to it.
    nearest: str | None
    #: Of a dropped flow, what a policy says that opens it, as TOML.
    opens: str | None
    #: All of it in words, as ``airgap explain`` prints it.
    text: str

    def __bool__(self) -> bool:
        return self.verdict == "passes"

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ForeignDrop:
    """A chain of another program that can cut an opening of the policy.

    >>> import airgap
    >>> airgap.ForeignDrop(table="ip filter", chain="FORWARD", hook="forward", policy_drop=True, owner="Docker").owner
    'Docker'
    """

    #: Family and name of the table.
    table: str
    #: The chain.
    chain: str
    #: The hook at which it is called.
    hook: str
    #: Whether it drops what its rules do not accept.
    policy_drop: bool
    #: The program it probably belongs to.
    owner: str | None


@dataclass(frozen=True)
class Applied:
    """What an apply did.

    >>> import airgap
    >>> airgap.Applied(changed=False, operations=0, retries=0).changed
    False
    """

    #: Whether anything was sent.
    changed: bool
    #: How many operations were sent.
    operations: int
    #: How often somebody else changed the ruleset meanwhile.
    retries: int


@dataclass(frozen=True)
class ChainDrops:
    """What a rule of a chain has dropped.

    >>> import airgap
    >>> airgap.ChainDrops(family="inet", chain="output", reason=None, packets=2, bytes=120).packets
    2
    """

    #: The family of the table.
    family: str
    #: The chain.
    chain: str
    #: Why.
    reason: str | None
    #: Packets since the rule was loaded.
    packets: int
    #: Their bytes.
    bytes: int


@dataclass(frozen=True)
class Pending:
    """A policy that waits to be confirmed.

    >>> import airgap
    >>> airgap.Pending(hash="2f", source="policy.toml", by="process 7", since=0, left=59, awaited=True).left
    59
    """

    #: Its hash.
    hash: str
    #: Where it was read from.
    source: str
    #: Who loaded it.
    by: str
    #: When, in seconds since 1970 UTC.
    since: int
    #: The seconds until it is rolled back.
    left: int
    #: Whether somebody waits for that time. If not, the next call that changes
    #: the air gap sees to it.
    awaited: bool


@dataclass(frozen=True)
class Rollback:
    """A policy that was taken back.

    >>> import airgap
    >>> airgap.Rollback(at=0, reason="not-confirmed", hash="2f", error=None).reason
    'not-confirmed'
    """

    #: When it was, in seconds since 1970 UTC.
    at: int
    #: Why: `not-confirmed` in time, `asked` for, or `not-loaded` as it was meant.
    reason: str
    #: The hash of the policy, where it could be read.
    hash: str | None
    #: What went wrong, and what is loaded instead of what was there before.
    error: str | None


@dataclass(frozen=True)
class Status:
    """The state of an air gap.

    >>> import airgap
    >>> airgap.Host().status().sealed
    False
    """

    #: Whether the host has one.
    sealed: bool
    #: The hash of the loaded policy, as the kernel holds it.
    hash: str | None
    #: Where the policy was read from.
    source: str | None
    #: Since when it is loaded, in seconds since 1970 UTC.
    since: int | None
    #: Everything in which the kernel does not hold what was loaded.
    drift: tuple[str, ...]
    #: The policy that waits to be confirmed, if one does.
    pending: Pending | None
    #: The last policy that was taken back since the machine was booted.
    last_rollback: Rollback | None
    #: What was dropped, by chain.
    dropped: tuple[ChainDrops, ...]
    #: The addresses that the policy's host names stood for when it was loaded.
    names: dict[str, tuple[str, ...]]
    #: Chains of other programs that can cut an opening of the policy.
    foreign: tuple[ForeignDrop, ...]


@dataclass(frozen=True)
class Verification:
    """What a verification found; true where it is proved that the openings are
    the policy's: none more, none missing.

    >>> import airgap
    >>> bool(airgap.Host().verify(airgap.Policy.from_toml("version = 1")))
    False
    """

    #: "verified", "counterexample", or "undecided".
    result: str
    #: Of a counterexample: "open-and-not-stated" or "stated-and-not-open".
    kind: str | None
    #: The flow that its packet belongs to.
    flow: str | None
    #: What else its packet is, where it is not simply the first of the flow.
    packet: tuple[str, ...]
    #: The chain that drops what is stated, where one alone does.
    dropped_by: str | None
    #: What could not be decided, and so is not proved.
    reasons: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.result == "verified"


for _class in (
    Related, Diagnostic, Origin, Change, DecidingRule, Explanation, ForeignDrop, Applied, ChainDrops, Pending, Rollback, Status,
    Verification,
):
    _class.__module__ = "airgap"
