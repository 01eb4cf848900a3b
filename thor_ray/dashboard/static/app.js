// The frame around the views: which run, which view, whether the run goes on, and the keys that work everywhere.

import { read, Refused } from "/api.js";
import { badge, h, replace } from "/dom.js";
import { get, go, link, params } from "/state.js";
import * as overview from "/overview.js";
import * as rollouts from "/rollouts.js";
import * as trajectory from "/trajectory.js";
import * as group from "/group.js";
import * as tree from "/tree.js";
import * as time from "/time.js";
import * as tirgen from "/tirgen.js";
import * as fleet from "/fleet.js";
import * as compare from "/compare.js";

const VIEWS = { overview, rollouts, trajectory, group, tree, time, fleet, compare, tirgen };
const TABS = ["overview", "rollouts", "time", "fleet", "compare", "tirgen"];
const TITLES = { tirgen: "TIRGen" };
const INSIDE = { trajectory: "rollouts", group: "rollouts", tree: "rollouts" };
const POLL_MILLISECONDS = 2000;
const CALM = { finished: "good", running: "live", interrupted: "warn", failed: "bad", unreadable: "bad" };
const KEYS = [
  ["1 … 6", "overview, rollouts, time, fleet, compare, tirgen"],
  ["/", "search rollouts"],
  ["j  k", "next, previous row or sibling"],
  ["Enter", "open the chosen row"],
  ["n  p", "next, previous page"],
  ["s", "next shading of tokens"],
  ["g  t", "group, step tree of a trajectory"],
  ["u", "up: to the rollouts"],
  ["?", "this list"],
];

const main = document.getElementById("main");
let shown = null; // { view, controller, seen }: what stands in `main`, and the run's state that it shows at least.
let searchWhenShown = false; // Whether `/` was pressed elsewhere and the rollouts are on their way.
let latest = { run: null, change: null }; // What the run had recorded when it was last asked.

async function show() {
  const run = get("run");
  if (!run) return;
  shown?.controller.abort();
  shown?.dispose?.();
  const name = VIEWS[get("view")] ? get("view") : "overview";
  const controller = new AbortController();
  const current = { view: VIEWS[name], controller, seen: latest.run === run ? latest.change : null, name };
  shown = current;
  tabs(INSIDE[name] ?? name);
  document.title = `${name} · ${run} · THOR-Ray`;
  main.classList.add("busy");
  delete main.dataset.ready;
  try {
    const context = { run, signal: controller.signal, main };
    const disposed = await current.view.render(context);
    if (shown !== current) { disposed?.(); return; }
    current.dispose = disposed;
    say("");
    current.drawn = true;
    main.dataset.ready = name;
    if (searchWhenShown) document.querySelector("input[type=search]")?.focus();
    searchWhenShown = false;
  } catch (error) {
    if (error.name === "AbortError") return;
    replace(main, h("p", { class: "quiet" }, "Nothing to show."));
    say(error instanceof Refused ? error.message : `This page has a fault: ${error.message}`);
    if (!(error instanceof Refused)) throw error;
  } finally {
    if (shown === current) main.classList.remove("busy");
  }
}

function tabs(active) {
  replace(document.getElementById("views"), TABS.map((name) =>
    h("a", { href: link(name), "aria-current": name === active ? "page" : null }, TITLES[name] ?? name)));
}

function say(message) {
  const place = document.getElementById("problem");
  place.hidden = !message;
  place.textContent = message;
}

async function choices() {
  const runs = await read("runs");
  const select = document.getElementById("run");
  const names = runs.map((run) => run.name);
  if (select.dataset.names !== JSON.stringify(names)) {
    select.dataset.names = JSON.stringify(names);
    replace(select, runs.map((run) => h("option", { value: run.name }, run.name)));
  }
  if (!runs.length) {
    say("There are no runs yet. Start one with `thor smoke`; it appears here by itself.");
    return;
  }
  if (!names.includes(get("run"))) {
    const wanted = params();
    wanted.set("run", names[0]);
    history.replaceState(null, "", `/?${wanted}`);
  }
  select.value = get("run");
}

// Asks whether the run has recorded something since the view was drawn, and lets the view follow.
async function follow() {
  try {
    const before = document.getElementById("run").dataset.names;
    if (!get("run") || !before) await choices();
    if (!get("run")) return;
    const status = await read("status", { run: get("run") });
    replace(document.getElementById("status"), badge(status.status, CALM[status.status] ?? "", status.error || null),
      status.alarms > 0 && h("a", { class: "badge bad", href: link("overview") }, status.alarms === 1 ? "1 alarm" : `${status.alarms} alarms`));
    if (!shown?.drawn && !main.classList.contains("busy")) await show();
    if (shown?.drawn) say("");
    latest = { run: get("run"), change: status.change };
    const current = shown;
    if (current && current.seen !== status.change && main.dataset.ready === current.name) {
      await current.view.update?.();
      current.seen = status.change;
    }
  } catch (error) {
    if (error instanceof Refused) say(error.message);
    else if (error.name !== "AbortError") throw error;
  }
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape" && typing) event.target.blur();
  if (typing || document.getElementById("help").open) return;
  const tab = TABS[Number(event.key) - 1];
  if (tab) go(link(tab));
  else if (event.key === "?") help();
  else if (event.key === "u") go(link("rollouts"));
  else if (event.key === "/") {
    event.preventDefault();
    searchWhenShown = get("view") !== "rollouts";
    if (searchWhenShown) go(link("rollouts"));
    else document.querySelector("input[type=search]")?.focus();
  } else shown?.view.key?.(event);
}

function help() {
  const dialog = document.getElementById("help");
  replace(dialog, h("h2", {}, "Keys"), h("dl", { class: "keys" }, KEYS.map(([keys, what]) =>
    h("div", {}, h("dt", {}, keys.split("  ").map((key) => h("kbd", {}, key))), h("dd", {}, what)))),
  h("form", { method: "dialog" }, h("button", {}, "Close")));
  dialog.showModal();
}

document.addEventListener("keydown", onKey);
document.getElementById("help-button").addEventListener("click", help);
document.getElementById("run").addEventListener("change", (event) =>
  go(link(TABS.includes(get("view")) ? get("view") : "overview", { run: event.target.value })));
document.addEventListener("click", (event) => {
  const anchor = event.target.closest("a[href^='/?']");
  if (!anchor || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go(anchor.getAttribute("href"));
  scrollTo(0, 0);
});
addEventListener("popstate", show);
addEventListener("navigate", show);
addEventListener("unhandledrejection", (event) => say(`This page has a fault: ${event.reason?.message ?? event.reason}`));

await choices().catch((error) => say(error.message));
if (get("run")) await show();
await follow();
setInterval(() => document.hidden || follow(), POLL_MILLISECONDS);
