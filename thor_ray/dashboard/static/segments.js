// Segments of a trajectory: who wrote them, highlighted programs, how they ended, and tokens shaded by what is known of each.

import { badge, h, number, seconds, signed } from "/dom.js";

const LONG = 20000; // Characters after which a text is cut until somebody asks for the rest.
export const SHADINGS = {
  none: "text",
  mask: "loss mask",
  log_prob: "log-prob",
  gap: "learner − engine",
  advantage: "advantage",
  version: "weight version",
};
const OUTCOMES = { ok: "ok", no_output: "printed nothing", exception: "exception", timeout: "timed out", infra_error: "sandbox failed" };

export function pre(text, attributes = {}) {
  const place = h("pre", attributes);
  if (text.length <= LONG) {
    place.textContent = text;
    return place;
  }
  place.append(text.slice(0, LONG));
  place.append(h("button", { type: "button", class: "rest", onclick: () => { place.textContent = text; } },
    `… show all ${number(text.length)} characters`));
  return place;
}

export function code(pieces) {
  return h("pre", { class: "code" }, pieces.map(([kind, text]) => (kind ? h("span", { class: `c-${kind}` }, text) : text)));
}

export function outcome(result) {
  return h("p", { class: `result ${result.failed ? "bad" : result.status === "ok" ? "good" : "ours"}` },
    h("b", {}, OUTCOMES[result.status] ?? result.status), result.exception_type && ` ${result.exception_type}`,
    h("span", {}, ` ran ${seconds(result.wall_seconds)}`, result.queue_seconds > 0 && `, waited ${seconds(result.queue_seconds)}`));
}

export function attempt(one) {
  return h("details", { class: "attempt", open: true },
    h("summary", {}, `attempt ${one.number + 1} at step ${one.step_index + 1}, cut away at token ${number(one.cut)}`, h("small", {}, `${number(one.tokens)} tokens`)),
    pre(one.text), outcome(one.result), one.result.text && pre(one.result.text, { class: "output" }));
}

// One segment. `tokens` and `shading` shade it; `compact` leaves out its figures.
export function segment(one, { tokens = null, shading = "none", advantage = null, compact = false, last = false } = {}) {
  const before = one.kind === "action" ? one.attempts : [];
  const shaded = tokens && shading !== "none";
  const body = shaded ? shadedText(one, tokens, shading, advantage) : one.code ? code(one.code) : one.text === null ? h("p", { class: "quiet" }, "no text: the run has kept no tokenizer") : pre(one.kind === "observation" ? one.text.replace(/^\n/, "") : one.text);
  const unread = last && one.kind === "action" && one.result?.text;
  return [
    before.map(attempt),
    h("section", { class: `segment ${one.kind} ${one.trained ? "trained" : "masked"}` },
      h("header", {}, h("b", {}, one.kind), !compact && h("span", { class: "quiet" }, `tokens ${number(one.start)} – ${number(one.end)}`),
        badge(one.trained ? "trained" : "masked", one.trained ? "info" : "mute"),
        !compact && one.versions && h("span", { class: "quiet" }, one.versions[0] === one.versions[1] ? `weights v${one.versions[0]}` : `weights v${one.versions[0]} – v${one.versions[1]}`),
        !compact && one.mean_log_prob !== null && h("span", { class: "quiet", title: "mean log-prob of its tokens, in nats" }, `log-prob ${number(one.mean_log_prob)}`)),
      body, one.result && outcome(one.result), unread && pre(one.result.text, { class: "output" })),
    one.kind === "action" ? null : one.attempts.map(attempt),
  ];
}

// Which shadings the records of this trajectory can fill.
export function available(trajectory, tokens) {
  return Object.keys(SHADINGS).filter((name) => ({
    log_prob: tokens?.log_probs.some((value) => value !== null),
    gap: tokens?.gaps.some((value) => value !== null),
    advantage: trajectory.advantage !== null,
    version: tokens?.versions.some((value) => value !== null),
  }[name] ?? true));
}

export function legend(shading, tokens, advantage) {
  const item = (kind, text, strength = "1") => h("span", { class: "legend-item" }, h("i", { class: `token ${kind}`, vars: { "--strength": strength } }, "  "), text);
  if (shading === "mask") return [item("in-mask", "the loss sees it"), item("out", "it does not")];
  if (shading === "log_prob") return [item("unlikely", "certain", "0.05"), item("unlikely", "−1 nat", "0.33"), item("unlikely", "−3 nats or less", "1")];
  if (shading === "gap") return [item("minus", "learner gives it less"), item("plus", "learner gives it more"), `largest ${number(largest(tokens.gaps))} nats`];
  if (shading === "advantage") return [item(advantage < 0 ? "minus" : "plus", `advantage ${signed(advantage)} of every trained token`)];
  if (shading === "version") return versions(tokens).map((version, index) => item(`hue-${index % 8}`, `v${version}`));
  return [];
}

function shadedText(one, tokens, shading, advantage) {
  const scale = shading === "gap" ? largest(tokens.gaps) || 1 : 1;
  const known = shading === "version" ? versions(tokens) : [];
  const place = h("pre", { class: "tokens" });
  for (let index = one.start; index < one.end; index += 1) {
    const [kind, strength] = shade(index, tokens, shading, advantage, scale, known);
    const text = tokens.texts[index] ?? `⟨${tokens.ids[index]}⟩`;
    const token = h("span", { class: `token ${kind}`, title: describe(index, tokens) }, text);
    if (strength !== null) token.style.setProperty("--strength", strength.toFixed(2));
    place.append(token);
  }
  return place;
}

function shade(index, tokens, shading, advantage, scale, known) {
  const mask = tokens.mask[index];
  if (shading === "mask") return [mask ? "in-mask" : "out", null];
  if (shading === "advantage") return mask && advantage ? [advantage < 0 ? "minus" : "plus", Math.min(1, 0.15 + Math.abs(advantage) / 2)] : ["out", null];
  if (shading === "version") return tokens.versions[index] === null ? ["out", null] : [`hue-${known.indexOf(tokens.versions[index]) % 8}`, null];
  const value = (shading === "gap" ? tokens.gaps : tokens.log_probs)[index];
  if (value === null) return ["out", null];
  if (shading === "log_prob") return ["unlikely", Math.min(1, -value / 3)];
  return [value < 0 ? "minus" : "plus", Math.min(1, Math.abs(value) / scale)];
}

function describe(index, tokens) {
  const parts = [`token ${index}, id ${tokens.ids[index]}`, tokens.mask[index] ? "trained" : "masked"];
  if (tokens.log_probs[index] !== null) parts.push(`log-prob ${tokens.log_probs[index]}`);
  if (tokens.gaps[index] !== null) parts.push(`learner − engine ${tokens.gaps[index]}`);
  if (tokens.versions[index] !== null) parts.push(`weights v${tokens.versions[index]}`);
  return parts.join("\n");
}

function versions(tokens) {
  return [...new Set(tokens.versions.filter((version) => version !== null))].sort((a, b) => a - b);
}

function largest(values) {
  return values.reduce((most, value) => (value === null ? most : Math.max(most, Math.abs(value))), 0);
}
