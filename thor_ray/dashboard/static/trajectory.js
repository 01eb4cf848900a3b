// One trajectory: what became of it, then its segments, shaded token by token.

import { read } from "/api.js";
import { badge, figures, h, number, replace, seconds, signed, statusBadges, words } from "/dom.js";
import { available, legend, segment, SHADINGS } from "/segments.js";
import { change, get, go, link } from "/state.js";

let context = null;
let current = null;
let tokens = null;
let places = {};

export async function render(given) {
  const id = get("id");
  const same = current?.trajectory_id === id && context?.run === given.run && given.main.contains(places.body);
  context = given;
  if (!same) {
    [current, tokens] = await Promise.all([read("trajectory", { run: given.run, id }, given.signal), read("tokens", { run: given.run, id }, given.signal)]);
    places = { tools: h("div", { class: "tools" }), body: h("div", { class: "segments" }) };
    replace(given.main, heading(), places.tools, places.body);
  }
  body();
}

export function key(event) {
  const kinds = available(current, tokens);
  const here = current?.siblings.findIndex((one) => one.trajectory_id === current.trajectory_id);
  const beside = (by) => current.siblings[here + by] && go(link("trajectory", { id: current.siblings[here + by].trajectory_id, shade: get("shade") }));
  if (event.key === "s") change({ shade: kinds[(kinds.indexOf(shading()) + 1) % kinds.length] }, { replace: true });
  else if (event.key === "j" || event.key === "]") beside(1);
  else if (event.key === "k" || event.key === "[") beside(-1);
  else if (event.key === "g") go(link("group", { uid: current.group_uid }));
  else if (event.key === "t" && related()) go(link("tree", { id: current.trajectory_id }));
}

function shading() {
  return available(current, tokens).includes(get("shade")) ? get("shade") : "none";
}

function related() {
  return current.branches > 0 || current.parent !== null || current.segments.some((one) => one.attempts.length);
}

export function why(reason) {
  const plain = { zero_variance: "all rewards are equal, so every advantage is 0", too_few_survivors: "too few trajectories survived the filters", stale: "sampled under weights that were too old" };
  return plain[reason] ?? words(reason);
}

function heading() {
  const one = current;
  const cost = one.cost;
  const compare = link("compare", { problem: one.problem_id, left: one.trajectory_id });
  return h("section", { class: "card head" },
    h("p", { class: "crumbs" }, h("a", { href: link("rollouts", { stage: one.stage, round: one.round }) }, `${words(one.stage)}, round ${one.round}`), " / ",
      h("a", { href: link("group", { uid: one.group_uid }) }, `${one.group_kind} group ${one.group_uid}`)),
    h("h1", {}, one.trajectory_id), h("p", { class: "badges" }, statusBadges(one.statuses), badge(words(one.finish), "mute", "why it ended")),
    one.group_dropped && h("p", { class: "note" }, `The group was dropped: ${why(one.group_dropped)}.`),
    one.excluded && h("p", { class: "note" }, `Excluded from its group: ${words(one.excluded)}.`),
    h("p", { class: "verdict" }, "answer ", h("code", {}, one.answer ?? "none"), one.gold_answer !== null && [" gold ", h("code", {}, one.gold_answer)], one.grade_status && ` graded ${words(one.grade_status)}`),
    figures([
      ["reward", number(one.reward)], ["advantage", signed(one.advantage)],
      ["tokens", number(one.tokens)], ["in the loss", number(one.trained_tokens)], cost.discarded_tokens > 0 && ["cut away", number(cost.discarded_tokens)],
      ["engine", seconds(cost.llm_seconds)], ["programs", seconds(cost.tool_seconds)], ["queue", seconds(cost.queue_seconds)], ["grading", seconds(cost.grade_seconds)],
    ]),
    h("nav", { class: "actions", "aria-label": "Related" },
      h("a", { href: link("rollouts", { problem_id: one.problem_id }) }, `problem ${one.problem_id}`),
      h("a", { href: link("group", { uid: one.group_uid }) }, `${one.siblings.length} siblings`),
      related() && h("a", { href: link("tree", { id: one.trajectory_id }) }, one.parent ? "step tree" : one.branches ? `step tree, ${one.branches} continuations` : "self-correction"),
      h("a", { href: compare }, "compare")),
    h("ol", { class: "siblings", "aria-label": "Siblings" }, one.siblings.map((sibling, index) => h("li", {},
      h("a", { href: link("trajectory", { id: sibling.trajectory_id, shade: get("shade") }), "aria-current": sibling.trajectory_id === one.trajectory_id ? "true" : null, class: rewardKind(sibling.reward), title: `${sibling.trajectory_id}: reward ${number(sibling.reward)}` }, index + 1)))));
}

export function rewardKind(reward) {
  return reward === null ? "ours" : reward > 0 ? "good" : "bad";
}

function body() {
  const kind = shading();
  replace(places.tools, h("div", { class: "segmented", role: "group", "aria-label": "Shading of tokens" }, available(current, tokens).map((name) =>
    h("button", { type: "button", "data-shade": name, "aria-pressed": String(name === kind), onclick: () => change({ shade: name === "none" ? "" : name }, { replace: true }) }, SHADINGS[name]))),
  h("div", { class: "legend" }, legend(kind, tokens, current.advantage)));
  const last = current.segments.length - 1;
  replace(places.body, current.parent && h("p", { class: "note" }, `Tokens 0 – ${number(current.parent.cut)} are the prefix taken over from `, h("a", { href: link("trajectory", { id: current.parent.trajectory_id }) }, current.parent.trajectory_id), ", cut in its step ", current.parent.step_index + 1, "."),
    current.segments.map((one, index) => segment(one, { tokens, shading: kind, advantage: current.advantage, last: index === last })));
}
