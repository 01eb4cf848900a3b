// A group: siblings side by side, the spread of their rewards, and what became of it.

import { read } from "/api.js";
import { figures, h, number, replace, signed, statusBadges, words } from "/dom.js";
import { segment } from "/segments.js";
import { get, go, link } from "/state.js";
import { rewardKind, why } from "/trajectory.js";

let columns = null;
let current = null;

export async function render({ run, main, signal }) {
  const group = await read("group", { run, uid: get("uid") }, signal);
  current = group;
  const prompt = group.trajectories[0].segments.filter((one) => one.kind === "prompt");
  columns = h("div", { class: "columns", tabindex: 0, "aria-label": "Siblings" }, group.trajectories.map((one, index) => sibling(one, index, group)));
  replace(main, h("section", { class: "card head" },
    h("p", { class: "crumbs" }, h("a", { href: link("rollouts", { stage: group.stage, round: group.round }) }, `${words(group.stage)}, round ${group.round}`)),
    h("h1", {}, `${group.group_kind} group ${group.group_uid}`),
    group.group_dropped ? h("p", { class: "note" }, `Dropped: ${why(group.group_dropped)}.`) : group.trajectories.some((one) => one.advantage !== null) ? h("p", { class: "note good" }, "Reached the learner.") : null,
    group.gold_answer !== null && h("p", { class: "verdict" }, "gold ", h("code", {}, group.gold_answer)),
    spread(group.trajectories, group.rewards),
    h("nav", { class: "actions" }, h("a", { href: link("rollouts", { problem_id: group.problem_id }) }, `problem ${group.problem_id}`),
      group.parent && h("a", { href: link("tree", { id: group.parent.trajectory_id }) }, "step tree"), h("a", { href: link("rollouts", { group_uid: group.group_uid }) }, "as a list"))),
  prompt.length > 0 && h("div", { class: "segments" }, prompt.map((one) => segment(one, { compact: true }))), columns);
}

export function key(event) {
  if (event.key === "j" || event.key === "k") columns.scrollBy({ left: (event.key === "j" ? 1 : -1) * columns.firstElementChild.offsetWidth, behavior: "smooth" });
  else if (event.key === "t" && current.parent) go(link("tree", { id: current.parent.trajectory_id }));
}

export function spread(trajectories, rewards) {
  return h("div", { class: "spread" },
    h("div", { class: "bars", role: "img", "aria-label": "Rewards" }, trajectories.map((one) => h("i", { class: rewardKind(one.reward), vars: { "--level": String(level(one.reward, rewards)) }, title: `${one.trajectory_id}: ${number(one.reward)}` }))),
    rewards && figures([["rewards", number(rewards.count)], ["mean", number(rewards.mean)], ["deviation", number(rewards.deviation)], ["range", `${number(rewards.min)} … ${number(rewards.max)}`]]));
}

function level(reward, rewards) {
  if (reward === null) return 0.12;
  const low = Math.min(0, rewards.min);
  const reach = Math.max(1, rewards.max) - low;
  return 0.12 + (0.88 * (reward - low)) / reach;
}

export function sibling(one, index, { cut = null } = {}) {
  const own = one.segments.filter((each) => each.kind !== "prompt" && (cut === null || each.start >= cut));
  const said = one.statuses.filter((status) => !["step", "dropped"].includes(status));
  return h("article", { class: `sibling ${rewardKind(one.reward)}` },
    h("header", {}, h("a", { href: link("trajectory", { id: one.trajectory_id }) }, `${index + 1}. ${one.trajectory_id}`),
      h("span", { class: "figure" }, h("b", {}, number(one.reward)), one.advantage !== null && h("small", { class: one.advantage < 0 ? "down" : "up" }, `adv. ${signed(one.advantage)}`))),
    (said.length > 0 || one.answer !== null) && h("p", { class: "badges" }, statusBadges(said), one.answer !== null && h("code", {}, one.answer)),
    own.map((each, position) => segment(each, { compact: true, last: position === own.length - 1 })));
}
