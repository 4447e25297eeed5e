"""How the site is built: `make docs` writes it to docs/_build/html. Nothing is fetched."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docutils.nodes import Element, reference
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

OURS = (
    "sessionstore",
    "langchain_sessionstore",
    "langgraph_sessionstore",
    "llama_index_sessionstore",
    "openai_agents_sessionstore",
)
PUBLIC = (
    "sessionstore.operations",
    "sessionstore.testing",
    "langchain_sessionstore.testing",
)

# autodoc imports with `typing.TYPE_CHECKING` true, which these do not bear.
for _name in ("llama_index.core", "agents", *OURS):
    import_module(_name)

project = "sessionstore"
author = "sessionstore maintainers"
copyright = author  # noqa: A001 - Sphinx's name for it
version = release = version_of("sessionstore")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "diagrams/*.md"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# A name in single backticks, as docstrings have it, is a link where the site has it, or is code.
default_role = "py:obj"
nitpick_ignore_regex = [
    (r"py:obj", r".*"),
    # Variables of types, and types in signatures that nobody has to name.
    (
        r"py:class",
        r"\w+(\.\w+)*\.(T|Keys|LanguageModel|Pause|Reply|Request|Result|Run|Tables|TurnTerms|Work)",
    ),
    # What belongs to others is not on this site, and nothing is fetched to find it.
    (r"py:.*", rf"(?!({'|'.join(OURS)})\b).*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"sessionstore {version}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1|db\.example)"]


def _known_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contents: Element
) -> reference | None:
    """Find what is named by another way than the one that the site has it under.

    An annotation names the module in which a class is, and a docstring the class alone.
    """
    target = node.get("reftarget", "")
    is_ours = target.partition(".")[0] in OURS or node.get("reftype") == "obj"
    if node.get("refdomain") != "py" or not is_ours:
        return None
    python = env.get_domain("py")
    end = "." + ".".join(target.split(".")[-2:] if target.count(".") > 1 else [target])
    ends = (end, "." + target.rpartition(".")[2])
    for wanted in dict.fromkeys(ends):
        names = [name for name in python.objects if f".{name}".endswith(wanted)]
        public = [name for name in names if name.rpartition(".")[0] in (*OURS, *PUBLIC)]
        if found := min(public or (names if wanted.count(".") > 1 else []), key=len, default=None):
            place = node.get("refdoc", "")
            return python.resolve_xref(env, place, app.builder, "obj", found, node, contents)
    return None


def setup(app: Sphinx) -> None:
    """Have Sphinx ask it for each name that it does not find."""
    app.connect("missing-reference", _known_name)
