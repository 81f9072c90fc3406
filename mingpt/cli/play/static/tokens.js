/** A text as tokens: coloured by surprise, one in the tab order, arrow keys between them. */

import { surpriseClass } from "./colours.js";
import { h, percent, spoken, unseen } from "./dom.js";

/** A container of tokens.  Callbacks get (place, element): `hover`, `leave`, `activate` (click, tap or Enter). */
export class TokenText {
  constructor({ label, hover = () => {}, leave = () => {}, activate = () => {} }) {
    this.el = h("div", { class: "tokens", role: "group", "aria-label": label });
    this.on = { hover, leave, activate };
    this.spans = [];
    this.current = -1;
    this.el.addEventListener("pointerover", (event) => this.#pointed(event, "hover"));
    this.el.addEventListener("pointerleave", () => this.on.leave());
    this.el.addEventListener("click", (event) => this.#pointed(event, "activate"));
    this.el.addEventListener("focusin", (event) => {
      const at = this.#place(event.target);
      if (at < 0) return;
      this.#roam(at);
      if (event.target.matches(":focus-visible")) this.on.hover(at, event.target);
    });
    this.el.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Remove the tokens from `from` on. */
  clear(from = 0) {
    for (const span of this.spans.splice(from)) span.remove();
    if (this.current >= from) this.current = -1;
  }

  /** Append a token: {text, nats, plain: true for one that was given and has nothing to tell}. */
  add({ text, nats = null, given = false, probability = null }) {
    const said = probability === null ? spoken(text) : `${spoken(text)}, ${percent(probability)}`;
    const kind = given ? "given" : surpriseClass(nats);
    const classes = ["tok", kind, text === "\n" && "nl", text === " " && "sp", unseen(text) && "odd"].filter(Boolean);
    const span = h("span", { class: classes.join(" "), role: "button", tabindex: "-1", "aria-label": said }, text);
    if (unseen(text)) span.dataset.shown = [...text].map((c) => `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`).join(" ");
    this.spans.push(span);
    this.el.append(span);
    if (this.current < 0 && !given) this.#roam(this.spans.length - 1);
    return span;
  }

  /** Mark one token, as where two texts part; -1: none. */
  mark(at, name) {
    this.spans.forEach((span, place) => span.classList.toggle(name, place === at));
  }

  get text() {
    return this.spans.map((span) => span.textContent).join("");
  }

  #place(target) {
    const span = target.closest?.(".tok");
    return span && this.el.contains(span) ? this.spans.indexOf(span) : -1;
  }

  #pointed(event, name) {
    const at = this.#place(event.target);
    if (at >= 0) this.on[name](at, this.spans[at], event);
  }

  #roam(at) {
    this.spans[this.current]?.setAttribute("tabindex", "-1");
    this.spans[at]?.setAttribute("tabindex", "0");
    this.current = at;
  }

  #key(event) {
    const at = this.#place(event.target);
    if (at < 0) return;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.spans.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.spans[Math.max(0, Math.min(this.spans.length - 1, to))]?.focus();
    } else if (event.key === "Enter" || event.key === " " || event.key === "ArrowDown") {
      event.preventDefault();
      this.on.activate(at, this.spans[at], event);
    }
  }
}
