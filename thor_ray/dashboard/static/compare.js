// The same problem twice: early and late weights, or two runs.

import { read } from "/api.js";
import { figures, h, number, replace, seconds, signed, statusBadges, words } from "/dom.js";
import { segment } from "/segments.js";
import { change, get, link } from "/state.js";

const MOST = 200;
let context = null;

export async function render(given) {
  context = given;
  const runs = (await read("runs", {}, given.signal)).map((run) => run.name);
  const problem = get("problem") || (await anyProblem());
  if (!problem) {
    replace(given.main, h("p", { class: "quiet" }, "Nothing has been recorded yet."));
    return;
  }
  const [left, right] = await Promise.all([side("left", problem, runs, 0), side("right", problem, runs, -1)]);
  replace(given.main, h("h1", { class: "unseen" }, "Compare"),
    h("form", { class: "filters", onsubmit: (event) => { event.preventDefault(); change({ problem: event.target.elements.problem.value.trim(), left: "", right: "" }); } },
      h("label", { class: "wide" }, "problem ", h("input", { name: "problem", value: problem, spellcheck: "false", "aria-label": "Problem" })), h("button", {}, "show"),
      h("a", { href: link("rollouts", { problem_id: problem }) }, "its rollouts")),
    h("div", { class: "pair" }, left, right));
}

// A problem that was tried in most stages tells most.
async function anyProblem() {
  const { stages } = await read("rollouts", { run: context.run, limit: 1 }, context.signal);
  const stage = Object.keys(stages).filter((name) => name.startsWith("evaluate")).at(-1) ?? Object.keys(stages)[0];
  if (!stage) return "";
  const page = await read("rollouts", { run: context.run, stage, limit: 1 }, context.signal);
  return page.rows[0]?.problem_id ?? "";
}

async function side(name, problem, runs, fallback) {
  const run = runs.includes(get(`${name}_run`)) ? get(`${name}_run`) : context.run;
  const page = await read("rollouts", { run, problem_id: problem, limit: MOST, ascending: "true" }, context.signal);
  const rows = page.rows;
  const chosen = rows.find((row) => row.trajectory_id === get(name)) ?? rows.at(fallback);
  const pickRun = h("select", { "aria-label": `${name} run`, onchange: (event) => change({ [`${name}_run`]: event.target.value, [name]: "" }) }, runs.map((one) => h("option", { value: one, selected: one === run }, one)));
  if (!chosen) return h("article", { class: "side", "data-side": name }, h("header", {}, pickRun), h("p", { class: "quiet" }, "This run has not tried the problem."));
  const one = await read("trajectory", { run, id: chosen.trajectory_id }, context.signal);
  const versions = one.segments.flatMap((each) => each.versions ?? []);
  return h("article", { class: "side", "data-side": name },
    h("header", {}, runs.length > 1 && pickRun, choose(name, rows, chosen)),
    h("p", { class: "badges" }, statusBadges(one.statuses)),
    figures([["weights", versions.length ? `v${Math.max(...versions)}` : "–"], ["reward", number(one.reward)], ["advantage", signed(one.advantage)], ["answer", one.answer ?? "none"], ["tokens", number(one.tokens)], ["time", seconds(chosen.seconds)]]),
    h("p", {}, h("a", { href: link("trajectory", { run, id: one.trajectory_id }) }, one.trajectory_id)),
    h("div", { class: "segments" }, one.segments.map((each, index) => segment(each, { compact: true, last: index === one.segments.length - 1 }))));
}

function choose(name, rows, chosen) {
  const places = Map.groupBy ? Map.groupBy(rows, place) : rows.reduce((all, row) => all.set(place(row), [...(all.get(place(row)) ?? []), row]), new Map());
  return h("select", { "aria-label": `${name} trajectory`, onchange: (event) => change({ [name]: event.target.value }) }, [...places].map(([label, mine]) =>
    h("optgroup", { label }, mine.map((row) => h("option", { value: row.trajectory_id, selected: row.trajectory_id === chosen.trajectory_id }, `${row.trajectory_id} · reward ${number(row.reward)}`)))));
}

function place(row) {
  return `${words(row.stage)}, round ${row.round}`;
}
