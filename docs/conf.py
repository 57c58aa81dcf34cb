"""Sphinx's settings; ``make docs`` builds docs/_build/html without a network."""

import importlib.metadata

from docutils import nodes
from docutils.utils.math import latex2mathml

project = "offline-agents"
release = importlib.metadata.version(project)
html_title = f"{project} {release}"

extensions = ["myst_parser"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # as GitHub makes them: a link to a section works in both

html_theme = "furo"
html_show_copyright = False
html_show_sourcelink = False
html_math_renderer = "mathml"


def mathml(writer, node):
    """An equation in the browser's own format, which needs no script from elsewhere as MathJax does."""
    block = isinstance(node, nodes.math_block)
    equation = latex2mathml.tex2mathml(node.astext(), as_block=block)
    writer.body.append(f'<p style="overflow: auto hidden; padding: 0.3em 0">{equation}</p>' if block else equation)
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(mathml, None), block_renderers=(mathml, None))
