"""A real browser that looks at pages; tests skip, and say what nobody checked, where there is none."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="NOT CHECKED: no Chromium here (apt-get install chromium), so nobody saw the pages"
)


def browse(page: Path, profile: Path, *options: str) -> str:
    """Opens a page with every outside name unresolvable, and returns what the browser prints."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", *options]
    return subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout


def width_in_frame(page: Path, width: int, profile: Path) -> str:
    """``needed of there is``, in pixels, for a page in a frame. Script of a page around it measures, it has none."""
    frame = page.with_name("frame.html")
    frame.write_text(
        f'<iframe src="{page.name}" style="width:{width}px;height:900px;border:0" onload="'
        "const page = this.contentDocument.documentElement;"
        "document.title = page.scrollWidth + ' of ' + page.clientWidth\"></iframe>"
    )
    dom = browse(frame, profile, "--allow-file-access-from-files", "--window-size=1400,1000", "--dump-dom")
    return dom.partition("<title>")[2].partition("</title>")[0]
