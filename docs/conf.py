"""How Sphinx builds the documentation: Markdown pages, and the API from the docstrings."""

from importlib.metadata import version as version_of

project = 'itpipe'
author = 'the itpipe authors'
copyright = '2026, the itpipe authors'
release = version = version_of('itpipe')

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.viewcode']
exclude_patterns = ['_build']

myst_enable_extensions = ['colon_fence', 'deflist']
myst_heading_anchors = 3

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
autodoc_preserve_defaults = True
# The single backticks of docstrings: code, and a link where it is the name of something.
default_role = 'py:obj'

html_theme = 'furo'
html_title = 'itpipe'
