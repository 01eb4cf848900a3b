// How the run goes: evaluations with their intervals, curves of every round, stages, settings, sandbox and log.

import { read } from "/api.js";
import { Chart } from "/charts.js";
import { badge, figures, h, number, percent, replace, seconds, words } from "/dom.js";
import { change, get, link } from "/state.js";

// Curves that belong together. A name that ends in * stands for all that begin so; unlisted figures follow by themselves.
const CHARTS = [
  ["Reward", ["reward", "correct", "step_reward"], true],
  ["Code", ["code_ratio", "pass_rate"], true],
  ["Loss", ["learner/loss", "loss"]],
  ["Gradient norm", ["learner/grad_norm", "grad_norm"]],
  ["Mismatch of engine and learner", ["learner/mismatch_kl", "learner/mismatch_max_abs"]],
  ["Probability ratio", ["learner/ratio_min", "learner/ratio_mean", "learner/ratio_max"]],
  ["Clipping", ["learner/clip_fraction", "learner/dual_clip_fraction"]],
  ["Staleness", ["staleness*", "stream/staleness*"]],
  ["Idle", ["idle*", "engine/idle*", "learner/idle*"], true],
  ["Throughput, tokens/s", ["tokens_per_second", "learner/tokens_per_second"]],
  ["Tokens of a trajectory", ["tokens"]],
  ["Why trajectories ended", ["finish/*"], true],
  ["How programs ended", ["code/*"], true],
  ["What the grader said", ["grade/*"], true],
  ["Seconds of an episode", ["seconds/*"]],
  ["Groups dropped", ["dropped/*"]],
  ["Trajectories rejected", ["rejected/*"]],
  ["Surprisal", ["learner/surprisal"]],
  ["Learning rate", ["learner/learning_rate", "learning_rate"]],
  ["Weights: gap of log-probs", ["weights/logprob_gap"]],
];
const PLAIN = { correct: "correct", reward: "reward", step_reward: "step reward" };

let charts = new Map();
let places = {};
let context = null;

export async function render(given) {
  context = given;
  charts = new Map();
  const [run, series] = await fetchAll();
  places = Object.fromEntries(["summary", "alarms", "evaluations", "stagesBar", "curves", "more", "below"].map((name) => [name, h("div", { class: name })]));
  places.curves.classList.add("grid");
  places.more.classList.add("grid");
  replace(context.main, h("h1", { class: "unseen" }, "Overview"), places.summary, places.alarms, places.evaluations, places.stagesBar, places.curves,
    h("details", { class: "fold", ontoggle: () => charts.forEach((chart) => chart.resize()) }, h("summary", {}, "All other figures"), places.more), places.below);
  draw(run, series);
  below(run);
  return () => charts.forEach((chart) => chart.dispose());
}

export async function update() {
  const [run, series] = await fetchAll();
  draw(run, series);
}

function fetchAll() {
  return Promise.all([read("overview", { run: context.run }, context.signal), read("metrics", { run: context.run }, context.signal)]);
}

function draw(run, series) {
  summary(run);
  alarms(run.alarms);
  evaluations(series);
  const plotted = Object.keys(series).filter((stage) => series[stage].rounds.length > 1);
  const wanted = get("stage");
  const stage = plotted.includes(wanted) ? wanted : plotted.includes("rl") ? "rl" : plotted.at(-1);
  replace(places.stagesBar, plotted.length > 1 && h("div", { class: "segmented", role: "group", "aria-label": "Stage" }, plotted.map((name) =>
    h("button", { type: "button", "aria-pressed": String(name === stage), onclick: () => change({ stage: name }) }, words(name)))));
  if (stage) curves(stage, series[stage]);
  else replace(places.curves, h("p", { class: "quiet" }, "No round has been recorded yet; curves appear here by themselves."));
}

function summary(run) {
  const stages = Object.entries(run.stages);
  const now = stages.find(([, stage]) => stage.seconds === null);
  const took = (Date.parse(run.updated) - Date.parse(run.started)) / 1000;
  replace(places.summary, h("section", { class: "card head" },
    h("div", {}, h("h2", {}, run.name), h("p", { class: "quiet" }, `thor ${run.command} · started ${local(run.started)}`,
      run.attempt > 1 ? ` · attempt ${run.attempt}` : "", run.environment.commit ? ` · commit ${run.environment.commit}` : "")),
    figures([["stage", now && run.status === "running" ? words(now[0]) : run.status], ["last change", local(run.updated)], ["after", seconds(took)]]),
    run.error && h("p", { class: "error" }, run.error),
    Object.entries(run.unreadable).map(([file, why]) => h("p", { class: "error" }, `${file}: ${why}`)),
    h("ol", { class: "timeline" }, stages.map(([name, stage]) => h("li", { class: stage.seconds === null ? "now" : "done", vars: { "--grow": String(Math.max(stage.seconds ?? 20, 4)) } },
      h("span", {}, words(name)), h("small", {}, stage.seconds === null ? "…" : seconds(stage.seconds)))))));
}

