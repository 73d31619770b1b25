"""Sphinx's settings for `make html`: a reading copy of README and notebooks, with the outputs that are saved in them."""
import shutil
from pathlib import Path

project = html_title = "Facial expression recognition, cell by cell"
extensions = ["myst_nb",                   # notebooks and Markdown as pages
              "sphinx.ext.autodoc", "numpydoc"]     # the page on the functions, from their docstrings
autodoc_typehints = "none"                 # the types are in the text
autodoc_preserve_defaults = True           # names of constants, not their values on the machine that builds the page
numpydoc_show_class_members = False
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "notebooks/*.ipynb", "*/*.md"]
exclude_patterns = [".*", "docs/_build", "results", "Model/runs", "**/.ipynb_checkpoints"]

nb_execution_mode = "off"                  # show what is saved, run nothing
nb_ipywidgets_js = {}                      # no widgets, so no scripts from elsewhere
myst_heading_anchors = 4                   # links such as README.md#the-notebooks
html_theme = "sphinx_book_theme"
html_theme_options = {"navbar_persistent": [], "footer_content_items": [],
                      "show_prev_next": False}       # each notebook has links of its own
html_static_path = html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}    # light or dark, like the reader's system

CONTENTS = """
```{toctree}
:hidden:
:glob:
:caption: Notebooks

notebooks/*
```
```{toctree}
:hidden:
:caption: Reference

docs/glossary
docs/api
Model/README
Media/CREDITS
tests/README
CONTRIBUTING
```
"""


def add_contents(app, page, source):
    if page == root_doc:
        source[0] += CONTENTS


def add_front_page(app, problem):
    if problem is None:
        shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app):
    app.connect("source-read", add_contents)
    app.connect("build-finished", add_front_page)
