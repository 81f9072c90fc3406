/** One run's text in the Write view: streamed in, coloured by surprise, branched where an alternative is clicked. */

import { events, post } from "./api.js";
import { count, h, label, percent, score } from "./dom.js";
import { TokenText } from "./tokens.js";

const GAP = "_"; // marks one to fill
const FOLLOW = 40; // pixels from the end within which the text keeps scrolling with what comes

export class Column {
  /** `popover` shows alternatives; `changed(column)` is called after every token and when a stream ends. */
  constructor(info, popover, changed) {
    this.info = info;
    this.popover = popover;
    this.changed = changed;
    this.tokens = [];
    this.before = []; // what the branches replaced
    this.running = null;
    this.settings = {};
    this.text = new TokenText({
      label: `Text of ${info.name}`,
      hover: (at, el) => this.#show(at, el, false),
      leave: () => this.popover.leave(),
      activate: (at, el) => this.#show(at, el, true),
    });
    this.status = h("p", { class: "status" }, "");
    this.undo = h("button", { class: "quiet", hidden: true, onclick: () => this.#undo() }, "Undo branch");
    this.box = h("div", { class: "output" }, this.text.el);
    this.el = h("section", { class: "column", "aria-label": info.name }, this.#head(), this.box, h("div", { class: "under" }, this.status, this.undo));
    this.#empty();
  }

  /** "write", "fill" or "none": what this run can do with a prompt. */
  get kind() {
    if (this.info.autoregressive) return "write";
    return this.info.infills ? "fill" : "none";
  }

  get ids() {
    return this.tokens.map((token) => token.id);
  }

  /** The generated text, without the prompt. */
  get generated() {
    return this.tokens.filter((token) => !token.given).map((token) => token.text).join("");
  }

  /** Begin again from a prompt. */
  async start(prompt, settings) {
    this.stop();
    this.popover.hide();
    this.before = [];
    this.settings = settings;
    if (this.kind === "fill") return this.#fill(prompt);
    if (this.kind === "none") return undefined;
    this.#keep(0);
    return this.#stream({ prompt, settings });
  }

  /** Keep the tokens before `at`, put another in its place, and go on from there. */
  async branch(at, alternative) {
    this.stop();
    this.before.push([...this.tokens]);
    this.#keep(at);
    this.#add({ ...alternative, branched: true });
    const left = Math.max(1, this.settings.max_new_tokens - this.tokens.filter((token) => !token.given).length);
    return this.#stream({ prefix_ids: this.ids, settings: { ...this.settings, max_new_tokens: left } });
  }

  /** Append one token without sampling; to `prompt` {ids, texts} where it is given, else to the text. */
  append(token, prompt, settings) {
    this.stop();
    if (prompt) {
      this.#keep(0);
      prompt.ids.forEach((id, at) => this.#add({ id, text: prompt.texts[at], given: true }));
    }
    this.#keep(this.tokens.length);
    this.settings = settings;
    this.#add({ ...token, branched: true });
    this.changed(this, true);
  }

  /** Stop a running stream; the text stays. */
  stop() {
    this.running?.abort();
    this.running = null;
  }

  async #stream({ prompt, prefix_ids, settings }) {
    const mine = (this.running = new AbortController());
    const body = prefix_ids ? { name: this.info.name, prefix_ids, settings } : { name: this.info.name, prompt, settings };
    this.settings = { ...settings, max_new_tokens: this.settings.max_new_tokens ?? settings.max_new_tokens };
    const began = performance.now();
    let first = null;
    let made = 0;
    this.el.classList.add("busy");
    this.#say("");
    try {
      for await (const { event, data } of events("write", { body, signal: mine.signal })) {
        if (mine.signal.aborted) break; // what had come before may still be in the buffer
        if (event === "prompt" && !prefix_ids) data.ids.forEach((id, at) => this.#add({ id, text: data.texts[at], given: true }));
        else if (event === "token") {
          first ??= performance.now() - began;
          made += 1;
          this.#add(data);
          this.changed(this, false);
        } else if (event === "done" && data.text) this.text.add({ text: data.text, given: true }); // half a character
        else if (event === "error") throw new Error(data.error);
      }
      if (mine.signal.aborted) return this.#stopped(made);
      const seconds = (performance.now() - began - first) / 1000;
      const rate = made > 1 && seconds > 0 ? ` · ${count((made - 1) / seconds)} tokens/s` : "";
      this.#say(`${count(made)} tokens${rate}${first === null ? "" : ` · first after ${Math.round(first)} ms`}`);
    } catch (error) {
      if (error.name === "AbortError") this.#stopped(made);
      else this.#say(error.message, true);
    } finally {
      if (this.running === mine || this.running === null) {
        this.running = null;
        this.el.classList.remove("busy");
        this.changed(this, true);
      }
    }
    return undefined;
  }

  /** Say that a stream was stopped, unless another has begun in its place. */
  #stopped(made) {
    if (!this.running) this.#say(`stopped after ${count(made)} tokens`);
  }

  async #fill(text) {
    this.#keep(0);
    this.#say("");
    try {
      const { pieces } = await post("fill", { name: this.info.name, text, gap: GAP });
      for (const piece of pieces) {
        const span = this.text.add({ text: piece.text, given: !piece.filled, nats: piece.p === null ? null : -Math.log(piece.p), probability: piece.p });
        span.classList.toggle("filled", piece.filled);
      }
      const filled = pieces.filter((piece) => piece.filled);
      this.#say(filled.map((piece) => `${label(piece.text)} ${piece.p === null ? "" : percent(piece.p)}`).join(" · "));
    } catch (error) {
      this.#say(error.message, true);
    }
    this.changed(this, true);
  }

  #add(token) {
    const end = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < FOLLOW;
    const nats = token.given || !token.p ? null : -Math.log(token.p);
    const span = this.text.add({ text: token.text, nats, given: token.given, probability: token.given ? null : token.p });
    if (token.branched) span.classList.add("branched");
    this.tokens.push(token);
    if (end) this.box.scrollTop = this.box.scrollHeight;
  }

  #keep(count) {
    this.tokens.length = count;
    this.text.clear(count);
    this.box.querySelector(".hint")?.remove();
    this.undo.hidden = this.before.length === 0;
  }

