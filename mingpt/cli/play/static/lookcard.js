/** One run's view of a text: loss per token, attention, dependencies and hidden states, with one token pointed at. */

import { floats, post } from "./api.js";
import { Arcs } from "./arcs.js";
import { count, h, label, number, percent, score } from "./dom.js";
import { HeatMap, Thumbnail } from "./maps.js";
import { TokenText } from "./tokens.js";

const AT_ONCE = 4; // heads asked for at the same time

export class LookCard {
  /** `point(place)` is called when a token is pointed at in any of the card's parts; -1: none. */
  constructor(info, point) {
    this.info = info;
    this.point = point;
    this.text = new TokenText({ label: `Text, coloured by the loss of ${info.name}`, hover: (at) => this.#pointed(at), leave: () => this.#pointed(-1), activate: (at) => this.#pointed(at) });
    this.summary = h("p", { class: "status" });
    this.parts = h("div", { class: "parts" });
    const facts = [info.family, `${count(info.parameters)} parameters`, ...score(info)];
    this.el = h(
      "section",
      { class: "panel card", "aria-label": info.name },
      h("header", { class: "column-head" }, h("h2", {}, info.name), h("p", {}, facts.filter((fact) => fact && !fact.startsWith("–")).join(" · "))),
      this.text.el,
      this.summary,
      this.parts,
    );
    this.heads = new Map();
    this.layer = 1; // the first layer's heads mostly look at neighbours
    this.head = 0;
    this.dependency = new HeatMap({
      kind: "dependency",
      title: "What each prediction depends on",
      read: (row, column, value) => `the prediction ${this.pseudo ? "at" : "after"} ${this.#name(row)} moves by ${percent(value)} with ${this.#name(column)}`,
      hover: (row) => this.#pointed(row),
      axes: ["inputs →", ""],
    });
    this.rows = h("p", { class: "help" });
    this.dependency.el.append(this.rows);
  }

  /** Ask for everything about `text`. */
  async load(text, signal) {
    const { name } = this.info;
    const facts = await post("look", { name, text }, signal);
    this.texts = facts.texts;
    this.losses = facts.losses;
    this.size = facts.ids.length;
    this.pseudo = facts.pseudo;
    this.rows.textContent = `Row: the prediction ${facts.pseudo ? "at" : "after"} a token. Column: the token that is replaced. Colour: total variation distance, 0 to 100 %.`;
    this.text.clear();
    facts.texts.forEach((text, at) => this.text.add({ text, given: facts.losses[at] === null, nats: facts.losses[at], probability: facts.losses[at] === null ? null : Math.exp(-facts.losses[at]) }));
    const known = facts.losses.filter((loss) => loss !== null);
    const mean = known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
    this.whole =
      mean === null
        ? "no loss: this model sees the tokens that it predicts"
        : facts.pseudo
          ? `${number(mean)} pseudo-nats per token: each predicted from all others`
          : `${number(mean)} nats per token on this text, perplexity ${number(facts.ppl ?? Math.exp(mean), 2)}`;
    this.summary.textContent = this.whole;
    this.heads.clear();
    this.#build(facts);
    await Promise.all([
      facts.attention && this.#loadHeads(text, signal),
      this.size > 1 && this.#loadDependency(text, signal),
      facts.hidden && this.#loadHidden(text, signal),
    ]);
  }

  /** Show what belongs to token `at`: its loss, its arcs, its rows; -1: the last token's. */
  emphasise(at) {
    if (!this.texts) return;
    const shown = at < 0 || at >= this.size ? -1 : at;
    this.text.mark(shown, "pointed");
    this.dependency.emphasise(shown);
    this.map?.emphasise(shown);
    this.state?.emphasise(shown);
    const loss = this.losses[shown];
    this.summary.textContent = loss === null || loss === undefined ? this.whole : `${this.#name(shown)} cost ${number(loss, 2)} nats: it had a probability of ${percent(Math.exp(-loss))}`;
    this.#drawArcs(shown < 0 ? this.size - 1 : shown);
  }

  /** Make the parts that this run has; those on the page stay, so that nothing jumps while a text is typed. */
  #build({ attention, hidden }) {
    const key = JSON.stringify([attention, hidden, this.size > 1]);
    if (key !== this.built) {
      const parts = [...(attention ? this.#attention(attention) : []), this.size > 1 && this.dependency.el, hidden && this.#hidden(hidden)].filter(Boolean);
      this.parts.replaceChildren(...parts);
      this.parts.classList.toggle("attending", Boolean(attention));
      this.built = key;
    }
    this.arcs?.set(this.texts);
  }

  #pointed(at) {
    this.point(at);
  }

  #name(at) {
    return `‘${label(this.texts[at] ?? "")}’`;
  }

  #attention({ layers, heads, kv_heads, windows }) {
    this.shape = { layers, heads, kv_heads, windows };
    this.layer = Math.min(this.layer, layers - 1);
    this.head = Math.min(this.head, heads - 1);
    this.thumbs = new Map();
    const grid = h("div", { class: "heads", role: "group", "aria-label": "Heads" });
    for (let layer = 0; layer < layers; layer++) {
      const window = windows?.[layer];
      const row = h("div", { class: "headrow" }, h("span", { class: "headname" }, `layer ${layer + 1}`, window && h("small", {}, `window ${window}`)));
      const groups = h("div", { class: "groups" });
      for (let group = 0; group < kv_heads; group++) {
        const box = h("div", { class: kv_heads < heads ? "group shared" : "group", title: kv_heads < heads ? `these heads share key/value head ${group + 1}` : null });
        for (let n = 0; n < heads / kv_heads; n++) box.append(this.#thumb(layer, group * (heads / kv_heads) + n));
        groups.append(box);
      }
      row.append(groups);
      grid.append(row);
    }
    this.map = new HeatMap({
      kind: "attention",
      title: "Attention",
      read: (row, column, value) => `${this.#name(row)} attends to ${this.#name(column)}: ${percent(value)}`,
      hover: (row) => this.#pointed(row),
      axes: ["attended to →", ""],
    });
    this.arcs = new Arcs((at) => this.#pointed(at));
    return [this.arcs.el, grid, this.map.el];
  }

  #thumb(layer, head) {
    const thumb = new Thumbnail("attention");
    this.thumbs.set(`${layer}.${head}`, thumb);
    thumb.button = h("button", { class: "head", "aria-pressed": "false", "aria-label": `Layer ${layer + 1}, head ${head + 1}`, onclick: () => this.choose(layer, head) }, thumb.canvas);
    return thumb.button;
  }

  /** Show one head in the large map. */
  choose(layer, head) {
    Object.assign(this, { layer, head });
    for (const [key, thumb] of this.thumbs) thumb.button.setAttribute("aria-pressed", key === `${layer}.${head}`);
    const weights = this.heads.get(`${layer}.${head}`);
    if (!weights) return;
    const window = this.shape.windows?.[layer] ?? null;
    this.map.set(weights, this.size, this.size, this.texts, { window, title: `Layer ${layer + 1}, head ${head + 1}${window ? `, window ${window}` : ""}` });
    this.#drawArcs(this.size - 1);
  }

  #drawArcs(at) {
    const weights = this.heads.get(`${this.layer}.${this.head}`);
    if (weights && this.arcs) this.arcs.show(at, [...weights.subarray(at * this.size, (at + 1) * this.size)]);
  }

