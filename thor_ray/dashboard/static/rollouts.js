// All trajectories: searched, filtered, sorted and paged by the server; chosen and opened by keys.

import { read } from "/api.js";
import { h, number, replace, seconds, signed, STATUSES, statusBadges, words } from "/dom.js";
import { change, get, go, link, params } from "/state.js";

const PAGE = 50;
const TYPING_MILLISECONDS = 180;
const ORDERS = { written: "recorded", reward: "reward", tokens: "length", seconds: "time", calls: "code runs", advantage: "advantage", round: "round" };
const SORTABLE = { round: "stage", reward: "reward", advantage: "adv.", tokens: "tokens", calls: "code", seconds: "time" };

let context = null;
let places = {};
let chosen = 0;
let last = null;
let typing = null;

export async function render(given) {
  const again = context?.main === given.main && given.main.contains(places.rows) && context.run === given.run;
  context = given;
  const page = await fetchPage();
  if (!again) frame();
  draw(page);
  return () => clearTimeout(typing);
}

// The list does not move under its reader: new trajectories are announced, and come when asked for.
export async function update() {
  const page = await fetchPage();
  const more = page.recorded - last.recorded;
  if (Number(get("offset", "0")) === 0 && chosen === 0 && scrollY < 200) draw(page);
  else if (more > 0) replace(places.news, h("button", { type: "button", onclick: () => draw(page) }, `${number(more)} new trajectories: show`));
}

export function key(event) {
  if (event.key === "j" || event.key === "ArrowDown") choose(chosen + 1, event);
  else if (event.key === "k" || event.key === "ArrowUp") choose(chosen - 1, event);
  else if (event.key === "Enter" && !event.target.closest("a, button")) places.rows.querySelector("tr.chosen a")?.click();
  else if (event.key === "n" && last && offset() + PAGE < last.total) turn(PAGE);
  else if (event.key === "p" && offset() > 0) turn(-PAGE);
}

function fetchPage() {
  const query = Object.fromEntries(["stage", "round", "q", "group_uid", "problem_id", "order", "offset"].map((name) => [name, get(name)]));
  return read("rollouts", { ...query, run: context.run, status: params().getAll("status"), ascending: get("ascending"), limit: PAGE }, context.signal);
}

function frame() {
  places = { chips: h("div", { class: "chips", role: "group", "aria-label": "Filter by status" }), rows: h("tbody"), pager: h("div", { class: "pager" }), news: h("span", { class: "news" }),
    total: h("span", { class: "total", role: "status" }), stage: h("select", { "aria-label": "Stage", onchange: (event) => refine({ stage: event.target.value, round: "" }) }),
    round: h("select", { "aria-label": "Round", onchange: (event) => refine({ round: event.target.value }) }), head: h("tr") };
  places.search = h("input", { type: "search", placeholder: "Search texts, answers, ids  ( / )", "aria-label": "Search", value: get("q"), maxlength: 1000, spellcheck: "false", oninput: search });
  places.order = h("select", { "aria-label": "Sort by", onchange: (event) => refine({ order: event.target.value }) }, Object.entries(ORDERS).map(([name, text]) => h("option", { value: name }, text)));
  places.direction = h("button", { type: "button", class: "direction", onclick: () => refine({ ascending: get("ascending") ? "" : "true" }) });
  replace(context.main, h("h1", { class: "unseen" }, "Rollouts"),
    h("section", { class: "filters" }, places.search, h("div", { class: "selects" }, places.stage, places.round, h("label", {}, h("span", { class: "quiet" }, "by "), places.order), places.direction), places.chips),
    h("div", { class: "above" }, places.total, places.news),
    h("div", { class: "scroll" }, h("table", { class: "rollouts" }, h("thead", {}, places.head), places.rows)), places.pager);
}

function draw(page) {
  last = page;
  chosen = Math.min(chosen, Math.max(page.rows.length - 1, 0));
  replace(places.news);
  if (document.activeElement !== places.search) places.search.value = get("q");
  controls(page);
  replace(places.total, h("b", {}, number(page.total)), page.total === page.recorded ? " trajectories" : ` of ${number(page.recorded)} trajectories`,
    ["group_uid", "problem_id"].filter((name) => get(name)).map((name) => h("a", { class: "badge info", title: "remove this filter", href: without(name) }, `${name.split("_")[0]} ${get(name)} ✕`)));
  replace(places.rows, page.rows.map(row));
  if (!page.rows.length) replace(places.rows, h("tr", { class: "none" }, h("td", { colspan: 8 }, page.recorded ? "No trajectory is like that." : "Nothing has been recorded yet.")));
  const from = offset();
  replace(places.pager, h("button", { type: "button", disabled: from <= 0, onclick: () => turn(-PAGE) }, "‹ previous"),
    h("span", {}, page.total ? `${number(from + 1)} – ${number(Math.min(from + PAGE, page.total))} of ${number(page.total)}` : ""),
    h("button", { type: "button", disabled: from + PAGE >= page.total, onclick: () => turn(PAGE) }, "next ›"));
  mark();
}

