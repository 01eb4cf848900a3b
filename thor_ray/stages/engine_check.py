"""Whether vLLM starts here and samples: ``python -m thor_ray.stages.engine_check`` in a process that can be killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Final

from actors.codec import TokenizerCodec
from actors.engine import EngineSettings, VllmEngine
from actors.generation import GenerationRequest
from thor_ray.doctor import Check, Verdict
from thor_ray.tiny import base_model_path

LIMIT_SECONDS: Final = 300.0
MOST_LINES: Final = 3


def check_engine(limit_seconds: float = LIMIT_SECONDS) -> Check:
    """Starts an engine on the tiny policy in a process group of its own and waits for a few tokens.

    Args:
        limit_seconds: After which it counts as hung and is killed.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "thor_ray.stages.engine_check"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        found = f"did not sample within {limit_seconds:.0f} s"
        return Check("vLLM engine", Verdict.ERROR, found, "try again on a machine that is less busy, or make setup")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        last = " | ".join(output.strip().splitlines()[-MOST_LINES:])
        return Check("vLLM engine", Verdict.ERROR, f"ended with code {process.returncode}: {last}", "make setup")
    seconds = time.monotonic() - started
    return Check("vLLM engine", Verdict.OK, f"samples from the tiny policy after {seconds:.0f} s")


async def _sample() -> None:
    model = str(base_model_path())
    codec = TokenizerCodec.from_directory(model)
    engine = VllmEngine(EngineSettings(model, kv_cache_mib=32, max_sequences=4, gpu_memory_utilization=0.1))
    try:
        prompt = codec.encode_prompt("bare", "What is 2 + 3?")
        generation = await engine.generate(
            GenerationRequest(ids=tuple(prompt), max_new_tokens=4, temperature=0.0, seed=0)
        )
    finally:
        engine.close()
    if not generation.ids:
        raise SystemExit("the engine sampled nothing")


if __name__ == "__main__":
    asyncio.run(_sample())
