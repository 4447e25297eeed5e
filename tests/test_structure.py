"""The tree is the diagram: what may import what, and how much lies where."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = (ROOT / "adapters", ROOT / "integrations")
STORES = ROOT / "adapters" / "sessionstore"
BACKENDS = ("fallback", "redis", "sql", "sqlite")
# A file of SQLite is the same file for both stores that open it.
SHARED = {
    ("sql", "sessionstore.sqlite.file"),
    ("sql", "sessionstore.sqlite.identity"),
}
# Documented for subclasses and callers, by LangChain, IPython and the standard library.
HOOKS = {
    "_acall_with_config",
    "_agenerate",
    "_asdict",
    "_astream",
    "_atransform_stream_with_config",
    "_call_with_config",
    "_exit",
    "_generate",
    "_llm_type",
    "_make",
    "_replace",
    "_repr_html_",
    "_repr_png_",
    "_stream",
    "_transform_stream_with_config",
}

# The private attributes of ours that are used from without: a library's may have any other name of
# ours, as `_lock`.
SHARED_PRIVATELY = {"_carried", "_origin"}


class Module(NamedTuple):
    """A module of the source roots; a package is its ``__init__``."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def place(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def package(self) -> str:
        return self.name if self.path.stem == "__init__" else self.name.rpartition(".")[0]


@cache
def modules() -> dict[str, Module]:
    found = {}
    for root in SOURCES:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8")))
    return found


def imported(module: Module) -> Iterator[tuple[str, str]]:
    """Give what a module imports, wherever in it that stands: modules, and names of them."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.package.split(".")
                base = ".".join([*above[: len(above) - node.level + 1], *filter(None, [base])])
            yield from ((base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            # One that is asked for by its name, or by one in a table.
            yield from ((name, "") for name in _named_in(node, module))


def _named_in(call: ast.Call, module: Module) -> list[str]:
    (asked, *_) = call.args
    if isinstance(asked, ast.Constant):
        return [str(asked.value)]
    texts = [node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and text in modules()]


@cache
def arrows() -> dict[str, set[str]]:
    """Give for each of our modules those of ours that it imports."""
    known = modules()
    found: dict[str, set[str]] = {name: set() for name in known}
    for module in known.values():
        for base, name in imported(module):
            inner = f"{base}.{name}"
            target = inner if inner in known else base
            if target in known and target != module.name:
                found[module.name].add(target)
    return found


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_own(value: ast.expr) -> bool:
    """Tell whether an object is the method's own: ``self``, ``cls`` or ``super()``."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def private_attributes(module: Module) -> Iterator[tuple[str, str, bool]]:
    """Give where private attributes are used, which, and whether they are the object's own."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            yield f"{module.place}:{node.lineno}", node.attr, is_own(node.value)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "setattr", "hasattr", "delattr")
            and isinstance(node.args[1], ast.Constant)
            and private(str(node.args[1].value))
        ):
            yield f"{module.place}:{node.lineno}", str(node.args[1].value), is_own(node.args[0])


def defined(tree: ast.AST) -> Iterator[str]:
    """Give the names of what our classes define: methods, fields, and attributes of ``self``."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if is_own(node.value):
                yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def listed(found: Iterable[object]) -> str:
    return "\n".join(sorted(map(str, found)))


# -- Imports --------------------------------------------------------------------------------------


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_store_imports_an_integration() -> None:
    stores = {name for name in arrows() if name.split(".")[0] == "sessionstore"}
    found = {(name, to) for name in stores for to in arrows()[name] - stores}
    assert not found, listed(found)


def test_no_integration_imports_a_private_module_of_the_stores() -> None:
    found = {
        (name, to)
        for name, targets in arrows().items()
        for to in targets
        if not name.startswith("sessionstore") and to.startswith("sessionstore.")
        if any(private(part) for part in to.split("."))
    }
    assert not found, listed(found)


def test_no_integration_imports_another() -> None:
    found = {
        (name, to)
        for name, targets in arrows().items()
        for to in targets
        if name.split(".")[0] != to.split(".")[0] != "sessionstore"
    }
    assert not found, listed(found)


def test_no_backend_imports_another() -> None:
    found = {
        (name, to)
        for name, targets in arrows().items()
        for to in targets
        if (mine := folder(name)) in BACKENDS and (theirs := folder(to)) in BACKENDS
        if mine != theirs and (mine, to) not in SHARED
    }
    assert not found, listed(found)


