// Where the seconds of trajectories went: shares, tails, rounds, and the slowest ones.

import { read } from "/api.js";
import { Chart } from "/charts.js";
import { h, number, percent, replace, seconds, statusBadges, words } from "/dom.js";
import { change, get, link } from "/state.js";

const PARTS = { llm_seconds: "engine", tool_seconds: "programs", queue_seconds: "queue", grade_seconds: "grading" };
let context = null;
let charts = [];

export async function render(given) {
  context = given;
  draw(await fetchTiming());
  return clear;
}

export async function update() {
  draw(await fetchTiming());
}

function fetchTiming() {
  return read("timing", { run: context.run, stage: get("stage") }, context.signal);
}

function clear() {
  charts.forEach((chart) => chart.dispose());
  charts = [];
}

function draw(timing) {
  clear();
  const stages = Object.keys(timing.stages);
  const bar = h("div", { class: "segmented", role: "group", "aria-label": "Stage" }, ["", ...stages].map((name) =>
    h("button", { type: "button", "aria-pressed": String(name === get("stage")), onclick: () => change({ stage: name }) }, name ? words(name) : "all")));
  if (!timing.trajectories) {
    replace(context.main, h("h1", { class: "unseen" }, "Time"), bar, h("p", { class: "quiet" }, "Nothing has been recorded yet."));
    return;
  }
  replace(context.main, h("h1", { class: "unseen" }, "Time"), bar,
    h("section", { class: "card" }, h("h3", {}, `Seconds of ${number(timing.trajectories)} trajectories`), shares(timing), tails(timing)),
    h("div", { class: "grid" }, curves(timing)), slowest(timing.slowest));
}

function shares(timing) {
  return [h("div", { class: "shares", role: "img", "aria-label": "Shares of the time" }, Object.keys(PARTS).map((name, index) =>
    h("i", { class: `part-${index}`, vars: { "--share": String(timing.parts[name].share ?? 0) }, title: `${PARTS[name]} ${percent(timing.parts[name].share)}` }))),
  h("p", { class: "legend" }, Object.entries(PARTS).map(([name, text], index) => h("span", { class: "legend-item" }, h("i", { class: `swatch part-${index}` }), `${text} ${percent(timing.parts[name].share)}`)))];
}

function tails(timing) {
  const names = { ...PARTS, seconds: "all" };
  return h("div", { class: "scroll" }, h("table", { class: "plain" },
    h("thead", {}, h("tr", {}, ["", "total", "mean", ...timing.percentiles.map((one) => (one === 100 ? "largest" : `p${one}`))].map((text) => h("th", { class: "figure" }, text)))),
    h("tbody", {}, Object.entries(names).map(([name, text]) => h("tr", {}, h("th", {}, text), [timing.parts[name].total, timing.parts[name].mean, ...timing.parts[name].percentiles].map((value) => h("td", { class: "figure" }, seconds(value))))))));
}

function curves(timing) {
  const stages = [...new Set(timing.rounds.map((one) => one.stage))];
  for (const stage of stages) {
    const rounds = timing.rounds.filter((one) => one.stage === stage);
    if (rounds.length < 2) continue;
    const x = rounds.map((one) => one.round);
    const series = Object.entries(PARTS).map(([name, text]) => ({ name: text, values: rounds.map((one) => one[name]) }));
    charts.push(new Chart(`${words(stage)}: mean seconds of a trajectory`, x, series, { sync: "time" }));
    charts.push(new Chart(`${words(stage)}: slowest one in a hundred, seconds`, x, [{ name: "p99", values: rounds.map((one) => one.p99) }], { sync: "time" }));
  }
  return charts.map((chart) => chart.element);
}

function slowest(rows) {
  return h("section", { class: "card" }, h("h3", {}, "The slowest"), h("ol", { class: "slowest" }, rows.map((one) => h("li", {},
    h("a", { href: link("trajectory", { id: one.trajectory_id }) }, one.trajectory_id),
    h("div", { class: "shares thin", vars: { "--width": String(one.seconds / (rows[0].seconds || 1)) } }, Object.keys(PARTS).map((name, index) => h("i", { class: `part-${index}`, vars: { "--share": String(one.seconds ? one[name] / one.seconds : 0) }, title: `${PARTS[name]} ${seconds(one[name])}` }))),
    h("b", { class: "figure" }, seconds(one.seconds)), h("span", { class: "badges" }, statusBadges(one.statuses))))));
}
