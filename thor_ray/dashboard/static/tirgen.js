// TIRGen: what the refiner made of each step, what its programs printed, and which filter a candidate fell at.

import { read } from "/api.js";
import { badge, h, number, replace, words } from "/dom.js";
import { code, pre } from "/segments.js";
import { change, get, link } from "/state.js";

const PAGE = 20;
const AGREEING = ["same", "rounded"];
let context = null;
let last = null;

export async function render(given) {
  context = given;
  draw(await fetchPage());
}

export async function update() {
  const page = await fetchPage();
  if (page.recorded !== last.recorded) draw(page);
}

export function key(event) {
  if (event.key === "n" && last && offset() + PAGE < last.total) turn(PAGE);
  else if (event.key === "p" && offset() > 0) turn(-PAGE);
}

function fetchPage() {
  const query = Object.fromEntries(["problem_id", "kept", "rule", "verdict", "agreement", "offset"].map((name) => [name, get(name)]));
  return read("tirgen", { ...query, run: context.run, limit: PAGE }, context.signal);
}

function draw(page) {
  last = page;
  const title = h("h1", { class: "unseen" }, "TIRGen");
  if (!page.recorded) {
    replace(context.main, title, h("p", { class: "quiet" }, "No demonstrations: the run has not finished TIRGen, or has none."));
    return;
  }
  const from = offset();
  replace(context.main, title, filters(page),
    h("div", { class: "above" }, h("span", { class: "total", role: "status" }, h("b", {}, number(page.total)), page.total === page.recorded ? " candidates" : ` of ${number(page.recorded)} candidates`,
      get("problem_id") && h("button", { type: "button", class: "chip", title: "remove this filter", onclick: () => refine({ problem_id: "" }) }, `problem ${get("problem_id")} ✕`))),
    h("div", { class: "candidates" }, page.rows.map(candidate)),
    !page.total && h("p", { class: "quiet" }, "No candidate is like that."),
    h("div", { class: "pager" }, h("button", { type: "button", disabled: from <= 0, onclick: () => turn(-PAGE) }, "‹ previous"),
      h("span", {}, page.total ? `${number(from + 1)} – ${number(Math.min(from + PAGE, page.total))} of ${number(page.total)}` : ""),
      h("button", { type: "button", disabled: from + PAGE >= page.total, onclick: () => turn(PAGE) }, "next ›")));
}

function filters(page) {
  const outcomes = { true: page.kept, false: page.recorded - page.kept };
  return h("section", { class: "filters" }, h("div", { class: "selects four" },
    choice("kept", "kept and rejected", outcomes, (name) => (name === "true" ? "kept" : "rejected")),
    choice("rule", "any filter", page.rules), choice("verdict", "any verdict", page.verdicts), choice("agreement", "any claim", page.agreements, (name) => `claim: ${words(name)}`)));
}

function choice(name, all, counted, text = words) {
  const select = h("select", { "aria-label": name, onchange: (event) => refine({ [name]: event.target.value }) }, h("option", { value: "" }, all),
    Object.entries(counted).map(([one, count]) => h("option", { value: one }, `${text(one)} (${number(count)})`)));
  select.value = get(name);
  return select;
}

function candidate(one) {
  const name = one.rejected === null ? h("a", { href: link("trajectory", { id: one.id }) }, one.id) : one.id;
  return h("section", { class: "card candidate" }, h("h3", {}, name, " ", one.rejected === null ? badge("kept", "good") : badge(one.rejected, "bad", "the filter that it fell at"), " ",
    h("button", { type: "button", class: "chip", onclick: () => refine({ problem_id: one.problem_id }) }, one.problem_id)),
  h("ol", { class: "steps" }, one.steps.map(step)));
}

function step(one) {
  return h("li", {}, h("header", {}, badge(words(one.verdict), one.verdict === "codable" ? "info" : "mute", one.reason || null), one.kind && h("small", {}, words(one.kind))),
    pre(one.text), one.blocks.map(block), one.claim && claim(one.claim));
}

function block(one) {
  return [code(one.code), h("div", { class: `output ${one.status === "ok" ? "" : "error"}` }, pre(one.output), one.status !== "ok" && h("small", {}, words(one.status)))];
}

function claim(one) {
  const printed = one.observed === null ? "nothing was printed" : `printed ${one.observed}`;
  return h("p", { class: `note ${AGREEING.includes(one.agreement) ? "good" : ""}` }, `${one.expression}: the text has ${one.claimed}, ${printed} (${words(one.agreement)})`);
}

function refine(changes) {
  change({ ...changes, offset: "" });
}

function offset() {
  return Number(get("offset", "0"));
}

function turn(by) {
  change({ offset: Math.max(0, offset() + by) || "" });
  scrollTo(0, 0);
}
