/** Look: what one or several runs make of a text of the user's. */

import { events } from "./api.js";
import { surpriseLegend } from "./colours.js";
import { h, latest, later } from "./dom.js";
import { IDEAS, runsFor } from "./ideas.js";
import { LookCard } from "./lookcard.js";
import * as route from "./route.js";

const MOST = 4; // runs side by side
const OWN_TOKENS = 40; // of a text that a run writes itself

export class LookView {
  constructor(app) {
    this.app = app;
    this.cards = [];
    this.idea = "";
    this.text = h("textarea", { id: "looktext", rows: 2, spellcheck: "false", autocomplete: "off" });
    this.picker = h("div", { class: "choices" });
    this.summary = h("summary", {}, "Runs");
    this.ideas = h("div", { class: "chips", role: "group", "aria-label": "Prepared views" }, IDEAS.map((idea) => this.#chip(idea)));
    this.told = h("div", { class: "told panel", hidden: true });
    this.grid = h("div", { class: "cards" });
    this.load = latest((signal) => this.#load(signal));
    this.remember = later(() => route.read().view === "look" && route.write("look", this.values), 200);
    const soon = later(() => this.#ask(), 250);
    this.text.addEventListener("input", () => {
      this.remember();
      soon();
    });
    this.el = h(
      "div",
      { class: "look" },
      h("div", { class: "toolbar" }, h("span", { class: "fieldname" }, "Prepared views"), this.ideas),
      this.told,
      h(
        "div",
        { class: "panel looking" },
        h("div", { class: "grow" }, h("label", { for: "looktext" }, "Text"), this.text),
        h("details", { class: "picker" }, this.summary, this.picker),
      ),
      h("div", { class: "toolbar" }, h("span", { class: "help" }, "Point at a token: every map follows."), surpriseLegend(h)),
      this.grid,
    );
  }

  get values() {
    return { idea: this.idea, run: this.chosen, text: this.text.value === this.given ? null : this.text.value };
  }

  async show(params) {
    const idea = IDEAS.find(({ id }) => id === params.get("idea"));
    const names = params.getAll("run");
    if (idea && idea.id !== this.idea) this.#prepare(idea, names);
    else if (!idea && this.idea && params.size) this.#plain();
    if (!idea || names.length) this.chosen = names.length ? names.slice(0, MOST) : this.chosen?.length ? this.chosen : this.app.firstRuns;
    if (params.has("text")) this.text.value = params.get("text");
    if (!this.text.value && this.chosen.length) {
      const info = await this.app.info(this.chosen[0]);
      this.given = sentence(info);
      this.text.value = this.given;
    }
    this.#options();
    await this.load();
  }

  #chip(idea) {
    return h("button", { class: "chip", "aria-pressed": "false", "data-idea": idea.id, onclick: () => this.#choose(idea) }, idea.title);
  }

  #choose(idea) {
    if (this.idea === idea.id) this.#plain();
    else this.#prepare(idea, []);
    this.#options();
    this.remember();
    this.#ask();
  }

  #plain() {
    this.idea = "";
    this.told.hidden = true;
    for (const chip of this.ideas.children) chip.setAttribute("aria-pressed", "false");
  }

  #prepare(idea, names) {
    this.idea = idea.id;
    for (const chip of this.ideas.children) chip.setAttribute("aria-pressed", chip.dataset.idea === idea.id);
    const found = runsFor(idea, this.app.runs);
    this.chosen = names.length ? names : found.filter(Boolean).map((run) => run.name);
    this.text.value = this.given = idea.text;
    const missing = idea.wants.filter((_, at) => !found[at]);
    this.told.hidden = false;
    this.told.replaceChildren(
      h("h2", {}, `${idea.title}: what to look for`),
      h("ul", {}, idea.look.map((line) => h("li", {}, line))),
      ...missing.map(({ command }) => h("p", { class: "missing" }, "No such run here yet. Train one: ", h("code", {}, command))),
      h("p", { class: "help" }, `The idea, its equation and its tests: docs/ideas/${idea.id}.md`),
    );
  }

  #options() {
    this.summary.textContent = `Runs: ${this.chosen.join(", ") || "none"}`;
    this.picker.replaceChildren(
      ...this.app.runs.map((run) => {
        const box = h("input", { type: "checkbox", value: run.name, checked: this.chosen.includes(run.name), onchange: () => this.#toggled(run.name, box) });
        return h("label", {}, box, run.name, h("small", {}, run.family));
      }),
    );
  }

  #toggled(name, box) {
    this.chosen = this.chosen.filter((other) => other !== name);
    if (box.checked) this.chosen = [...this.chosen, name].slice(-MOST);
    this.#options();
    this.picker.querySelector(`input[value="${CSS.escape(name)}"]`)?.focus();
    this.remember();
    this.#ask();
  }

  #ask() {
    this.load().then(
      () => this.app.notice(null),
      (error) => this.app.notice(error),
    );
  }

  async #load(signal) {
    const infos = await Promise.all(this.chosen.map((name) => this.app.info(name)));
    if (signal.aborted) return;
    const before = new Map(this.cards.map((card) => [card.info.name, card]));
    this.cards = infos.map((info) => before.get(info.name) ?? new LookCard(info, (at) => this.#point(at)));
    const shown = this.cards.map((card) => card.el);
    if (shown.length !== this.grid.children.length || shown.some((el, at) => this.grid.children[at] !== el)) this.grid.replaceChildren(...shown);
    this.grid.dataset.count = shown.length;
    if (!this.text.value) return;
    if (this.text.value === this.given) {
      const most = Math.min(...infos.map((info) => Math.min(info.block_size, info.look_tokens)));
      this.text.value = this.given = this.given.slice(0, most); // a character is a token at least
    }
    const text = this.text.value;
    try {
      await Promise.all(this.cards.map((card) => card.load(text, signal)));
    } catch (error) {
      if (error.status !== 400 || text !== this.given || infos[0].own) throw error;
      infos[0].own = true; // once: the text that the page gave has characters that this run doesn't know
      this.text.value = this.given = await written(infos[0], signal);
      return this.#load(signal);
    }
    this.app.notice(null);
    return undefined;
  }

  #point(at) {
    for (const card of this.cards) card.emphasise(at);
  }
}

/** A text of a run's own: what it writes after its first prompt, or that prompt. */
async function written(info, signal) {
  let text = info.prompt;
  if (!info.autoregressive) return text;
  const settings = { max_new_tokens: Math.max(1, Math.min(OWN_TOKENS, info.block_size - text.length)), temperature: 0.5 };
  for await (const { event, data } of events("write", { body: { name: info.name, prompt: text, settings }, signal })) {
    if (event === "token") text += data.text;
  }
  return text;
}

/** A first text for a run: its prompt, where that says enough. */
function sentence(info) {
  const known = "ROMEO: But soft, what light";
  return info.prompt && info.prompt.trim().length > 12 ? info.prompt.slice(0, 40) : known;
}
