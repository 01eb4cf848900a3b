// A step tree: where a trajectory was cut, and how its continuations went on; or what self-correction cut away.

import { read } from "/api.js";
import { h, number, replace, words } from "/dom.js";
import { sibling, spread } from "/group.js";
import { segment } from "/segments.js";
import { get, go, link } from "/state.js";
import { why } from "/trajectory.js";

let current = null;

export async function render({ run, main, signal }) {
  current = await read("tree", { run, id: get("id") }, signal);
  const { trajectory: root, branches } = current;
  const attempts = root.segments.reduce((sum, one) => sum + one.attempts.length, 0);
  replace(main, h("section", { class: "card head" },
    h("p", { class: "crumbs" }, h("a", { href: link("group", { uid: root.group_uid }) }, `group ${root.group_uid}`), " / ", h("a", { href: link("trajectory", { id: root.trajectory_id }) }, root.trajectory_id)),
    h("h1", {}, "Step tree"),
    h("p", {}, branches.length ? `${branches.length} failed ${branches.length === 1 ? "step was" : "steps were"} cut, ${branches.reduce((sum, one) => sum + one.continuations.length, 0)} continuations were sampled.` : "Nothing branches from this trajectory.",
      attempts > 0 && ` Self-correction cut ${attempts} ${attempts === 1 ? "attempt" : "attempts"} away.`),
    current.parent_missing && h("p", { class: "note" }, "Its parent was not recorded; the continuation is shown by itself.")),
  h("div", { class: "tree" }, root.segments.map((one, index) => {
    const here = branches.filter((branch) => branch.cut > one.start && branch.cut <= one.end && one.kind === "thought" || branch.cut === one.start && one.kind === "action");
    return [here.length && one.kind === "thought" ? cutThought(one, here[0]) : segment(one, { last: index === root.segments.length - 1 }), here.map((branch) => fork(branch, current.asked))];
  })));
}

export function key(event) {
  if (event.key === "g") go(link("group", { uid: current.trajectory.group_uid }));
}

// The thought of a failed step: what the continuations took over, and what they sampled anew.
function cutThought(one, branch) {
  const inherited = branch.continuations[0].segments.filter((each) => each.end === branch.cut).at(-1)?.text ?? null;
  if (one.text === null || inherited === null || !one.text.startsWith(inherited)) return segment(one);
  return [segment({ ...one, text: inherited, end: branch.cut }), inherited.length < one.text.length && h("section", { class: "segment thought cut" },
    h("header", {}, h("b", {}, "cut away"), h("span", { class: "quiet" }, `tokens ${number(branch.cut)} – ${number(one.end)}`)), h("pre", {}, one.text.slice(inherited.length)))];
}

function fork(branch, asked) {
  return h("section", { class: "fork" },
    h("header", {}, h("b", {}, `step ${branch.step_index + 1} cut at token ${number(branch.cut)}`), h("a", { href: link("group", { uid: branch.group_uid }) }, `group ${branch.group_uid}`),
      branch.group_dropped && h("span", { class: "badge mute", title: why(branch.group_dropped) }, words(branch.group_dropped))),
    spread(branch.continuations, branch.rewards),
    h("div", { class: "columns", tabindex: 0, "aria-label": "Continuations" }, branch.continuations.map((one, index) => {
      const element = sibling(one, index, { cut: branch.cut });
      if (one.trajectory_id === asked) element.classList.add("asked");
      return element;
    })));
}
