/** The form of a training run, made from the settings that `chargpt train --help` shows; only what differs is sent. */

import { h } from "./dom.js";

const FIRST = ["data", "model", "trainer"]; // groups that are open and come first

export class SettingsForm {
  /** `changed(values)` is called whenever a value changes. */
  constructor(changed) {
    this.changed = changed;
    this.fields = new Map();
    this.search = h("input", { type: "search", placeholder: "Search settings", "aria-label": "Search settings", oninput: () => this.#filter() });
    this.only = h("input", { type: "checkbox", onchange: () => this.#filter() });
    this.groups = h("div", { class: "groups-of-settings" });
    this.none = h("p", { class: "help", hidden: true }, "No setting has this word.");
    this.el = h("div", { class: "form" }, h("div", { class: "formsearch" }, this.search, h("label", { class: "check" }, this.only, "changed only")), this.none, this.groups);
  }

  /** Show a family's settings [{name, type, choices, default, help, group}]; values given before are kept. */
  show(settings) {
    const before = this.values;
    this.fields.clear();
    const groups = new Map();
    for (const setting of settings) {
      const field = this.#field(setting);
      this.fields.set(setting.name, field);
      const name = setting.group ?? setting.name.split(".")[0];
      groups.set(name, [...(groups.get(name) ?? []), field.el]);
    }
    const order = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
    const names = [...groups.keys()].sort((a, b) => order(a) - order(b));
    this.groups.replaceChildren(...names.map((name, at) => h("details", { open: at < 2 }, h("summary", {}, name, h("span", { class: "badge" })), h("div", { class: "fields" }, groups.get(name)))));
    for (const [name, value] of Object.entries(before)) this.fields.get(name)?.set(value);
    this.#note();
  }

  /** {name: value} of what differs from its default. */
  get values() {
    const found = {};
    for (const [name, field] of this.fields) {
      const value = field.get();
      if (value !== undefined) found[name] = value;
    }
    return found;
  }

  /** Mark the setting that a rejected start names, and go to it. */
  blame(message) {
    for (const [name, field] of this.fields) {
      const wrong = message.includes(name);
      field.el.classList.toggle("wrong", wrong);
      if (wrong) {
        field.el.closest("details").open = true;
        field.input.focus();
      }
    }
  }

  clear() {
    for (const field of this.fields.values()) field.set(undefined);
    this.#note();
  }

  #field(setting) {
    const { name, help } = setting;
    const id = `field-${name}`;
    const input = control(setting, id);
    const reset = h("button", { class: "reset", type: "button", title: "Back to the default", "aria-label": `${name}: back to the default`, onclick: () => this.#set(field, undefined) }, "↺");
    const el = h("div", { class: "setting" }, h("label", { for: id }, short(setting)), input, reset, h("p", { class: "help", id: `${id}-help` }, explained(help)));
    const field = { el, input, words: `${name} ${help ?? ""}`.toLowerCase() };
    field.get = () => read(input, setting);
    field.set = (value) => write(input, setting, value);
    input.addEventListener("input", () => {
      el.classList.remove("wrong");
      this.#note();
    });
    return field;
  }

  #set(field, value) {
    field.set(value);
    this.#note();
    field.input.focus();
  }

  #note() {
    for (const field of this.fields.values()) field.el.classList.toggle("changed", field.get() !== undefined);
    for (const details of this.groups.children) {
      const changed = details.querySelectorAll(".setting.changed").length;
      details.querySelector(".badge").textContent = changed ? `${changed} changed` : "";
    }
    this.changed(this.values);
  }

  #filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let any = false;
    for (const details of this.groups.children) {
      let left = 0;
      for (const el of details.querySelectorAll(".setting")) {
        const field = [...this.fields.values()].find((one) => one.el === el);
        const fits = words.every((word) => field.words.includes(word)) && (!this.only.checked || field.get() !== undefined);
        el.hidden = !fits;
        left += fits;
      }
      details.hidden = left === 0;
      if (words.length || this.only.checked) details.open = left > 0;
      any ||= left > 0;
    }
    this.none.hidden = any;
  }
}

const short = ({ name, group }) => (group && name.startsWith(`${group}.`) ? name.slice(group.length + 1) : name.split(".").slice(-1)[0]);

const text = (value) => (value === null || value === undefined ? "" : Array.isArray(value) ? JSON.stringify(value) : String(value));

/** A help text; what stands between backticks is code. */
const explained = (help) => (help ?? "").split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));

/** The input of a setting; its default is what shows while nothing is chosen. */
function control({ type, choices, default: value }, id) {
  const props = { id, "aria-describedby": `${id}-help` };
  if (type === "bool" || type === "choice") {
    const words = choices?.length ? choices : ["True", "False"];
    const first = type === "bool" && typeof value === "boolean" ? (value ? "True" : "False") : text(value) || "null";
    return h("select", props, h("option", { value: "" }, first), words.filter((word) => String(word) !== first).map((word) => h("option", { value: word }, String(word))));
  }
  const numeric = type === "int" || type === "float";
  if (choices?.length) props.list = suggestions(choices);
  return h("input", { ...props, type: "text", inputmode: numeric ? "decimal" : null, placeholder: text(value) || "null", spellcheck: "false", autocomplete: "off" });
}

/** The id of a list of suggestions on the page. */
function suggestions(words) {
  const id = `suggest-${words.join("-")}`;
  if (!document.getElementById(id)) document.body.append(h("datalist", { id }, words.map((word) => h("option", { value: word }))));
  return id;
}

/** The value that an input has; undefined where that is the default. */
function read(input, { type, default: value }) {
  const word = input.value.trim();
  if (word === "" || word === text(value)) return undefined;
  if (type === "bool") return word === "True";
  if (type === "int" && /^[+-]?\d+$/.test(word)) return Number(word);
  if (type === "float" && word !== "" && Number.isFinite(Number(word))) return Number(word);
  return word === "null" ? null : word;
}

function write(input, { type }, value) {
  if (value === undefined) input.value = "";
  else if (type === "bool") input.value = value ? "True" : "False";
  else input.value = value === null ? "null" : String(value);
}
