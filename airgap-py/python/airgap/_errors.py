"""Why something could not be done."""

from __future__ import annotations

# Type checkers take this name as true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._data import Diagnostic


class AirgapError(Exception):
    """Why something could not be done; whatever it is, the ruleset is as it was
    before, unless the message says otherwise.

    >>> import airgap
    >>> try:
    ...     airgap.Host("no-such-namespace")
    ... except airgap.AirgapError as error:
    ...     print(error)
    could not open the network namespace /run/netns/no-such-namespace: No such file or directory (os error 2)
    """

    __module__ = "airgap"

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class PolicyError(AirgapError):
    """The policy is not well formed. The message shows every mistake.

    >>> import airgap
    >>> try:
    ...     airgap.Policy.from_toml('version = 1\\nallow = 5')
    ... except airgap.PolicyError as error:
    ...     print([(d.path, d.line, d.column, d.label) for d in error.diagnostics])
    [('allow', 2, 9, 'expected a list of tables')]
    """

    __module__ = "airgap"

    #: The mistakes, in the order of the text.
    diagnostics: tuple[Diagnostic, ...]
    #: How many more there are than `diagnostics` holds.
    omitted: int

    def __init__(self, message: str, diagnostics: tuple[Diagnostic, ...] = (), omitted: int = 0) -> None:
        super().__init__(message, diagnostics, omitted)
        self.diagnostics = diagnostics
        self.omitted = omitted


class KernelError(AirgapError):
    """The kernel said no.

    >>> import airgap, errno
    >>> airgap.KernelError("the kernel refused the ruleset", errno.EPERM).errno == errno.EPERM
    True
    """

    __module__ = "airgap"

    #: The kernel's error number, as in the module :mod:`errno`.
    errno: int

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message, errno)
        self.errno = errno


class ConflictError(AirgapError):
    """Somebody else is changing the ruleset, or a change waits to be confirmed.

    >>> import airgap
    >>> issubclass(airgap.ConflictError, airgap.AirgapError)
    True
    """

    __module__ = "airgap"


class LockoutError(AirgapError):
    """The policy would cut flows over which this host is administered.

    >>> import airgap
    >>> issubclass(airgap.LockoutError, airgap.AirgapError)
    True
    """

    __module__ = "airgap"
