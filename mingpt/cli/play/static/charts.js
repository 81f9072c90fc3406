/** Loss curves, by uPlot, loaded when the first is drawn: one or several runs, n-gram baselines as dashed lines. */

import { curve, ink, line, muted, onScheme } from "./colours.js";
import { h, number } from "./dom.js";

let loading = null;

function library() {
  loading ??= new Promise((done, failed) => {
    if (globalThis.uPlot) return done();
    const script = h("script", { src: "/static/vendor/uPlot.iife.min.js", onload: done, onerror: () => failed(new Error("uPlot can't be loaded")) });
    return document.head.append(script);
  });
  return loading;
}

const HEIGHT = 320;
const NAME_HEIGHT = 12; // pixels of a baseline's name
const NAME_WIDTH = 52;
const FONT = "12px system-ui, sans-serif";

/** A plot of curves {name, x, y, faint, points}; `set` may be called often. */
export class LossChart {
  constructor(title) {
    this.box = h("div", { class: "plot" });
    this.legend = h("div", { class: "plotlegend" });
    this.el = h("figure", { class: "chart", role: "img", "aria-label": title }, this.box, this.legend);
    this.plot = null;
    this.shape = "";
    this.curves = [];
    this.baselines = {};
    onScheme(() => this.#again());
    new ResizeObserver(() => this.plot?.setSize({ width: this.#width, height: HEIGHT })).observe(this.box);
  }

  get #width() {
    return Math.max(200, this.box.clientWidth);
  }

  /** Show curves over `axis` ("step" or "seconds") and n-gram losses by name. */
  async set(curves, { baselines = {}, axis = "step" } = {}) {
    Object.assign(this, { curves, baselines, axis });
    await library();
    if (!this.box.isConnected) return;
    const shape = JSON.stringify([axis, Object.keys(baselines), curves.map(({ name, faint, colour, x }) => [name, faint, colour, x.length < 3])]);
    if (this.plot && shape === this.shape) this.plot.setData(this.#data());
    else this.#again(shape);
    this.#legend();
  }

  #again(shape = this.shape) {
    if (!globalThis.uPlot || !this.curves.length) {
      this.plot?.destroy();
      this.plot = null;
      this.shape = "";
      return;
    }
    this.plot?.destroy();
    this.shape = shape;
    this.plot = new globalThis.uPlot(this.#options(), this.#data(), this.box);
  }

  #data() {
    const { join } = globalThis.uPlot;
    const tables = this.curves.map(({ x, y }) => [x, y]);
    const joined = tables.length > 1 ? join(tables, tables.map(() => [0, 1])) : tables[0];
    return joined[0].length ? joined : [[0], ...this.curves.map(() => [null])];
  }

  #options() {
    const axes = { stroke: muted(), font: FONT, grid: { stroke: line(), width: 1 }, ticks: { stroke: line(), width: 1 } };
    return {
      width: this.#width,
      height: HEIGHT,
      padding: [10, Object.keys(this.baselines).length ? NAME_WIDTH : 22, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 6 }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { range: (_, low, high) => this.#range(low, high) } },
      axes: [
        { ...axes, values: (_, values) => values.map((value) => value.toLocaleString("en")) },
        { ...axes, size: 52, values: (_, values) => values.map((value) => value.toFixed(1)) },
      ],
      series: [
        { label: this.axis },
        ...this.curves.map(({ name, faint, colour, x }) => ({
          label: name,
          stroke: curve(colour),
          alpha: faint ? 0.6 : 1,
          width: faint ? 1.25 : 2.25,
          spanGaps: true,
          points: { show: x.length < 3, size: 8, fill: curve(colour) }, // one evaluation makes no line
        })),
      ],
      hooks: { draw: [(plot) => this.#dashed(plot)], setCursor: [(plot) => this.#legend(plot.cursor.idx)] },
    };
  }

  #range(low, high) {
    const bars = Object.values(this.baselines);
    const [least, most] = [Math.min(low ?? Infinity, ...bars), Math.max(high ?? -Infinity, ...bars)];
    if (!Number.isFinite(least) || !Number.isFinite(most)) return [0, 5];
    const room = Math.max(0.05, (most - least) * 0.06);
    return [least - room, most + room];
  }

  /** Dashed lines of the n-gram baselines, their names right of the plot, moved apart where they would overlap. */
  #dashed({ ctx, bbox, valToPos }) {
    const scale = devicePixelRatio || 1;
    const right = bbox.left + bbox.width;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = muted();
    ctx.font = `${11 * scale}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    ctx.lineWidth = scale;
    ctx.setLineDash([5 * scale, 4 * scale]);
    let lowest = -Infinity;
    for (const [name, loss] of Object.entries(this.baselines).sort((a, b) => b[1] - a[1])) {
      const y = valToPos(loss, "y", true);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(right, y);
      ctx.stroke();
      lowest = Math.max(y, lowest + NAME_HEIGHT * scale);
      ctx.fillText(name, right + 6 * scale, lowest);
    }
    ctx.restore();
  }

  #legend(at = null) {
    const values = this.plot?.data ?? [];
    this.legend.replaceChildren(
      h("span", { class: "at" }, at === null || at === undefined ? this.axis : `${this.axis} ${number(values[0]?.[at], this.axis === "step" ? 0 : 1)}`),
      ...this.curves.map(({ name, faint, colour }, n) => {
        const row = values[n + 1] ?? [];
        const value = at === null || at === undefined ? row.findLast((one) => one !== null && one !== undefined) : row[at];
        return h("span", { class: faint ? "key faint" : "key" }, h("i", { style: { background: curve(colour) } }), name, h("b", {}, number(value)));
      }),
    );
    this.legend.style.setProperty("color", ink());
  }
}
