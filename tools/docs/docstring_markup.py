"""A Markdown extension for the docstrings, which are written in the plain part of reStructuredText.

``:class:`~a.b.C` `` becomes code that says ``C``, a double colon before an indented block a single one.
"""

import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([^`]+)`")
BLOCK = re.compile(r"::$")


def as_markdown(line: str) -> str:
    """One line of a docstring as Markdown."""
    return BLOCK.sub(":", ROLE.sub(lambda role: f"`{_shown(*role.groups())}`", line))


def _shown(shortened: str, name: str) -> str:
    return name.rpartition(".")[2] if shortened else name


class _Roles(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return [as_markdown(line) for line in lines]


class DocstringMarkup(Extension):
    """Registers the rewriting before everything else."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Called by Markdown."""
        md.preprocessors.register(_Roles(md), "docstring_markup", 1000)


def makeExtension(**options: Any) -> DocstringMarkup:
    """Called by Markdown, by this name."""
    return DocstringMarkup(**options)
