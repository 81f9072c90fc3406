/** Write: a prompt, the settings of sampling, the text as it is drawn, and what could come next. */

import { post } from "./api.js";
import { Bars } from "./bars.js";
import { Column } from "./column.js";
import { surpriseLegend } from "./colours.js";
import { announce, h, label, later, latest } from "./dom.js";
import { Alternatives } from "./popover.js";
import * as route from "./route.js";
import { Sliders } from "./sliders.js";

const NONE = "";
const SPOKEN_EVERY = 2000; // ms between what a screen reader is told of a stream

export class WriteView {
  constructor(app) {
    this.app = app;
    this.columns = [];
    this.answers = [];
    this.popover = new Alternatives();
    this.after = "prompt"; // the next token is shown after this: "prompt" or "text"
    this.sliders = new Sliders(() => this.#settled());
    this.bars = new Bars((bar) => this.#append(bar));
    this.prompt = h("textarea", { id: "prompt", rows: 3, spellcheck: "false", autocomplete: "off", autocapitalize: "off" });
    this.go = h("button", { class: "primary", onclick: () => this.#go() }, "Write");
    this.halt = h("button", { class: "stop", disabled: true, onclick: () => this.columns.forEach((column) => column.stop()) }, "Stop");
    this.first = h("select", { "aria-label": "Run", onchange: () => this.#chosen() });
    this.second = h("select", { "aria-label": "Second run", onchange: () => this.#chosen() });
    this.texts = h("div", { class: "columns" });
    this.caption = h("p", { class: "caption" });
    this.promptLabel = h("label", { for: "prompt" }, "Prompt");
    this.idle = h("p", { class: "help" });
    this.#listen();
    this.el = this.#layout();
    this.remember = later(() => route.read().view === "write" && route.write("write", this.values), 250);
    this.next = latest((signal) => this.#next(signal));
    this.frame = 0;
    this.said = { at: 0, length: 0 };
  }

  /** What the address keeps. */
  get values() {
    return { run: this.columns.map((column) => column.info.name), prompt: this.prompt.value === this.given ? null : this.prompt.value, ...this.sliders.differing };
  }

  /** Show what an address asks for. */
  async show(params) {
    const names = params.getAll("run");
    const wanted = names.length ? names.slice(0, 2) : this.columns.length ? this.columns.map((column) => column.info.name) : this.app.firstRuns;
    this.#options(wanted);
    if (!wanted.length) {
      this.texts.replaceChildren(h("p", { class: "hint" }, "No run yet. Train one in the view Train, or in a terminal: python chargpt.py"));
      return;
    }
    const fresh = wanted.join("\n") !== this.columns.map((column) => column.info.name).join("\n");
    if (fresh) await this.#load(wanted, params);
    else if (params.size) this.#take(params);
    await this.next();
  }

  hide() {
    this.popover.hide();
  }

  /** Take prompt and settings from an address of the runs that are shown. */
  #take(params) {
    this.prompt.value = params.get("prompt") ?? this.given;
    this.sliders.reset(this.columns[0].info.sampling ?? {}, Object.fromEntries(params));
  }

  async #load(names, params = new URLSearchParams()) {
    this.columns.forEach((column) => column.stop());
    const infos = await Promise.all(names.map((name) => this.app.info(name)));
    const own = this.prompt.value;
    const untouched = own === "" || own === this.given;
    this.columns = infos.map((info) => new Column(info, this.popover, (column, ended) => this.#changed(column, ended)));
    this.texts.replaceChildren(...this.columns.map((column) => column.el));
    this.texts.classList.toggle("two", this.columns.length > 1);
    const fills = this.columns[0].kind === "fill";
    this.given = fills ? gapped(infos[0].prompt) : infos[0].prompt;
    this.prompt.value = params.get("prompt") ?? (untouched ? this.given : own);
    this.promptLabel.textContent = fills ? "Text, with _ for each gap" : "Prompt";
    this.go.textContent = fills ? "Fill" : "Write";
    this.go.disabled = this.columns.every((column) => column.kind === "none");
    const before = this.loaded ? this.sliders.differing : {};
    this.loaded = true;
    this.sliders.reset(infos[0].sampling ?? {}, { ...before, ...Object.fromEntries(params) });
    const writes = this.columns.some((column) => column.kind === "write");
    this.sliders.enable(writes);
    this.idle.textContent = writes ? "" : "No effect: this run does not draw tokens one after the other.";
    if (new Set(infos.map((info) => info.vocab_size)).size > 1) this.idle.textContent = "These runs have different vocabularies: they share the seed, not the random numbers.";
    this.after = "prompt";
  }

  #options(chosen) {
    const options = (empty) => [
      ...(empty ? [h("option", { value: NONE }, "no second run")] : []),
      ...this.app.runs.map((run) => h("option", { value: run.name }, run.name)),
    ];
    this.first.replaceChildren(...options(false));
    this.second.replaceChildren(...options(true));
    this.first.value = chosen[0] ?? "";
    this.second.value = chosen[1] ?? NONE;
  }

  async #chosen() {
    try {
      await this.#load([this.first.value, this.second.value].filter(Boolean));
      await this.next();
      this.app.notice(null);
    } catch (error) {
      this.app.notice(error);
    }
    this.remember();
  }

  #go() {
    this.app.notice(null);
    this.said = { at: performance.now(), length: 0 };
    this.halt.disabled = false;
    for (const column of this.columns) column.start(this.prompt.value, this.sliders.values);
    this.after = "text";
    this.remember();
  }

  /** A token came, or a stream ended. */
  #changed(column, ended) {
    const writing = this.columns.some((each) => each.running);
    this.halt.disabled = !writing;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      this.#markDifference();
      if (this.columns.some((each) => each.running)) this.#dance();
    });
    this.#speak(column, ended);
    if (ended && !writing) {
      this.after = "text";
      this.next();
    }
  }

  /** While a text is drawn, the bars show what each token was drawn from. */
  #dance() {
    const last = this.columns.map((column) => column.tokens.at(-1)?.alternatives).filter(Boolean);
    if (!last.length) return;
    this.bars.show(last.map((bars) => ({ bars, entropy: null })));
    this.caption.textContent = "drawing…";
  }

  #speak(column, ended) {
    if (column !== this.columns[0]) return;
    const text = column.generated;
    if (!ended && performance.now() - this.said.at < SPOKEN_EVERY) return;
    announce(text.slice(this.said.length));
    this.said = { at: performance.now(), length: text.length };
  }

  #markDifference() {
    if (this.columns.length < 2) return;
    const [a, b] = this.columns.map((column) => column.generated);
    let same = 0;
    while (same < Math.min(a.length, b.length) && a[same] === b[same]) same += 1;
    const none = same === Math.min(a.length, b.length);
    for (const column of this.columns) column.text.mark(none ? -1 : tokenAt(column.tokens, same), "differs");
  }