  #undo() {
    this.stop();
    const tokens = this.before.pop();
    this.#keep(0);
    for (const token of tokens) this.#add(token);
    this.undo.hidden = this.before.length === 0;
    this.changed(this, true);
  }

  #show(at, el, pinned) {
    const token = this.tokens[at];
    if (!token?.alternatives) return this.popover.leave();
    if (!pinned && this.popover.pinned) return undefined;
    return this.popover.show(el, token, (chosen) => this.branch(at, { ...chosen, alternatives: token.alternatives }), { pinned });
  }

  #say(text, wrong = false) {
    this.status.textContent = text;
    this.status.classList.toggle("wrong", wrong);
  }

  #head() {
    const { info } = this;
    const facts = [info.family, info.parameters !== undefined && `${count(info.parameters)} parameters`, ...score(info)];
    return h("header", { class: "column-head" }, h("h2", {}, h("i", { class: "swatch", "aria-hidden": "true" }), info.name), h("p", {}, facts.filter(Boolean).join(" · ")));
  }

  #empty() {
    const hints = {
      write: "Press Write: each character appears as the model draws it. The stronger its colour, the more it surprised the model. Point at one to see what else it could have been.",
      fill: "This model fills gaps: it sees both sides of each. Mark gaps by _ in the text above, then press Fill.",
      none: `${this.info.why_not ?? "This model does not write"}. Its predictions use later tokens, so it has seen what it should predict; the view Look shows which.`,
    };
    this.box.append(h("p", { class: "hint" }, hints[this.kind]));
  }
}
