"""How Sphinx builds the documentation: Markdown pages, and the API from the docstrings."""

from importlib.metadata import version as version_of

project = 'itpipe'
author = 'the itpipe authors'
copyright = '2026, the itpipe authors'
release = version = version_of('itpipe')

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']
exclude_patterns = ['_build']

myst_enable_extensions = ['colon_fence', 'deflist']
myst_heading_anchors = 3

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
napoleon_google_docstring = True
napoleon_numpy_docstring = True

html_theme = 'furo'
html_title = 'itpipe'
