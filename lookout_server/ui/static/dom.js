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
export const message = (heading, text) => h("div", { class: "message" }, h("strong", {}, heading), text);

/** That something is on its way. */
export const loading = (text) => h("div", { class: "loading", role: "status" }, text);
