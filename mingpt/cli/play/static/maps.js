/** A matrix as a map on a canvas: attention, dependencies or hidden states; with crosshair, readout and arrow keys. */

import { line, muted, onScheme, RAMPS } from "./colours.js";
import { h, label } from "./dom.js";

const MARGIN = 18; // pixels for token labels
const SMALLEST = 9; // pixels of a cell that still has room for a label

/** Draw rows x columns numbers into a canvas of its own pixels. */
function picture(data, rows, columns, table, scaled) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let n = 0; n < rows * columns; n++) {
    const at = Math.max(0, Math.min(255, Math.round(scaled(data[n]) * 255))) * 3;
    image.data.set([table[at], table[at + 1], table[at + 2], 255], n * 4);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

const SCALES = {
  attention: () => Math.sqrt, // so that weak weights show
  dependency: () => Math.sqrt,
  hidden: (data) => {
    const most = data.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
    return (x) => 0.5 + x / most / 2;
  },
};

/** A small picture of a matrix, as for one head of a grid. */
export class Thumbnail {
  constructor(kind, props = {}) {
    this.kind = kind;
    this.canvas = h("canvas", { class: "thumb", width: 64, height: 64, "aria-hidden": "true", ...props });
    onScheme(() => this.canvas.isConnected && this.draw());
  }

  set(data, rows, columns) {
    Object.assign(this, { data, rows, columns });
    this.canvas.width = Math.max(64, columns);
    this.canvas.height = Math.max(64, rows);
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const context = this.canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    const image = picture(this.data, this.rows, this.columns, RAMPS[this.kind](), SCALES[this.kind](this.data));
    context.drawImage(image, 0, 0, this.canvas.width, this.canvas.height);
  }
}

/** A large map.  `hover(row, column)` is called under the pointer, `read(row, column, value)` gives its sentence. */
export class HeatMap {
  constructor({ kind, title, read, hover = () => {}, square = true, axes = ["", ""] }) {
    Object.assign(this, { kind, read, hover, square, axes });
    this.canvas = h("canvas", { class: "map", tabindex: "0", role: "img", "aria-label": title });
    this.readout = h("p", { class: "readout", "aria-live": "polite" });
    this.frame = h("div", { class: square ? "mapframe square" : "mapframe" }, this.canvas);
    this.el = h("figure", { class: `mapfigure map-${kind}` }, h("figcaption", {}, (this.title = h("span", {}, title))), this.frame, this.readout);
    this.at = null;
    this.row = -1;
    this.canvas.addEventListener("pointermove", (event) => this.#pointed(event));
    this.canvas.addEventListener("pointerdown", (event) => this.#pointed(event));
    this.canvas.addEventListener("pointerleave", () => this.#leave());
    this.canvas.addEventListener("blur", () => this.#leave());
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    onScheme(() => this.canvas.isConnected && this.draw());
    new ResizeObserver(() => this.draw()).observe(this.frame);
  }

  /** Show a matrix; `labels` are its tokens, for rows and columns, or for columns only. */
  set(data, rows, columns, labels, { window = null, title = null } = {}) {
    Object.assign(this, { data, rows, columns, labels, window });
    if (title) {
      this.title.textContent = title;
      this.canvas.setAttribute("aria-label", title);
    }
    this.readout.textContent = "";
    this.el.dataset.ready = "";
    this.draw();
  }

  /** Emphasise a row (-1: none), as of a token that is pointed at elsewhere. */
  emphasise(row) {
    if (this.row === row) return;
    this.row = row;
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const scale = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.frame;
    if (!width || !height) return;
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    context.imageSmoothingEnabled = false;
    const image = picture(this.data, this.rows, this.columns, RAMPS[this.kind](), SCALES[this.kind](this.data));
    this.box = { x: this.square ? MARGIN : 0, y: MARGIN, w: width - (this.square ? MARGIN : 0), h: height - MARGIN };
    const { x, y, w, h: tall } = this.box;
    context.drawImage(image, x, y, w, tall);
    context.strokeStyle = line();
    context.strokeRect(x + 0.5, y + 0.5, w - 1, tall - 1);
    this.#labels(context);
    if (this.window) this.#band(context);
    this.#cross(context);
  }

  /** A dashed line along the far edge of a sliding window. */
  #band(context) {
    const { x, y, w, h: tall } = this.box;
    const [wide, high] = [w / this.columns, tall / this.rows];
    context.strokeStyle = muted();
    context.setLineDash([4, 3]);
    context.beginPath();
    for (let row = this.window; row < this.rows; row++) {
      const column = x + (row - this.window + 1) * wide;
      context.lineTo(column, y + row * high);
      context.lineTo(column, y + (row + 1) * high);
    }
    context.stroke();
    context.setLineDash([]);
  }

  #labels(context) {
    const { x, y, w, h: tall } = this.box;
    const [wide, high] = [w / this.columns, tall / this.rows];
    context.fillStyle = muted();
    context.font = `${Math.min(12, Math.max(SMALLEST, wide))}px ui-monospace, monospace`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const short = (text) => label(text).slice(0, Math.max(1, Math.floor(wide / 7)));
    if (wide >= SMALLEST - 2) this.labels.forEach((text, n) => context.fillText(short(text), x + (n + 0.5) * wide, MARGIN / 2));
    if (this.square && high >= SMALLEST - 2) this.labels.forEach((text, n) => context.fillText(label(text).slice(0, 2), MARGIN / 2, y + (n + 0.5) * high));
    if (wide < SMALLEST - 2) {
      context.textAlign = "left";
      context.fillText(this.axes[0], x + 2, MARGIN / 2);
    }
  }

  #cross(context) {
    const { x, y, w, h: tall } = this.box;
    const [wide, high] = [w / this.columns, tall / this.rows];
    const accent = getComputedStyle(this.canvas).getPropertyValue("--cross").trim();
    context.strokeStyle = accent;
    context.lineWidth = 1.5;
    if (this.row >= 0 && this.square) context.strokeRect(x, y + this.row * high, w, high);
    else if (this.row >= 0) context.strokeRect(x + this.row * wide, y, wide, tall);
    if (this.at) context.strokeRect(x + this.at[1] * wide, y + this.at[0] * high, wide, high);
  }

  #pointed(event) {
    if (!this.data) return;
    const { x, y, w, h: tall } = this.box;
    const column = Math.floor(((event.offsetX - x) / w) * this.columns);
    const row = Math.floor(((event.offsetY - y) / tall) * this.rows);
    if (row >= 0 && column >= 0 && row < this.rows && column < this.columns) this.#go(row, column);
  }

  #go(row, column) {
    if (this.at && this.at[0] === row && this.at[1] === column) return;
    this.at = [row, column];
    this.readout.textContent = this.read(row, column, this.data[row * this.columns + column]);
    this.hover(this.square ? row : column, column);
    this.draw();
  }

  #leave() {
    this.at = null;
    this.hover(-1, -1);
    this.draw();
  }

  #key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || !this.data) return;
    event.preventDefault();
    const [row, column] = this.at ?? [this.rows - 1, -step[1]];
    const clamp = (n, most) => Math.max(0, Math.min(most - 1, n));
    this.#go(clamp(row + step[0], this.rows), clamp(column + step[1], this.columns));
  }
}
