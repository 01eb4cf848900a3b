// Making elements. Text only ever becomes a text node: there is no way here from a model's words to markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

export function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const small = size < 1e-3 && size > 0;
  const text = Number.isInteger(value) ? value.toLocaleString("en")
    : size >= 1e5 || small ? value.toExponential(2) : value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 1 : digits });
  return text.replaceAll("-", "−");
}

export function percent(value) {
  return value === null || value === undefined ? "–" : `${(value * 100).toFixed(1)} %`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 s";
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${(value * 1e3).toFixed(value < 0.01 ? 1 : 0)} ms`;
  if (value < 100) return `${value.toFixed(1)} s`;
  if (value < 7200) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function signed(value) {
  return value === null || value === undefined ? "–" : `${value > 0 ? "+" : value < 0 ? "−" : ""}${number(Math.abs(value), 2)}`;
}

export function words(name) {
  return String(name).replaceAll("_", " ");
}

export function badge(text, kind = "", title = null) {
  return h("span", { class: `badge ${kind}`, title }, text);
}

export const STATUSES = {
  correct: ["correct", "good", "the answer equals the gold answer"],
  wrong: ["wrong", "bad", "graded and not correct; answers without a box count"],
  tool_error: ["tool error", "bad", "a program of its own failed"],
  void_turn: ["void turn", "warn", "a turn brought neither a program nor an answer"],
  truncated: ["truncated", "warn", "ended by the token limit"],
  out_of_rounds: ["out of rounds", "warn", "asked for more executions than it may have"],
  grader_error: ["grader error", "ours", "the grader broke; says nothing about the policy"],
  infra_error: ["sandbox error", "ours", "the sandbox broke, not the program"],
  aborted: ["aborted", "ours", "stopped by us"],
  step: ["step", "info", "a continuation from a failed step"],
  corrected: ["corrected", "info", "failed attempts were cut away and sampled anew"],
  dropped: ["group dropped", "mute", "its group did not reach the learner"],
  excluded: ["excluded", "mute", "its group trained without it"],
};

export function statusBadges(statuses) {
  return statuses.map((status) => badge(...(STATUSES[status] ?? [status])));
}

export function figures(pairs) {
  return h("dl", { class: "figures" }, pairs.filter(Boolean).map(([name, value, title]) =>
    h("div", { title }, h("dt", {}, name), h("dd", {}, value))));
}
