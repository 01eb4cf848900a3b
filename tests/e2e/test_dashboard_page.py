"""The page in a real browser: what a person clicks, types and sees, while a run goes on and after it ended."""

import re
import time

import pytest

from tests.support.browser import CHROMIUM, FLAGS, needs_chromium
from tests.support.dashboards import dashboard
from tests.support.live_runs import Run
from tests.support.runs import FAILED, evaluation, trajectory, write_rl_round, write_run
from tests.support.steps import write_steps
from thor_ray.metrics_registry import unregistered
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.runlog import RunLog

WIDTHS = ((1280, 900), (390, 844))
VIEWS = (
    "overview",
    "rollouts",
    "trajectory&id=rl0/e0.0&shade=log_prob",
    "group&uid=rl0/e1",
    "tree&id=rl0/e1.0",
    "time",
    "fleet",
    "compare",
    "tirgen",
)

TINY_SMOKE = [
    argument
    for setting in (
        "problems.train.count=32",
        "problems.heldout.count=4",
        "tirgen.problems=32",
        "cold_start.epochs=1",
        "rl.rounds=1000",
        "rl.groups_per_round=4",
        "rl.group_size=4",
        "rl.step_groups_per_round=2",
        "rl.step_group_size=2",
        "rl.sampling.max_new_tokens=64",
        "evaluation.samples_per_problem=1",
        "evaluation.sampling.max_new_tokens=64",
        "engine.max_sequences=32",
    )
    for argument in ("--set", setting)
]
"""A smoke whose rounds are short and many, so that it goes on until it is killed."""

pytestmark = needs_chromium

sync_api = pytest.importorskip("playwright.sync_api", reason="NOT CHECKED: playwright is not installed")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    runs = [write_run(place / "one"), write_run(place / "two")]
    write_steps(runs[0])
    return runs


@pytest.fixture(scope="module")
def address(runs):
    with dashboard(*runs) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page that fails its test if anything goes wrong in it or it turns to another server."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    faults: list[str] = []
    asked: set[str] = set()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.extend([message.text] * (message.type in ("error", "warning"))))

    def refuse(dialog):
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", refuse)
    page.on("request", lambda request: asked.add(request.url.split("/")[2].split(":")[0]))
    yield page
    context.close()
    assert faults == []
    assert asked <= {"127.0.0.1"}


def ready(page, view):
    page.wait_for_selector(f"main[data-ready={view}]:not(.busy)", timeout=30_000)


def until(page, expression, argument=None):
    """Waits until a JavaScript expression is true. Playwright's own way needs ``eval``, which the page forbids."""
    deadline = time.monotonic() + 30
    while not page.evaluate(expression, argument):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def open_view(page, address, query):
    page.goto(f"{address}?run=one&view={query}")
    ready(page, query.split("&")[0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WIDTHS, ids=str)
def test_every_view_fits_the_screen_in_both_schemes(page, address, size, scheme):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=scheme)
    for view in VIEWS:
        open_view(page, address, view)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        assert page.evaluate(
            "document.querySelector('#views a:last-child').getBoundingClientRect().right <= innerWidth"
        )
        dark = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]) < 128")
        assert dark == (scheme == "dark")


def test_overview_plots_metrics_of_every_round(page, address):
    open_view(page, address, "overview")
    page.wait_for_selector("figure[data-title=Reward] canvas")
    assert page.get_attribute("figure[data-title=Reward]", "data-points") == "12"
    drawn = page.evaluate("""() => { const c = document.querySelector('figure[data-title=Reward] canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
        for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }""")
    assert drawn > 500


def test_alarms_are_seen_from_everywhere_and_read_on_the_overview(page, address):
    open_view(page, address, "rollouts")
    page.click("#status >> text=1 alarm")
    ready(page, "overview")
    assert "nothing was learnt: every group was dropped" in page.inner_text(".alarms li")
    assert "rounds 1–11" in page.inner_text(".alarms li")


