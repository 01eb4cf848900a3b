// Line charts over rounds, drawn by uPlot in the page's own colours, side by side under one cursor.

import { h, number } from "/dom.js";

const HEIGHT = 190;
export const PALETTE = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6", "--series-7", "--series-8"];

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// One chart. `series` is [{ name, values, low, high }], each as long as `x`; low and high draw a band.
export class Chart {
  constructor(title, x, series, { share = false, sync = null, xLabel = "round" } = {}) {
    this.title = title;
    this.options = { share, sync, xLabel };
    this.box = h("div", { class: "plot" });
    this.element = h("figure", { class: "chart", "data-title": title }, h("figcaption", {}, title), this.box);
    this.set(x, series);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.box);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.draw();
    this.scheme.addEventListener("change", this.redraw);
  }

  // Draws new values; only what changed if the curves are the same ones.
  set(x, series) {
    const names = JSON.stringify(series.map((one) => one.name));
    this.x = x;
    this.series = series;
    if (this.plot && names === this.names) this.plot.setData(this.data());
    else if (this.plot) this.draw();
    this.names = names;
    this.element.dataset.points = x.length;
  }

  data() {
    return [this.x, ...this.series.flatMap((one) => (one.low ? [one.values, one.low, one.high] : [one.values]))];
  }

  resize() {
    const width = Math.floor(this.box.clientWidth);
    if (!width) return;
    if (!this.plot) this.draw();
    else if (width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  draw() {
    this.plot?.destroy();
    const width = Math.floor(this.box.clientWidth);
    if (!width) return;
    const curves = [];
    const bands = [];
    this.series.forEach((one, index) => {
      const stroke = colour(PALETTE[index % PALETTE.length]);
      const few = this.x.length <= 40;
      curves.push({
        label: one.name, stroke, width: 1.75, spanGaps: true,
        points: { show: few, size: 5, fill: stroke }, value: (_, value) => this.label(value),
      });
      if (one.low) {
        const edge = curves.length;
        for (const side of ["low", "high"]) curves.push({ label: side, stroke: "transparent", points: { show: false }, class: "edge" });
        bands.push({ series: [edge + 2, edge + 1], fill: `${stroke}2e` });
      }
    });
    this.plot = new window.uPlot({
      width, height: HEIGHT, bands,
      cursor: { sync: this.options.sync ? { key: this.options.sync } : undefined, points: { size: 7 }, y: false },
      legend: { live: true },
      scales: { x: { time: false }, y: { range: (_, low, high) => this.range(low, high) } },
      series: [{ label: this.options.xLabel, value: (_, value) => number(value) }, ...curves],
      axes: [this.axis({ size: 30, values: (_, all) => all.map((one) => (Number.isInteger(one) ? one.toLocaleString("en") : "")) }),
        this.axis({ size: 54, values: (_, all) => all.map((one) => this.label(one)) })],
    }, this.data(), this.box);
  }

  axis(more) {
    const grid = { stroke: colour("--line"), width: 1 };
    return { stroke: colour("--quiet"), grid, ticks: { ...grid, size: 4 }, font: "11px system-ui, sans-serif", gap: 4, ...more };
  }

  range(low, high) {
    if (this.options.share) return [0, 1];
    if (low === null || high === null) return [0, 1];
    const reach = high - low || Math.abs(high) || 1;
    return [low >= 0 && low < reach * 1.5 ? 0 : low - reach * 0.08, high + reach * 0.08];
  }

  label(value) {
    if (value === null || value === undefined) return "–";
    return this.options.share ? `${Number((value * 100).toFixed(1))} %` : number(value, 4);
  }

  dispose() {
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.redraw);
    this.plot?.destroy();
  }
}