// What stands comes first; what has passed is kept, since it explains the curves.
function alarms(all) {
  const rounds = (alarm) => (alarm.first_round === null ? "" : alarm.first_round === alarm.last_round ? `round ${alarm.last_round}` : `rounds ${alarm.first_round}–${alarm.last_round}`);
  const row = (alarm) => h("li", {}, badge(alarm.standing ? "alarm" : "was", alarm.standing ? "bad" : ""), h("span", {}, alarm.words), h("small", {}, rounds(alarm)));
  replace(places.alarms, all.length > 0 && h("section", { class: "card" }, h("h3", {}, "What deserves a look"),
    h("ul", { class: "alarms" }, [...all].sort((left, right) => right.standing - left.standing).map(row))));
}

function evaluations(series) {
  const rows = Object.entries(series).filter(([, one]) => one.values.pass_at_1).map(([stage, one]) => {
    const last = one.rounds.length - 1;
    const value = (name) => one.values[name]?.[last] ?? null;
    return { stage, share: value("pass_at_1"), interval: value("pass_at_1_interval"), code: value("code_pass_rate"), problems: value("problems"), samples: value("samples_per_problem") };
  }).filter((row) => row.share !== null);
  replace(places.evaluations, rows.length > 0 && h("section", { class: "card" }, h("h3", {}, "Accuracy on held-out problems"),
    h("ul", { class: "intervals" }, rows.map((row) => h("li", { title: row.interval && `95 % interval ${percent(row.interval[0])} to ${percent(row.interval[1])}` },
      h("a", { href: link("rollouts", { stage: row.stage }) }, words(row.stage.replace(/^evaluate_?/, "") || "evaluation")),
      h("span", { class: "track" }, row.interval && h("span", { class: "reach", vars: { "--low": String(row.interval[0]), "--high": String(row.interval[1]) } }),
        h("span", { class: "dot", vars: { "--at": String(row.share) } })),
      h("b", {}, percent(row.share)),
      h("small", {}, row.code === null ? "no code" : `code passes ${percent(row.code)}`))))));
}

function curves(stage, one) {
  const values = { ...one.values };
  if (values.failing_share) {
    values.pass_rate = values.failing_share.map((share) => (share === null ? null : 1 - share));
    delete values.failing_share;
  }
  const names = Object.keys(values).filter((name) => !name.endsWith("_interval") && values[name].some((value) => typeof value === "number"));
  const used = new Set();
  const wanted = [];
  for (const [title, patterns, share] of CHARTS) {
    const mine = patterns.flatMap((pattern) => (pattern.endsWith("*") ? names.filter((name) => name.startsWith(pattern.slice(0, -1))) : names.filter((name) => name === pattern)));
    if (!mine.length) continue;
    mine.forEach((name) => used.add(name));
    wanted.push([title, mine, share, places.curves]);
  }
  for (const name of names.filter((each) => !used.has(each))) wanted.push([words(name), [name], false, places.more]);
  places.more.parentElement.hidden = !wanted.some((each) => each[3] === places.more);
  const keys = new Set(wanted.map(([title]) => `${stage} ${title}`));
  for (const [key, chart] of charts) if (!keys.has(key)) { chart.dispose(); chart.element.remove(); charts.delete(key); }
  if (!charts.size) { replace(places.curves); replace(places.more); }
  for (const [title, mine, share, place] of wanted) {
    const drawn = mine.map((name) => ({ name: label(name, mine), values: numbers(values[name]) }));
    const known = charts.get(`${stage} ${title}`);
    if (known) known.set(one.rounds, drawn);
    else {
      const chart = new Chart(title, one.rounds, drawn, { share, sync: stage });
      charts.set(`${stage} ${title}`, chart);
      place.append(chart.element);
    }
  }
}

function numbers(values) {
  return values.map((value) => (typeof value === "number" ? value : null));
}

function label(name, all) {
  if (PLAIN[name]) return PLAIN[name];
  const short = all.every((other) => other.includes("/")) ? name.slice(name.lastIndexOf("/") + 1) : name;
  return words(short);
}

function below(run) {
  const machine = { ...run.environment.versions, ...run.environment.machine };
  replace(places.below, [
    ["Settings", run.recipe && h("pre", {}, run.recipe)],
    ["Versions and machine", Object.keys(machine).length > 0 && figures(Object.entries(machine).map(([name, value]) => [words(name), typeof value === "number" ? number(value) : String(value)]))],
    ["Sandbox", run.sandbox && h("pre", {}, run.sandbox)],
    ["End of the log", run.log && h("pre", { class: "log" }, run.log)],
  ].filter(([, content]) => content).map(([title, content]) => h("details", { class: "fold" }, h("summary", {}, title), content)));
}

function local(moment) {
  return new Date(moment).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
