// Small helpers around the DOM. Text always goes in as text nodes, never as HTML.

import { colour } from "./colours.js";

/** An element: h("a", {href: "#/", class: "x"}, "text", child). Functions under on* are listeners. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A service's dot and name. */
export function chip(name, text = name) {
  return h("span", { class: "chip" }, h("span", { class: "dot", style: { background: colour(name) } }), text);
}

/** What is there instead of a list: a heading and what to do. */
export const message = (heading, ...text) => h("div", { class: "message" }, h("strong", {}, heading), text);

/** That something is on its way. */
export const loading = (text) => h("div", { class: "loading", role: "status" }, text);

/** A name that may break after its dots, underscores and the like, rather than inside its words. */
export const breakable = (name) => name.split(/(?<=[._:/-])/).flatMap((part) => [part, document.createElement("wbr")]).slice(0, -1);

const FOLD = 300; // characters shown of a long text; half as many more would not be worth a click

/** A text; a long one shows its beginning and a button for the rest. */
export function foldable(text) {
  if (text.length <= FOLD * 1.5) return text;
  const shown = document.createTextNode("");
  const button = h("button", { class: "quiet fold", type: "button", "aria-expanded": "false", onclick: () => turn(button.getAttribute("aria-expanded") === "false") });
  const turn = (open) => {
    shown.data = open ? text : `${text.slice(0, FOLD)}…`;
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Show less" : `Show all ${text.length.toLocaleString("en")} characters`;
  };
  turn(false);
  return [shown, button];
}
