"""How Sphinx builds the documentation: Markdown pages, and the API from the docstrings."""

import ast
import inspect
import re
import sys
from base64 import b64encode
from importlib import import_module
from importlib.metadata import version as version_of
from pathlib import Path
from pkgutil import walk_packages

import itpipe

sys.path.insert(0, str(Path(__file__).parent))
import llms
import pictures

pictures.main()

project = 'itpipe'
author = 'the itpipe authors'
copyright = '2026, the itpipe authors'
release = version = version_of('itpipe')

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
    'sphinx_design',
    'sphinxcontrib.mermaid',
]
exclude_patterns = ['_build']

# The notebooks run when the pages are built; an error in one is an error of the build.
nb_execution_mode = 'force'
nb_execution_raise_on_error = True
nb_execution_timeout = 60
nb_merge_streams = True

# What is copied is what one types, without prompts and results.
copybutton_prompt_text = r'>>> |\.\.\. |\(Pdb\) '
copybutton_prompt_is_regexp = True

myst_enable_extensions = ['colon_fence', 'deflist']
myst_heading_anchors = 3
myst_fence_as_directive = ['mermaid']  # GitHub draws these, too

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
autodoc_preserve_defaults = True
# The single backticks of docstrings: code, and a link where it is the name of something.
default_role = 'py:obj'

pygments_style, pygments_dark_style = 'friendly', 'github-dark'

html_theme = 'furo'
html_title = 'itpipe'
html_static_path = ['_site']
html_css_files = ['site.css']
html_theme_options = {
    'light_css_variables': {'color-brand-primary': '#6639ba', 'color-brand-content': '#6639ba'},
    'dark_css_variables': {'color-brand-primary': '#b083f0', 'color-brand-content': '#b083f0'},
}

# Sphinx looks for the code of a class, and for the texts under its attributes, in its `__module__`, which for a public
# name is the package that users import it from. While the pages are built it is the module that has the code.
for found in walk_packages(itpipe.__path__, 'itpipe.'):
    module = import_module(found.name)
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            vars(module)[node.name].__module__ = found.name


def pictures_as_images(_app, _pagename, _templatename, context: dict, _doctree) -> None:
    """What a cell has drawn follows the mode that readers choose for the page, which an SVG in it does not."""
    context['body'] = re.sub(r'<svg xmlns.*?</svg>', as_image, context.get('body', ''), flags=re.DOTALL)


def as_image(found: re.Match[str]) -> str:
    label = re.search(r'aria-label="([^"]*)"', found[0])
    data = b64encode(found[0].encode()).decode()
    return f'<img alt="{label[1] if label else ""}" src="data:image/svg+xml;base64,{data}">'


def setup(app) -> None:
    app.connect('html-page-context', pictures_as_images)
    app.connect('build-finished', lambda app, error: None if error else llms.write(Path(app.outdir)))
