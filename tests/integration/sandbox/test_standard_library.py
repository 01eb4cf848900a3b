"""What an honest program may import: all that this interpreter has, as it would without a sandbox."""

import json
import subprocess
import sys

import pytest

from sandbox import Level, Sandbox, SandboxUnavailable

IMPORT_ALL = """
import importlib, json, sys
failures = {}
for name in sorted(sys.stdlib_module_names - {"antigravity", "this"}):  # which open a browser, and print
    try:
        importlib.import_module(name)
    except Exception as error:
        failures[name] = f"{type(error).__name__}: {error}"
print(json.dumps(failures))
"""


@pytest.mark.parametrize("level", [Level.CONFINED, Level.NAMESPACED])
def test_every_module_of_the_standard_library_can_be_imported(level):
    outside = subprocess.run([sys.executable, "-I", "-c", IMPORT_ALL], capture_output=True, text=True, check=True)
    try:
        with Sandbox(workers=1, preload=(), min_level=level, max_level=level) as sandbox:
            inside = sandbox.run(IMPORT_ALL, timeout=60)
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    assert inside.ok, inside.stderr
    assert json.loads(inside.stdout) == json.loads(outside.stdout)
