"""Which prompts a policy was trained with, kept beside its weights.

A policy answers well only where it is asked as it was trained. Recipes have one template for training and evaluation, and
a trained policy's directory remembers it word for word, so that later runs cannot ask in another way without noticing:
not by another name, and not because a template or the tokenizer's chat template has been reworded since.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from thor_ray.dialogue import PromptFrame
from thor_ray.files import write_text_atomically
from thor_ray.preflight import Fault

FILE: Final = "thor_prompt.json"
"""Below the model directory."""


def record_prompt(model: Path, template: str, frame: PromptFrame) -> None:
    """Writes down the template that the policy in ``model`` was trained with.

    Raises:
        DiskFullError: the disk or the quota is exhausted.
    """
    write_text_atomically(model / FILE, json.dumps({"template": template, **asdict(frame)}, indent=2) + "\n")


def recorded_template(model: Path) -> str | None:
    """Name of the template that the policy in ``model`` was trained with; ``None`` where it does not say."""
    try:
        name = json.loads((model / FILE).read_text(encoding="utf-8"))["template"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(name)


def prompt_faults(model: Path, template: str, frame: PromptFrame) -> Iterator[Fault]:
    """The policy in ``model`` was trained with other prompts; one that remembers none takes any."""
    path = model / FILE
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        trained, expected = recorded["template"], PromptFrame(recorded["before"], recorded["after"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Fault(f"{path} cannot be read: {error}", "copy the model anew")
        return
    anew = f"or, to train it anew on other prompts, remove {path}"
    if trained != template:
        yield Fault(
            f"the policy in {model} was trained with template {trained!r}, not {template!r}",
            f"set policy.template to {trained}; {anew}",
        )
    elif expected != frame:
        yield Fault(
            f"the policy in {model} was trained with another wording of template {template!r}: "
            f"{expected.around('{question}')!r}",
            f"use the version and the tokenizer that it was trained with; {anew}",
        )
