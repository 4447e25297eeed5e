"""Every example in a docstring runs as it is pasted: it imports what it uses."""

from __future__ import annotations

import doctest
from importlib import import_module
from pkgutil import walk_packages

import pytest

import langchain_sessionstore
import langgraph_sessionstore
import llama_index_sessionstore
import openai_agents_sessionstore
import sessionstore

PACKAGES = (
    sessionstore,
    langchain_sessionstore,
    langgraph_sessionstore,
    llama_index_sessionstore,
    openai_agents_sessionstore,
)
MODULES = [
    found.name
    for package in PACKAGES
    for found in walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_as_they_are_pasted(name: str) -> None:
    runner = doctest.DocTestRunner(verbose=False)
    for example in doctest.DocTestFinder().find(import_module(name), globs={}):
        runner.run(example)
    assert runner.failures == 0