  async #loadHeads(text, signal) {
    const wanted = [...this.thumbs.keys()];
    wanted.sort((a, b) => (b === `${this.layer}.${this.head}`) - (a === `${this.layer}.${this.head}`)); // the shown one first
    const worker = async () => {
      while (wanted.length) {
        const key = wanted.shift();
        const [layer, head] = key.split(".").map(Number);
        const weights = await floats("attention", { name: this.info.name, text, layer, head }, signal);
        this.heads.set(key, weights);
        this.thumbs.get(key).set(weights, this.size, this.size);
        if (layer === this.layer && head === this.head) this.choose(layer, head);
      }
    };
    await Promise.all([...Array(AT_ONCE)].map(worker));
  }

  async #loadDependency(text, signal) {
    const map = await floats("dependency", { name: this.info.name, text }, signal);
    this.dependency.set(map, this.size, this.size, this.texts);
  }

  #hidden({ layers, units }) {
    this.units = units;
    this.hiddenLayer = Math.min(this.hiddenLayer ?? layers - 1, layers - 1);
    this.state = new HeatMap({
      kind: "hidden",
      title: "Hidden state over time",
      square: false,
      read: (row, at, value) => `unit ${this.order[row] + 1} after ${this.#name(at)}: ${number(value, 2)}`,
      hover: (_, at) => this.#pointed(at),
      axes: ["time →", ""],
    });
    const pick = h("select", { "aria-label": "Layer", onchange: () => this.#chooseLayer(Number(pick.value)) }, [...Array(layers).keys()].map((n) => h("option", { value: n }, `layer ${n + 1}`)));
    pick.value = this.hiddenLayer;
    if (layers > 1) this.state.el.querySelector("figcaption").append(pick);
    this.state.el.append(h("p", { class: "help" }, `Column: the state after a token. Row: one of ${count(units)} units, those that change least from token to token first. Orange: below zero, blue: above.`));
    return this.state.el;
  }

  #chooseLayer(layer) {
    this.hiddenLayer = layer;
    this.#loadHidden(this.texts.join(""));
  }

  async #loadHidden(text, signal) {
    const values = await floats("hidden", { name: this.info.name, text, layer: this.hiddenLayer }, signal);
    const units = values.length / this.size;
    this.order = slowestFirst(values, this.size, units);
    const turned = new Float32Array(values.length); // the server's rows are times, the picture's are units
    this.order.forEach((unit, row) => {
      for (let t = 0; t < this.size; t++) turned[row * this.size + t] = values[t * units + unit];
    });
    this.state.set(turned, units, this.size, this.texts);
  }
}

/** Units in order of how much they change from token to token, relative to how much they vary at all. */
function slowestFirst(values, size, units) {
  const pace = [...Array(units).keys()].map((unit) => {
    let [sum, squares, steps] = [0, 0, 0];
    for (let t = 0; t < size; t++) {
      const x = values[t * units + unit];
      sum += x;
      squares += x * x;
      if (t) steps += (x - values[(t - 1) * units + unit]) ** 2;
    }
    return steps / Math.max(squares - (sum * sum) / size, 1e-9);
  });
  return [...pace.keys()].sort((a, b) => pace[a] - pace[b]);
}