  /** Ask what comes next, for every run that writes. */
  async #next(signal) {
    const writers = this.columns.filter((column) => column.kind === "write");
    if (!writers.length) return this.bars.clear("nothing to draw from: this model does not write token by token");
    const settings = this.sliders.values;
    const bodies = writers.map((column) =>
      this.after === "text" && column.tokens.length ? { name: column.info.name, ids: column.ids, settings } : { name: column.info.name, prompt: this.prompt.value, settings },
    );
    try {
      const answers = await Promise.all(bodies.map((body) => post("next", body, signal)));
      if (writers.some((column) => column.running)) return undefined;
      this.answers = answers;
      this.bars.show(answers);
      const end = this.after === "text" && writers[0].tokens.length ? writers[0].text.text : this.prompt.value;
      this.caption.textContent = end ? `after “${end.length > 18 ? "…" : ""}${label(end.slice(-18))}”` : "at the beginning";
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.bars.clear(error.message);
      this.caption.textContent = "";
    }
    return undefined;
  }

  /** Append a bar's token, without sampling, to the texts whose vocabulary has it. */
  #append(bar) {
    this.columns.filter((column) => column.kind === "write").forEach((column, at) => {
      const answer = this.answers[at];
      if (bar.ids[at] === undefined || !answer) return;
      const token = { id: bar.ids[at], text: bar.text, p: bar.p[at], alternatives: answer.bars.slice(0, 10) };
      column.append(token, answer.ids && { ids: answer.ids, texts: answer.texts }, this.sliders.values);
    });
  }

  #settled() {
    this.remember();
    this.next();
  }

  #listen() {
    const soon = later(() => this.next(), 40);
    this.prompt.addEventListener("input", () => {
      this.after = "prompt";
      this.remember();
      soon();
    });
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#go();
    });
  }

  #layout() {
    const reset = h("button", { class: "quiet", onclick: () => this.#defaults() }, "Defaults");
    return h(
      "div",
      { class: "write" },
      h("div", { class: "toolbar" }, h("label", { class: "field" }, "Run", this.first), h("label", { class: "field" }, "next to", this.second), surpriseLegend(h)),
      h("aside", { class: "panel settings", "aria-label": "Settings of sampling" }, h("header", {}, h("h2", {}, "Sampling"), reset), this.idle, this.sliders.el),
      h("div", { class: "panel prompt" }, this.promptLabel, this.prompt, h("div", { class: "actions" }, this.go, this.halt, h("kbd", {}, "Ctrl + Enter"))),
      this.texts,
      h("aside", { class: "panel next", "aria-label": "Next token" }, h("header", {}, h("h2", {}, "Next token"), this.caption), this.bars.el, this.bars.foot),
    );
  }

  #defaults() {
    this.sliders.reset(this.columns[0]?.info.sampling ?? {});
    this.#settled();
  }
}

/** The place of the token that has the generated character `char`. */
function tokenAt(tokens, char) {
  let seen = 0;
  return tokens.findIndex((token) => {
    if (token.given) return false;
    seen += token.text.length;
    return seen > char;
  });
}

/** A prompt with some of its letters as gaps. */
function gapped(prompt) {
  const text = prompt.trim() || "To be or not to be";
  return [...text].map((char, at) => (at % 6 === 4 && /\p{L}/u.test(char) ? "_" : char)).join("");
}
