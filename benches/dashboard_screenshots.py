"""The pictures of the README, taken of a run's page: the overview, and a failed step with its continuations.

python benches/dashboard_screenshots.py runs/smoke docs/images
"""

import argparse
import subprocess
import sys
from pathlib import Path

import httpx

CHROMIUM = "/usr/bin/chromium"
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars".split()
SIZE = {"width": 1280, "height": 800}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, help="a run directory with a stage `rl`")
    arguments.add_argument("folder", type=Path, help="where the pictures go")
    options = arguments.parse_args()
    command = [sys.executable, "-m", "thor_ray.cli", "dashboard", str(options.run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().removeprefix("dashboard: ").strip()
            views = {"dashboard-overview": "overview", "dashboard-tree": f"tree&id={parent(address, options.run.name)}"}
            take(address, options.run.name, views, options.folder)
        finally:
            server.terminate()


def parent(address: str, run: str) -> str:
    """An episode with one failed step whose continuations differ in their rewards, of the latest round that has one."""
    query: dict[str, str | int] = {"run": run, "stage": "rl", "status": "step", "order": "written", "limit": 200}
    rows = httpx.get(f"{address}api/rollouts", params=query, timeout=60).raise_for_status().json()["rows"]
    groups: dict[str, dict[str, set[float]]] = {}
    for row in rows:
        groups.setdefault(row["parent_id"], {}).setdefault(row["group_uid"], set()).add(row["reward"])
    mixed = (one for one, steps in groups.items() if len(steps) == 1 and len(next(iter(steps.values()))) > 1)
    found = next(mixed, None)
    if found is None:
        raise SystemExit(f"{run} has no failed step whose continuations differ; take another run")
    return found


def take(address: str, run: str, views: dict[str, str], folder: Path) -> None:
    """One picture a view, in light colours."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(viewport=SIZE, color_scheme="light").new_page()
        for name, view in views.items():
            page.goto(f"{address}?run={run}&view={view}")
            page.wait_for_selector(f"main[data-ready={view.partition('&')[0]}]:not(.busy)")
            # Plots are drawn once the page has its size.
            page.wait_for_timeout(500)
            path = folder / f"{name}.png"
            page.screenshot(path=path)
            print(f"{path}: {path.stat().st_size // 1024} KiB")
        browser.close()


if __name__ == "__main__":
    main()
