"""What a run's TIRGen says of its candidates: some kept, some rejected, one of them hostile."""

import json
from pathlib import Path
from typing import Any

from thor_ray.tirgen.inspection import FOLDER, STEPS

CANDIDATES = 50
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m"


def write_steps(run: Path) -> None:
    """Writes 50 candidates of two steps; every fifth was rejected, and the program of every tenth failed first."""
    place = run / FOLDER
    place.mkdir(parents=True)
    rows = [row for number in range(CANDIDATES) for row in candidate(number)]
    (place / STEPS).write_text("".join(json.dumps(row) + "\n" for row in rows))


def candidate(number: int) -> list[dict[str, Any]]:
    """The rows of one, as ``step_rows`` makes them."""
    shared = {
        "id": f"tirgen/generator/{number}",
        "problem_id": f"gcd-{number}",
        "rejected": "answer_correct: wrong" if number % 5 == 4 else None,
        "reasoning": "",
        "conclusion": "",
    }
    failed = {"code": "print(gcd(36, 108))", "status": "exception", "output": "NameError: name 'gcd' is not defined"}
    right = {"code": "import math\nprint(math.gcd(36, 108))", "status": "ok", "output": "36"}
    claim = {"expression": "gcd(36, 108)", "claimed": "18", "observed": "36", "agreement": "different"}
    words = {"step": 0, "text": HOSTILE if number == 7 else "The numbers are 36 and 108.", "verdict": "no_claim"}
    computed = {"step": 1, "text": "gcd(36, 108) = 18", "verdict": "codable", "kind": "gcd", "claim": claim}
    blocks = [failed, right] if number % 10 == 0 else [right]
    return [
        shared | words | {"kind": "", "blocks": [], "claim": None},
        shared | computed | {"blocks": blocks},
    ]
