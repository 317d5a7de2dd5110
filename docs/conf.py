"""How Sphinx builds the documentation: Markdown pages, and the API from the docstrings."""

import ast
import inspect
import sys
from importlib import import_module
from importlib.metadata import version as version_of
from pathlib import Path
from pkgutil import walk_packages

import itpipe

sys.path.insert(0, str(Path(__file__).parent))
import pictures

pictures.main()

project = 'itpipe'
author = 'the itpipe authors'
copyright = '2026, the itpipe authors'
release = version = version_of('itpipe')

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.viewcode', 'sphinxcontrib.mermaid']
exclude_patterns = ['_build']

myst_enable_extensions = ['colon_fence', 'deflist']
myst_heading_anchors = 3
myst_fence_as_directive = ['mermaid']  # GitHub draws these, too

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
autodoc_preserve_defaults = True
# The single backticks of docstrings: code, and a link where it is the name of something.
default_role = 'py:obj'

html_theme = 'furo'
html_title = 'itpipe'

# Sphinx looks for the code of a class, and for the texts under its attributes, in its `__module__`, which for a public
# name is the package that users import it from. While the pages are built it is the module that has the code.
for found in walk_packages(itpipe.__path__, 'itpipe.'):
    module = import_module(found.name)
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            vars(module)[node.name].__module__ = found.name
