// Small helpers around the DOM. Text always goes in as text nodes, never as HTML.

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

/** A colour that stays with a name: services keep theirs from page to page. For bars and dots, or for text. */
export function colour(name, use = "bar") {
  let hash = 2166136261;
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 16777619);
  hash = Math.imul(hash ^ (hash >>> 15), 2246822507);
  hash = (hash ^ (hash >>> 13)) >>> 0;
  // 24 hues that can be told apart, in two strengths.
  return `hsl(${(hash % 24) * 15} ${hash & 32 ? 70 : 42}% var(--${use === "text" ? "ink" : "bar"}))`;
}

/** A service's dot and name. */
export function chip(name, text = name) {
  return h("span", { class: "chip" }, h("span", { class: "dot", style: { background: colour(name) } }), text);
}

/** What is there instead of a list: a heading and what to do. */
export const message = (heading, text) => h("div", { class: "message" }, h("strong", {}, heading), text);

/** That something is on its way. */
export const loading = (text) => h("div", { class: "loading", role: "status" }, text);