def test_a_person_filters_searches_opens_and_goes_back(page, address):
    page.goto(address)
    ready(page, "overview")
    page.click("nav >> text=rollouts")
    ready(page, "rollouts")
    whole = page.inner_text(".total b")
    page.click("[data-status=tool_error]")
    page.wait_for_url("**status=tool_error**")
    until(page, "before => document.querySelector('.total b').innerText !== before", whole)
    assert page.locator("tbody tr").count() == page.locator("tbody tr:has-text('tool error')").count() > 0
    page.keyboard.press("/")
    page.keyboard.type("rl3/e1")
    page.wait_for_url("**q=rl3**")
    until(page, "document.querySelectorAll('tbody tr').length === 2")
    link = page.url
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.inner_text("tr.chosen .name a") == page.inner_text("tbody tr:nth-child(2) .name a")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    ready(page, "trajectory")
    page.keyboard.press("t")
    ready(page, "tree")
    assert page.locator(".fork article").count() == 2
    assert "gcd.\n" in page.inner_text(".segment.cut pre") + "\n"
    page.go_back()
    ready(page, "trajectory")
    page.go_back()
    ready(page, "rollouts")
    assert page.url == link
    page.goto(link)
    ready(page, "rollouts")
    assert page.locator("tbody tr").count() == 2
    assert page.input_value("input[type=search]") == "rl3/e1"


def test_pages_of_rollouts_are_turned_by_keys(page, address):
    open_view(page, address, "rollouts&order=tokens")
    first = page.inner_text("tbody tr:first-child .name a")
    page.keyboard.press("n")
    page.wait_for_url("**offset=50**")
    until(page, "before => document.querySelector('tbody .name a').innerText !== before", first)
    page.keyboard.press("p")
    until(page, "before => document.querySelector('tbody .name a').innerText === before", first)


def test_tokens_are_shaded_as_the_records_say(page, address):
    open_view(page, address, "trajectory&id=rl0/e0.0")
    page.click("[data-shade=mask]")
    page.wait_for_selector(".token.in-mask")
    assert page.locator(".segment.trained .token.out").count() == 0
    assert page.locator(".segment.masked .token.in-mask").count() == 0
    page.keyboard.press("s")
    page.wait_for_selector(".token.unlikely")
    assert "log-prob −" not in page.get_attribute(".segment.prompt .token", "title")
    assert "log-prob -0.25" in page.get_attribute(".segment .token.unlikely", "title")
    page.click("[data-shade=advantage]")
    page.wait_for_selector(".token.minus")
    assert "shade=advantage" in page.url


def test_groups_attempts_and_two_runs_stand_side_by_side(page, address):
    open_view(page, address, "group&uid=rl0/e1")
    assert page.locator(".columns article").count() == 2
    assert "all rewards are equal" in page.inner_text(".note")
    open_view(page, address, "tree&id=corrected/2")
    assert page.locator("details.attempt").count() == 2
    open_view(page, address, "compare&problem=gcd-3&right_run=two")
    assert page.input_value("[data-side=left] select[aria-label='left run']") == "one"
    assert page.input_value("[data-side=right] select[aria-label='right run']") == "two"
    assert page.locator(".side .segment").count() > 4


def test_the_fleet_tells_what_each_engine_did_last(page, address):
    open_view(page, address, "fleet")
    assert "serves version\n3" in page.inner_text("[data-engine='0']")
    second = page.inner_text("[data-engine='1']")
    assert "serves version\n1" in second
    assert "20.0 s before" in second
    assert page.locator(".memory li").count() == 2


def test_steps_of_tirgen_are_read_filtered_and_linked(page, address):
    open_view(page, address, "overview")
    page.keyboard.press("6")
    ready(page, "tirgen")
    assert page.locator(".candidate").count() == 20
    first = page.locator(".candidate").first
    assert "NameError" in first.inner_text()
    assert "the text has 18, printed 36 (different)" in first.inner_text()
    assert "<img" in page.locator(".candidate", has_text="gcd-7").first.inner_text()
    page.get_by_label("kept").select_option("false")
    until(page, "document.querySelectorAll('.candidate').length === 10")
    assert "kept=false" in page.url
    assert "answer_correct: wrong" in page.locator(".candidate").first.inner_text()
    page.go_back()
    until(page, "document.querySelectorAll('.candidate').length === 20")
    page.keyboard.press("n")
    until(page, "document.querySelector('.pager').innerText.includes('21 – 40 of 50')")
    page.locator(".candidate button", has_text="gcd-23").click()
    until(page, "document.querySelectorAll('.candidate').length === 1")