function controls(page) {
  const stages = Object.keys(page.stages);
  replace(places.stage, h("option", { value: "" }, "all stages"), stages.map((name) => h("option", { value: name }, words(name))));
  places.stage.value = get("stage");
  const [, low, high] = page.stages[get("stage")] ?? [0, 0, 0];
  places.round.hidden = low === high;
  replace(places.round, h("option", { value: "" }, "all rounds"), Array.from({ length: high - low + 1 }, (_, index) => h("option", { value: low + index }, `round ${low + index}`)));
  places.round.value = get("round");
  places.order.value = get("order", "written");
  places.direction.textContent = get("ascending") ? "↑ ascending" : "↓ descending";
  const wanted = params().getAll("status");
  replace(places.chips, Object.entries(STATUSES).filter(([name]) => page.counts[name] || wanted.includes(name)).map(([name, [text, kind, title]]) => {
    const on = wanted.includes(name);
    return h("button", { type: "button", class: `chip ${kind}`, title, "data-status": name, "aria-pressed": String(on), onclick: () => refine({ status: on ? wanted.filter((one) => one !== name) : [...wanted, name] }) },
      text, h("small", {}, number(page.counts[name])));
  }));
  const order = get("order", "written");
  const sorted = (name) => (order === name ? (get("ascending") ? "ascending" : "descending") : null);
  replace(places.head, h("th", {}, "trajectory"), h("th", {}, "what became of it"), Object.entries(SORTABLE).map(([name, text]) =>
    h("th", { class: name === "round" ? "" : "figure", "aria-sort": sorted(name) },
      h("button", { type: "button", onclick: () => refine({ order: name, ascending: order === name && !get("ascending") ? "true" : "" }) }, text, sorted(name) && (get("ascending") ? " ↑" : " ↓")))));
}

function row(one) {
  const good = one.calls - one.failed_calls;
  return h("tr", { onclick: (event) => event.target.closest("a") || go(address(one)) },
    h("td", { class: "name" }, h("a", { href: address(one) }, one.trajectory_id), h("small", {}, one.problem_id)),
    h("td", { class: "outcome" }, statusBadges(one.statuses), one.answer !== null && h("small", { class: "answer" }, one.answer)),
    h("td", { class: "where" }, words(one.stage), h("small", {}, `round ${one.round}`)),
    h("td", { class: "figure reward", "data-label": "reward" }, number(one.reward)),
    h("td", { class: `figure ${one.advantage > 0 ? "up" : one.advantage < 0 ? "down" : ""}`, "data-label": "adv." }, signed(one.advantage)),
    h("td", { class: "figure", "data-label": "tokens" }, number(one.tokens)),
    h("td", { class: "figure", "data-label": "code" }, one.calls ? `${good}/${one.calls}` : "–"),
    h("td", { class: "figure", "data-label": "time" }, seconds(one.seconds)));
}

function address(one) {
  return link("trajectory", { id: one.trajectory_id });
}

function without(name) {
  const rest = new URLSearchParams(location.search);
  rest.delete(name);
  return `/?${rest}`;
}

function search(event) {
  clearTimeout(typing);
  typing = setTimeout(() => refine({ q: event.target.value.trim() }, { replace: true }), TYPING_MILLISECONDS);
}

function refine(changes, options) {
  chosen = 0;
  change({ ...changes, offset: "" }, options);
}

function offset() {
  return Number(get("offset", "0"));
}

function turn(by) {
  chosen = 0;
  change({ offset: Math.max(0, offset() + by) || "" });
  scrollTo(0, 0);
}

function choose(index, event) {
  event.preventDefault();
  chosen = Math.max(0, Math.min(index, (last?.rows.length ?? 1) - 1));
  mark();
  places.rows.children[chosen]?.scrollIntoView({ block: "nearest" });
}

function mark() {
  [...places.rows.children].forEach((element, index) => element.classList.toggle("chosen", index === chosen));
}
