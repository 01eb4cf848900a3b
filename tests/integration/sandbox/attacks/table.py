"""All cases, by theme."""

from __future__ import annotations

from pathlib import Path

from tests.integration.sandbox.attacks import computed
from tests.integration.sandbox.attacks.case import Case
from tests.integration.sandbox.attacks.notation import read_cases

THEMES: dict[str, tuple[Case, ...]] = {
    path.stem: tuple(read_cases(path.read_text(encoding="utf-8")))
    for path in sorted(Path(__file__).parent.glob("*.cases"))
} | {"computed": computed.CASES}

CASES: dict[str, Case] = {case.id: case for cases in THEMES.values() for case in cases}
"""By id."""
