"""The prompts of refiners that are language models: text files by version, never changed once data was made with them."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from thor_ray.refine.refinement import Surroundings

_DIRECTORY: Final = Path(__file__).with_name("prompts")

PROMPT_VERSIONS: Final = tuple(sorted(path.name for path in _DIRECTORY.iterdir() if path.is_dir()))

STEPS_VIEWS: Final = ("isolated", "with_question", "with_context")
"""What is shown: the step alone, the problem as well, or also what stands before the step."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """One version of all that a refiner is told.

    Attributes:
        version: Name of its directory.
        texts: By file name without suffix.
    """

    version: str
    texts: dict[str, str]

    @property
    def origin(self) -> str:
        """Version and a hash of all words, ``v1@1f2e3d4c``; recorded with every result."""
        words = "\x1f".join(f"{name}\x1f{text}" for name, text in sorted(self.texts.items()))
        return f"{self.version}@{hashlib.blake2b(words.encode(), digest_size=4).hexdigest()}"

    @property
    def system(self) -> str:
        return self.texts["system"]

    def request(self, view: str, step: str, surroundings: Surroundings) -> str:
        """What the user says of a step; only what the view shows is in it.

        Args:
            view: One of ``STEPS_VIEWS``.
            step: The fragment.
            surroundings: What stands around it.
        """
        parts = {"step": step, "question": surroundings.question, "written": surroundings.written}
        return self._filled(view, parts)

    def go_on(self, output: str) -> str:
        """What the user says once a program has run."""
        return self._filled("go_on", {"output": output})

    def _filled(self, name: str, parts: dict[str, str]) -> str:
        # Not str.format: braces are common in mathematics, and no part may be read as a place for another.
        pieces = self.texts[name].split("{")
        filled = [pieces[0]]
        for piece in pieces[1:]:
            place, _, text = piece.partition("}")
            filled += [parts[place], text]
        return "".join(filled)


@cache
def load_prompts(version: str) -> PromptSet:
    """The prompts of a version.

    Raises:
        KeyError: there is no such version.
    """
    if version not in PROMPT_VERSIONS:
        raise KeyError(version)
    files = sorted((_DIRECTORY / version).glob("*.txt"))
    return PromptSet(version, {path.stem: path.read_text(encoding="utf-8").strip() for path in files})
