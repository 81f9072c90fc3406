/** One line of tokens with arcs from the token pointed at to those that it attends to; thicker means more weight. */

import { h, label, svg } from "./dom.js";

const HEIGHT = 104;
const BASE = 84; // y of the arcs' feet
const FAINT = 0.02; // weights below are left out
const EDGE = 6; // pixels at both ends
const [NARROWEST, WIDEST] = [11, 28]; // pixels of a token of one character

export class Arcs {
  /** `hover(place)` is called with the token under the pointer, -1 when it leaves. */
  constructor(hover) {
    this.picture = svg("svg", { class: "arcs", height: HEIGHT, role: "img", "aria-label": "Arcs of attention" });
    this.el = h("div", { class: "arcbox", tabindex: "0", role: "group", "aria-label": "Attention of one token; arrow keys choose it" }, this.picture);
    this.hover = hover;
    this.centres = [];
    this.picture.addEventListener("pointermove", (event) => this.hover(this.#under(event)));
    this.picture.addEventListener("pointerdown", (event) => this.hover(this.#under(event)));
    this.picture.addEventListener("pointerleave", () => this.hover(-1));
    this.el.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.hover(Math.max(0, Math.min(this.centres.length - 1, this.from + step)));
    });
  }

  set(texts) {
    let x = EDGE;
    const words = texts.map((text) => label(text));
    const room = Math.min(WIDEST, Math.floor((this.el.clientWidth - 2 * EDGE) / words.length)) || NARROWEST;
    const widths = words.map((word) => Math.max(NARROWEST, room, word.length * 8 + 3));
    this.centres = widths.map((width) => (x += width) - width / 2);
    this.edges = widths.map((width, at) => this.centres[at] - width / 2);
    this.picture.setAttribute("width", x + EDGE);
    this.lines = svg("g", { class: "arclines" });
    this.names = words.map((word, at) => svg("text", { x: this.centres[at], y: BASE + 14, "text-anchor": "middle" }, word));
    this.picture.replaceChildren(this.lines, ...this.names);
    this.from = texts.length - 1;
    this.el.scrollLeft = x; // the last token's arcs are shown first
  }

  /** Draw the arcs of token `from` by its row of weights. */
  show(from, weights) {
    this.from = from;
    const most = Math.max(...weights, 1e-9);
    this.names.forEach((name, at) => {
      name.classList.toggle("from", at === from);
      name.classList.toggle("to", at !== from && weights[at] > 0.25 * most);
    });
    const arcs = [];
    weights.forEach((weight, to) => {
      if (weight < FAINT) return;
      const style = { "stroke-width": `${1 + 6 * weight}`, opacity: `${0.3 + 0.7 * (weight / most)}` };
      if (to === from) arcs.push(svg("circle", { cx: this.centres[to], cy: BASE - 6, r: 1.5 + 3 * weight, class: "self" }));
      else arcs.push(svg("path", { d: this.#path(from, to), style }));
    });
    this.lines.replaceChildren(...arcs);
  }

  #path(from, to) {
    const [a, b] = [this.centres[to], this.centres[from]];
    const high = Math.min(BASE - 6, 10 + Math.abs(b - a) * 0.35);
    return `M${a} ${BASE}C${a} ${BASE - high * 1.3} ${b} ${BASE - high * 1.3} ${b} ${BASE}`;
  }

  #under(event) {
    const x = event.clientX - this.picture.getBoundingClientRect().left;
    return this.edges ? this.edges.findLastIndex((edge) => x >= edge) : -1;
  }
}
