"""Sphinx's settings. `make docs` builds the site, warnings are errors, nothing is downloaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import treefilter

project = "treefilter"
author = "The treefilter contributors"
copyright = author
version = release = treefilter.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "repository",
    "errors",
    "links",
]
exclude_patterns = ["_build", "gallery", "requirements.txt"]
nitpicky = True
# What other projects document: their lists of names would have to be downloaded.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|dask|dataclasses|types|typing|collections|Tensor)(\..*)?"),
]
# A class is known where it is and where it is imported; a page of tables begins at its third level.
suppress_warnings = ["ref.python", "myst.header"]

# myst
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# autodoc
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Shape", "notes_style")]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"\.py$",
    "subsection_order": ExplicitOrder(
        [f"gallery/{name}" for name in ("photographs", "hierarchies", "graphs", "networks")]
    ),
    "within_subsection_order": "gallery_order.Order",
    "thumbnail_size": (520, 220),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "image_srcset": ["2x"],
    "matplotlib_animations": False,
    "only_warn_on_example_error": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "treefilter"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
# Pages beside which there is nothing to choose.
ALONE = ("index", "concept", "quickstart", "sigma", "tel", "tiled", "migration", "faq", "errors")
ALONE += ("machines", "contributing", "conduct", "security", "changelog", "tel_results/*")
html_sidebars: dict[str, list[str]] = {name: [] for name in ALONE}
html_theme_options = {
    "header_links_before_dropdown": 4,
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}
if repository := os.environ.get("GITHUB_REPOSITORY"):
    html_theme_options["github_url"] = f"https://github.com/{repository}"
