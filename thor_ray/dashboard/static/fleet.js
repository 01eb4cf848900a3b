// The run's actors: engines and what they serve, learners, the sandbox, memory of each process.

import { read } from "/api.js";
import { Chart } from "/charts.js";
import { badge, figures, h, number, percent, replace, seconds } from "/dom.js";

const LOOK_MILLISECONDS = 5000;
let context = null;
let charts = [];
let drawn = {}; // Time of the look that is shown, and the run's status.

export async function render(given) {
  context = given;
  draw(await fetchFleet());
  // Looks are taken while nothing else is recorded, too.
  const timer = setInterval(() => document.hidden || update().catch(() => {}), LOOK_MILLISECONDS);
  return () => { clearInterval(timer); clear(); };
}

export async function update() {
  const fleet = await fetchFleet();
  if (fleet.look?.time !== drawn.time || fleet.status !== drawn.status) draw(fleet);
}

function fetchFleet() {
  return read("fleet", { run: context.run }, context.signal);
}

function clear() {
  charts.forEach((chart) => chart.dispose());
  charts = [];
}

function draw(fleet) {
  clear();
  drawn = { time: fleet.look?.time, status: fleet.status };
  const title = h("h1", { class: "unseen" }, "Fleet");
  if (!fleet.look) {
    replace(context.main, title, h("p", { class: "quiet" }, "Nobody has looked at this run's actors: it has not started any yet, or an older version ran it."));
    return;
  }
  const live = fleet.status === "running";
  replace(context.main, title, summary(fleet, live), h("div", { class: "grid" }, fleet.engines.map((engine, index) => card(fleet, engine, index, live))),
    h("div", { class: "grid" }, curves(fleet)), processes(fleet.look.processes));
}

function summary(fleet, live) {
  const { look } = fleet;
  return h("section", { class: "card head" },
    figures([["seen", local(look.time) + (live ? "" : ", the last time")], ["learner", look.learner_version === null ? "none" : `version ${look.learner_version}`],
      ["engines", number(fleet.engines.length)], ["restarts of the run", number(fleet.attempt - 1)], ["memory", memory(fleet.memory.at(-1))]]),
    fleet.engine_alarms.length > 0 && live && h("ul", { class: "alarms" }, fleet.engine_alarms.map((words) => h("li", {}, badge("alarm", "bad"), h("span", {}, words)))));
}

function card(fleet, engine, index, live) {
  const { look } = fleet;
  const behind = look.learner_version !== null && engine.version !== null && engine.version < look.learner_version;
  const state = !live ? badge("ended") : !engine.answers ? badge("does not answer", "bad") : behind ? badge("behind", "warn") : badge("answers", "good");
  const since = engine.generated_at && (Date.parse(look.time) - Date.parse(engine.generated_at)) / 1000;
  const rate = engine.tokens_per_second.at(-1);
  return h("section", { class: "card", "data-engine": String(index) }, h("h3", {}, `Engine ${index} `, state), figures([
    ["serves version", engine.version === null ? "–" : number(engine.version)],
    ["last generated", engine.generated_at === null ? "never" : since < 1 ? "just then" : `${seconds(since)} before`],
    ["tokens/s", number(rate === null ? null : Math.round(rate))],
    ["tokens so far", number(engine.generated_tokens)],
    ["programs run", number(engine.sandbox_calls)],
    ["lost by the sandbox", number(engine.infra_errors)],
    ["waiting for the sandbox", percent(engine.saturation), "share of its programs' time, over the last minute, that they waited for a place"],
    ["isolation level", engine.isolation === null ? "–" : number(engine.isolation)]]));
}

function curves(fleet) {
  if (fleet.seconds.length < 2) return [];
  charts.push(new Chart("Tokens/s of each engine, over seconds", fleet.seconds, fleet.engines.map((engine, index) => ({ name: `engine ${index}`, values: engine.tokens_per_second })), { sync: "fleet", xLabel: "seconds" }));
  charts.push(new Chart("Memory of all processes, MiB", fleet.seconds, [{ name: "MiB", values: fleet.memory }], { sync: "fleet", xLabel: "seconds" }));
  return charts.map((chart) => chart.element);
}

function processes(all) {
  if (!all.length) return null;
  const largest = Math.max(...all.map((one) => one.memory_mib));
  return h("section", { class: "card" }, h("h3", {}, "Memory of each process"), h("ul", { class: "memory" }, [...all].sort((left, right) => right.memory_mib - left.memory_mib).map((one) =>
    h("li", {}, h("span", {}, one.name, " ", h("small", {}, `process ${one.pid}`)), h("span", { class: "bar" }, h("i", { class: "part-0", vars: { "--share": String(one.memory_mib / largest) } })), h("b", { class: "figure" }, memory(one.memory_mib))))));
}

function memory(mebibytes) {
  return mebibytes >= 1024 ? `${(mebibytes / 1024).toFixed(1)} GiB` : `${number(mebibytes)} MiB`;
}

function local(time) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
