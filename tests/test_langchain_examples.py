"""Each example of a docstring imports what it uses: it runs as it is pasted."""

import doctest
import importlib
import pkgutil

import pytest

import langchain_sessionstore

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.iter_modules(
        langchain_sessionstore.__path__, prefix="langchain_sessionstore."
    )
]
EXAMPLES = [
    test
    for module in MODULES
    for test in doctest.DocTestFinder().find(module, globs={})
    if test.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_each_example_runs_as_it_is_pasted(example):
    example.globs = {"__name__": "__main__"}
    said = []
    assert doctest.DocTestRunner().run(example, out=said.append).failed == 0, "".join(said)
