"""Sphinx's settings; ``make docs`` builds docs/_build/html without a network."""

import importlib.metadata
import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "offline-agents"
release = importlib.metadata.version(project)
html_title = f"{project} {release}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docstrings"]
exclude_patterns = ["_build"]

autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": "default_keys, tensor_keys"}
autodoc_inherit_docstrings = False  # what torch and TorchRL say of their classes
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_use_rtype = False  # what a docstring says it returns is one sentence
autodoc_type_aliases = {name: name for name in ("Agent", "Device", "Specs")}  # Any where torch is not loaded
nitpicky = True  # a name of ours that is referred to has to be there; other projects' cannot be looked up offline
nitpick_ignore_regex = [("py:class", r"(?!agents\.|recipes\.).*")]

nb_execution_mode = "off"  # the notebook is committed with its outputs; a test runs it
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # as GitHub makes them: a link to a section works in both

html_theme = "furo"
pygments_dark_style = "github-dark"
html_static_path = ["static"]
html_css_files = ["equations.css"]
html_show_copyright = False
html_show_sourcelink = False
html_math_renderer = "mathml"

# docutils puts the subscript of a letter with a bar or a hat below the letter
SUBSCRIPT_BELOW_ACCENT = re.compile(r"<munderover>\s*(\S+)\s*(\S+)\s*(<mo stretchy=.*</mo>)\s*</munderover>")


def mathml(writer, node):
    """An equation in the browser's own format, which needs no script from elsewhere as MathJax does."""
    block = isinstance(node, nodes.math_block)
    equation = latex2mathml.tex2mathml(node.astext(), as_block=block)
    equation = SUBSCRIPT_BELOW_ACCENT.sub(r"<msub><mover>\1\3</mover>\2</msub>", equation)
    writer.body.append(f'<p style="overflow: auto hidden; padding: 0.3em 0">{equation}</p>' if block else equation)
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(mathml, None), block_renderers=(mathml, None))