def folder(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "sessionstore" and len(parts) > 1 else ""


def test_the_contract_imports_no_backend() -> None:
    contract = ("errors", "models", "operations", "store", "flow")
    beneath = {f"sessionstore.{name}" for name in contract}
    for name in list(beneath):
        beneath |= reached(name)
    assert not {name for name in beneath if folder(name) in (*BACKENDS, "memory", "testing")}


def reached(name: str) -> set[str]:
    found: set[str] = set()
    left = [name]
    while left:
        new = arrows()[left.pop()] - found
        found |= new
        left += new
    return found


# -- What the pages name --------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_every_link_to_a_file_leads_to_it(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_map_of_the_tree_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"(?:adapters|integrations|tests|benchmarks|notebooks|docs)/[\w./*]*", text)
    assert not [path for path in named if not list(ROOT.glob(path.rstrip("/")))]


# -- Sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["adapters/sessionstore", "integrations/langchain_sessionstore"])
def test_at_most_twenty_modules_lie_flat(folder: str) -> None:
    flat = sorted(path.name for path in (ROOT / folder).glob("*.py"))
    assert len(flat) <= 20, listed(flat)


def test_no_file_but_the_contract_is_over_450_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for root in SOURCES
        for path in root.rglob("*")
        if path.suffix in (".py", ".lua") and path != STORES / "store.py"
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert not long, listed(long.items())


def test_no_python_string_holds_lua() -> None:
    signs = re.compile(r"redis\.p?call\(|\b(?:KEYS|ARGV)\[")
    found = [
        f"{module.place}:{node.lineno}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
        if signs.search(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    ]
    assert not found, listed(found)


# -- Private names --------------------------------------------------------------------------------


def test_at_most_twelve_places_use_another_objects_private_attribute() -> None:
    found = [
        (place, name)
        for module in modules().values()
        for place, name, own in private_attributes(module)
        if not own and name not in HOOKS
    ]
    assert len(found) <= 12, listed(found)


def test_no_private_attribute_of_a_library_is_used() -> None:
    found = []
    for module in modules().values():
        # What a class calls its own is written where it is, or in a module that it imports.
        bases = [module.tree, *(modules()[name].tree for name in arrows()[module.name])]
        near = {name for tree in bases for name in defined(tree)}
        found += [
            (place, name)
            for place, name, own in private_attributes(module)
            if name not in HOOKS | (near if own else SHARED_PRIVATELY)
        ]
    assert not found, listed(found)


def test_no_private_method_of_a_library_is_overridden() -> None:
    found = [
        (module.place, node.name, name)
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        for name in set(defined(node)) & inherited(module, node)
        if private(name) and name not in HOOKS
    ]
    assert not found, listed(found)


def inherited(module: Module, node: ast.ClassDef) -> set[str]:
    """Give the names that a class has from those of libraries; none for one within a function."""
    made = getattr(import_module(module.name), node.name, None)
    bases = made.__mro__[1:] if isinstance(made, type) else ()
    theirs = [base for base in bases if base.__module__.partition(".")[0] not in tops()]
    return {name for base in theirs for name in vars(base)}


@cache
def tops() -> set[str]:
    return {name.split(".")[0] for name in modules()}


def test_no_private_module_or_name_of_a_library_is_imported() -> None:
    found = [
        (module.place, base, name)
        for module in modules().values()
        for base, name in imported(module)
        if base.split(".")[0] not in tops()
        if any(private(part) for part in [*base.split("."), name])
    ]
    assert not found, listed(found)


def test_no_private_name_is_imported_from_another_module() -> None:
    found = [
        (module.place, base, name)
        for module in modules().values()
        for base, name in imported(module)
        if private(name) and f"{base}.{name}" not in modules()
    ]
    assert not found, listed(found)


def test_no_comprehension_stands_in_a_block_that_holds_a_lock() -> None:
    """Within one, Python 3.13.0 leaves the block without its end on Ctrl-C: the lock stays held."""
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp)
    found = [
        f"{name}:{inner.lineno}"
        for name, module in modules().items()
        for block in ast.walk(module.tree)
        if isinstance(block, ast.With)
        and any("lock" in ast.unparse(item.context_expr).lower() for item in block.items)
        for inner in ast.walk(block)
        if isinstance(inner, kinds)
    ]
    assert not found, listed(found)


def test_no_loop_runs_over_a_list_of_pairs() -> None:
    """Before 3.12, Python may run other threads while it builds one: `dict` copies in one step."""
    found = [
        f"{name}:{loop.iter.lineno}"
        for name, module in modules().items()
        for loop in ast.walk(module.tree)
        if isinstance(loop, (ast.For, ast.comprehension))
        if re.fullmatch(r"(list|tuple)\(.*\.items\(\)\)", ast.unparse(loop.iter))
    ]
    assert not found, listed(found)
