// Who calls whom: services in columns by their distance from the entry, calls as curves.

import * as api from "./api.js";
import { assign, colour } from "./colours.js";
import { h, loading, message, svg } from "./dom.js";
import { count, time } from "./format.js";

const HOURS = { 1: "1 hour", 6: "6 hours", 24: "1 day", 168: "7 days" };
const BOX = { width: 150, height: 34, gapX: 110, gapY: 22 };

export async function dependenciesView({ element }, parameters) {
  const hours = Number(parameters.get("hours")) || 24;
  const choice = h("select", { "data-first": true, onchange: () => { location.hash = `#/dependencies?hours=${choice.value}`; } },
    Object.entries(HOURS).map(([value, label]) => h("option", { value, selected: Number(value) === hours }, label)));
  element.append(h("form", { class: "filters" }, h("label", {}, "Last", choice)));
  const waiting = loading("Reading the calls …");
  element.append(waiting);
  const [until, lookback] = [Date.now(), hours * 3_600_000];
  const { links, linked } = await api.dependencies(until, lookback).finally(() => waiting.remove());
  if (linked) element.append(h("p", { class: "linked" }, lacking(linked, until - lookback, until)));
  if (!links.length) return element.append(message("No calls between services in this time", "Look further back."));
  await assign(links.flatMap((link) => [link.parent, link.child]));
  element.append(h("div", { class: "graph" }, graph(links)), callTable(links));
}

/** What the calls are of, where that is less than was asked for (Unix ms). */
function lacking(linked, since, until) {
  const from = linked.since > since ? ` from ${time(linked.since * 1000)}` : "";
  const to = linked.until < until ? ` until ${time(linked.until * 1000)}` : "";
  const where = from && to ? "outside of that" : from ? "before" : "since then";
  const range = from || to ? `Calls${from}${to}: ${where} more came than can be counted while you wait. ` : "";
  const most = count(linked.crossing / 60_000, "minute");
  return range + (linked.crossing ? `Traces that were idle for ${most} before or after that beginning may be missing.` : "");
}

/** Longest path from an entry, cycles cut: service name -> column. */
export function columns(links) {
  const names = [...new Set(links.flatMap((link) => [link.parent, link.child]))].sort();
  const column = new Map(names.map((name) => [name, 0]));
  for (let round = 0; round < names.length; round++) {
    let moved = false;
    for (const { parent, child } of links) {
      const wanted = column.get(parent) + 1;
      if (parent === child || column.get(child) >= wanted || wanted >= names.length) continue;
      column.set(child, wanted);
      moved = true;
    }
    if (!moved) break;
  }
  const used = [...new Set(column.values())].sort((a, b) => a - b);
  return new Map([...column].map(([name, at]) => [name, used.indexOf(at)]));
}

function layout(links) {
  const places = new Map();
  const filled = new Map();
  for (const [name, at] of columns(links)) {
    const row = filled.get(at) ?? 0;
    filled.set(at, row + 1);
    // Every other column hangs lower, so that a call across a column passes above its boxes.
    const lower = at % 2 ? (BOX.height + BOX.gapY) / 1.5 : 0;
    places.set(name, { x: at * (BOX.width + BOX.gapX) + 10, y: row * (BOX.height + BOX.gapY) + 10 + lower });
  }
  return places;
}

function graph(links) {
  const places = layout(links);
  const most = Math.max(...links.map((link) => link.callCount));
  const width = Math.max(...[...places.values()].map((place) => place.x)) + BOX.width + 20;
  const height = Math.max(...[...places.values()].map((place) => place.y)) + BOX.height + 30;
  const boxes = [...places].map(([name, { x, y }]) =>
    svg("a", { href: `#/?service=${encodeURIComponent(name)}`, "data-service": name },
      svg("rect", { x, y, width: BOX.width, height: BOX.height, rx: 6, class: "box", stroke: colour(name) }),
      svg("text", { x: x + BOX.width / 2, y: y + BOX.height / 2 + 4, "text-anchor": "middle" }, shortened(name)),
      svg("title", {}, name)));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "Calls between services" },
    links.map((link) => curve(link, places, most)), boxes);
}

const shortened = (name) => (name.length > 20 ? `${name.slice(0, 19)}…` : name);

function curve(link, places, most) {
  const from = places.get(link.parent);
  const to = places.get(link.child);
  const [x1, y1] = [from.x + BOX.width, from.y + BOX.height / 2];
  const [x2, y2] = [to.x, to.y + BOX.height / 2];
  const bend = Math.max(40, Math.abs(x2 - x1) / 2);
  const path = svg("path", {
    d: `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
    class: link.errorCount ? "call failed" : "call", "stroke-width": 1 + (4 * link.callCount) / most,
  });
  return svg("g", {}, path, svg("title", {}, `${link.parent} → ${link.child}: ${words(link)}`));
}

const words = (link) => `${count(link.callCount, "call")}${link.errorCount ? `, ${count(link.errorCount, "error")}` : ""}`;

function callTable(links) {
  const head = ["Caller", "Called", "Calls", "Errors"].map((name, at) => h("th", { scope: "col", class: at > 1 ? "number" : undefined }, name));
  const rows = [...links].sort((a, b) => b.callCount - a.callCount).map((link) =>
    h("tr", {}, h("td", {}, link.parent), h("td", {}, link.child), h("td", { class: "number" }, link.callCount.toLocaleString("en")),
      h("td", { class: link.errorCount ? "number failed" : "number" }, (link.errorCount ?? 0).toLocaleString("en"))));
  return h("table", { class: "calls" }, h("caption", {}, "Calls"), h("tr", {}, head), rows);
}
