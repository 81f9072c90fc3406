/** The ten likeliest alternatives of one token, next to it: by hover, focus or tap; a click branches. */

import { h, label, percent, spoken } from "./dom.js";

const GAP = 6; // pixels between a token and the list
const EDGE = 8; // to the window's edge

export class Alternatives {
  constructor() {
    this.el = h("div", { class: "popover", role: "dialog", "aria-label": "Alternatives", hidden: true });
    this.list = h("div", { class: "alternatives" });
    this.head = h("p", { class: "popover-head" });
    this.el.append(this.head, this.list);
    document.body.append(this.el);
    this.pinned = false;
    this.anchor = null;
    this.timer = 0;
    this.el.addEventListener("pointerenter", () => clearTimeout(this.timer));
    this.el.addEventListener("pointerleave", () => this.leave());
    this.el.addEventListener("keydown", (event) => this.#key(event));
    this.el.addEventListener("focusout", (event) => {
      if (!this.el.contains(event.relatedTarget)) this.hide();
    });
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
    document.addEventListener("pointerdown", (event) => {
      if (!this.el.contains(event.target) && !event.target.closest?.(".tok")) this.hide();
    });
    addEventListener("scroll", () => this.anchor && this.#place(), { passive: true, capture: true });
  }

  /** Show the alternatives of a token {id, text, p, alternatives}; `pick(alternative)` is called with a chosen one. */
  show(anchor, token, pick, { pinned = false } = {}) {
    clearTimeout(this.timer);
    this.pinned = pinned;
    this.anchor?.classList.remove("open");
    this.anchor = anchor;
    anchor.classList.add("open");
    const rows = [...token.alternatives];
    if (!rows.some((row) => row.id === token.id)) rows.push({ id: token.id, text: token.text, p: token.p });
    const most = Math.max(...rows.map((row) => row.p), 1e-9);
    this.head.textContent = "Could have been, click to branch:";
    this.list.replaceChildren(
      ...rows.map((row) => {
        const chosen = row.id === token.id;
        const bar = h("i", { class: "bar", style: { "--share": row.p / most } });
        const said = `${spoken(row.text)}, ${percent(row.p)}${chosen ? ", drawn" : ""}`;
        return h(
          "button",
          { class: chosen ? "alternative chosen" : "alternative", "aria-label": said, "data-id": row.id, onclick: () => this.#pick(pick, row) },
          h("code", {}, label(row.text)),
          h("span", { class: "track", "aria-hidden": "true" }, bar),
          h("span", { class: "value" }, percent(row.p)),
        );
      }),
    );
    this.el.hidden = false;
    this.#place();
    if (pinned) (this.list.querySelector(".chosen") ?? this.list.firstChild)?.focus({ preventScroll: true });
  }

  /** Hide soon, unless the pointer comes in or a tap pinned it. */
  leave() {
    clearTimeout(this.timer);
    if (!this.pinned) this.timer = setTimeout(() => this.hide(), 180);
  }

  hide() {
    if (this.el.hidden) return;
    const inside = this.el.contains(document.activeElement);
    const anchor = this.anchor;
    this.anchor = null;
    this.pinned = false;
    this.el.hidden = true;
    anchor?.classList.remove("open");
    if (inside && anchor?.isConnected) anchor.focus({ preventScroll: true });
  }

  #pick(pick, row) {
    this.hide();
    pick(row);
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const rows = [...this.list.children];
    rows[(rows.indexOf(document.activeElement) + step + rows.length) % rows.length].focus();
  }

  #place() {
    const at = this.anchor.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.el;
    const below = at.bottom + GAP + height <= innerHeight - EDGE || at.top < height + GAP + EDGE;
    const top = below ? Math.min(at.bottom + GAP, innerHeight - height - EDGE) : at.top - GAP - height;
    const left = Math.max(EDGE, Math.min(at.left - 20, innerWidth - width - EDGE));
    this.el.style.setProperty("top", `${Math.max(EDGE, top)}px`);
    this.el.style.setProperty("left", `${left}px`);
  }
}
