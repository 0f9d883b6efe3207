"""Every public item has a docstring with an example, and the examples are true."""

import doctest
import inspect

import pytest

import airgap


def items():
    yield "airgap", airgap
    for name in airgap.__all__:
        item = getattr(airgap, name)
        if not inspect.isclass(item):
            continue
        yield name, item
        for member, value in vars(item).items():
            if not member.startswith("_") and (callable(value) or inspect.isgetsetdescriptor(value) or isinstance(value, staticmethod)):
                yield f"{name}.{member}", getattr(item, member)


@pytest.mark.parametrize(("name", "item"), list(items()), ids=[name for name, _ in items()])
def test_the_example_is_true(name, item):
    examples = doctest.DocTestParser().get_doctest(item.__doc__ or "", {}, name, None, None)
    assert examples.examples, f"{name} has no example"
    report = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=flags, verbose=False).run(examples, out=report.append)
    assert report == []


def test_the_examples_cover_the_package():
    names = [name for name, _ in items()]
    assert {"Policy.from_dict", "Plan.diff", "Host.apply", "PolicyError", "Status"} <= set(names)
