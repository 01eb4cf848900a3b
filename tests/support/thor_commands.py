"""Commands in documents: found in fenced blocks, and parsed by `thor` as it would, without running them."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from thor_ray.cli.app import app

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = {"", "sh", "bash", "shell", "console"}
"""Languages of fences that may hold commands; most of ours name none."""

PROGRAMS = re.compile(r"(\$ )?(\w+=\S+ )*(thor|ray|make|python|docker|kubectl|sbatch|hf|pip|for)\b|(\.venv/bin/\w+)")
"""What a line of a block begins with if it is a command."""


@dataclass(frozen=True, slots=True)
class DocumentCommand:
    """One command of a document.

    Attributes:
        where: File and line.
        text: As it stands there, continued lines joined.
        words: As a shell would part them, comments left out, optional parts taken, the first of alternatives chosen.
    """

    where: str
    text: str
    words: tuple[str, ...]


def fenced_blocks(document: Path) -> Iterator[tuple[int, str, str]]:
    """Line, language and text of each fenced block."""
    text = document.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield text.count("\n", 0, match.start()) + 2, match[1], match[2]


def document_commands(document: Path) -> list[DocumentCommand]:
    """All commands in fenced blocks of a document."""
    found = []
    for line, language, block in fenced_blocks(document):
        if language in SHELL:
            found += [
                DocumentCommand(f"{document.name}:{line + offset}", text, words)
                for offset, text in _logical_lines(block)
                if PROGRAMS.match(text)
                for words in _commands(text)
            ]
    return found


def parse_faults(words: Sequence[str]) -> str | None:
    """What ``thor`` would say against these arguments; ``None`` if it would run. Other options of `submit` are its verb's."""
    command: Any = typer.main.get_command(app)
    try:
        context = command.make_context("thor", list(words))
        while isinstance(command, TyperGroup):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
    except typer.TyperException as error:
        return error.format_message()
    except typer.Exit:
        return None
    if words[0] == "submit":
        return parse_faults([context.params["verb"].value, context.params["recipe"], *context.args])
    return None


def _logical_lines(block: str) -> Iterator[tuple[int, str]]:
    """Lines with their number in the block, those that end in a backslash joined with the next."""
    held, begun = "", 0
    for number, line in enumerate(block.splitlines()):
        if not held:
            begun = number
        held += line.strip()
        if held.endswith("\\"):
            held = held[:-1]
            continue
        yield begun, held
        held = ""


def _commands(text: str) -> Iterator[tuple[str, ...]]:
    """The commands of one line, which semicolons part."""
    lexer = shlex.shlex(text.removeprefix("$ "), posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) == {";"}:
            yield tuple(words)
            words = []
        else:
            words.append(_chosen(word))
    yield tuple(words)


def _chosen(word: str) -> str:
    """A word of a synopsis as someone would write it: without brackets, the first of alternatives."""
    plain = re.sub(r"^\[|\]$", "", word)
    return plain.split("|")[0] if re.fullmatch(r"\w+(\|\w+)+", plain) else plain