def test_the_page_follows_a_run_and_outlives_it(page, tmp_path):
    (tmp_path / "runs").mkdir()
    donor = write_run(tmp_path / "donor")
    with dashboard(cwd=tmp_path) as address:
        page.goto(address)
        page.wait_for_selector("#problem:has-text('no runs yet')")
        with (
            RunLog.create(tmp_path / "runs" / "live", RunDirectory(donor).recipe(), "train") as log,
            log.stage(Stage.RL),
        ):
            for number in range(2):
                write_rl_round(log, number)
            page.wait_for_selector("#status:has-text('running')", timeout=30_000)
            page.wait_for_selector("figure[data-title=Reward][data-points='2'] canvas", timeout=30_000)
            write_rl_round(log, 2)
            page.wait_for_selector("figure[data-title=Reward][data-points='3']", timeout=30_000)
            page.click("nav >> text=rollouts")
            page.wait_for_selector(".total b:has-text('24')")
            write_rl_round(log, 3)
            page.wait_for_selector(".total b:has-text('44')", timeout=30_000)
        page.wait_for_selector("#status:has-text('finished')", timeout=30_000)
        page.goto("about:blank")
    with dashboard(tmp_path / "runs" / "live") as again:
        page.goto(f"{again}?view=trajectory&id=rl3/e0.0")
        ready(page, "trajectory")
        assert page.inner_text("h1") == "rl3/e0.0"
        page.goto("about:blank")


@pytest.mark.slow
def test_a_person_watches_a_smoke_live_until_it_is_killed_and_opens_what_it_left(page, tmp_path):
    smoke = Run(["smoke", "--live", *TINY_SMOKE], tmp_path)
    try:
        smoke.wait_for(lambda: "dashboard: http://" in smoke.output.read_text())
        (address,) = re.findall(r"dashboard: (http://127\.0\.0\.1:\d+/)", smoke.output.read_text())
        page.goto(address)
        ready(page, "overview")
        page.wait_for_selector("#status:has-text('running')")
        points = "Number(document.querySelector('figure[data-title=Reward]')?.dataset.points ?? 0)"
        smoke.wait_for(lambda: page.evaluate(points) > 1)
        before = page.evaluate(points)
        smoke.wait_for(lambda: page.evaluate(points) > before + 1)
        page.goto(f"{address}?run=smoke&view=rollouts&stage=rl")
        ready(page, "rollouts")
        # By its name: the run goes on, so another trajectory may have become the first row by now.
        first = page.inner_text("tbody .name a")
        page.click(f"tbody .name a:text-is('{first}')")
        ready(page, "trajectory")
        assert page.inner_text("h1") == first
        link = page.url.removeprefix(address)
        # A page whose server is gone says so on the console, which would count as its fault.
        page.goto("about:blank")
        smoke.process.kill()
        smoke.finish(seconds=60)
        assert smoke.left_over(seconds=60) == []
    finally:
        smoke.clean_up()
    directory = RunDirectory(tmp_path / "runs" / "smoke")
    assert [name for line in directory.metrics() for name in unregistered(line.stage, line.metrics)] == []
    with dashboard(directory.path) as again:
        page.goto(again + link)
        ready(page, "trajectory")
        assert page.inner_text("h1") == first
        page.wait_for_selector("#status:has-text('interrupted')", timeout=30_000)
        page.goto("about:blank")


def test_hostile_text_is_shown_and_never_run(page, tmp_path):
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b>\x1b[31m\u202e" + "A" * 2**20
    donor = write_run(tmp_path / "donor")
    name = "<b>id</b>/../'\"&x"
    with RunLog.create(tmp_path / "hostile", RunDirectory(donor).recipe(), "train") as log:
        log.keep_tokenizer(donor / "tokenizer")
        with log.stage(Stage.RL):
            one = trajectory(name, "<i>p</i>", (FAILED,), "<u>7</u>", extra=hostile)
            log.record_groups(evaluation(Stage.RL, [one]), Stage.RL, 0)
    with dashboard(tmp_path / "hostile") as address:
        page.goto(f"{address}?view=rollouts")
        ready(page, "rollouts")
        assert page.inner_text("tbody .name a") == name
        page.click("tbody .name a")
        ready(page, "trajectory")
        assert page.inner_text("h1") == name
        shown = page.inner_text(".segment.thought pre")
        assert "<script>alert(2)</script><b>bold</b>␛[31m\\u202e" in shown
        assert "show all" in page.inner_text(".segment.thought button.rest")
        page.click(".segment.thought button.rest")
        until(page, "document.querySelector('.segment.thought pre').textContent.length > 2 ** 20")
        assert (
            page.evaluate("document.querySelectorAll('main img, main script, main b b, main i i, main u').length") == 0
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.goto("about:blank")
