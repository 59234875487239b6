// One trace as a waterfall. Only the rows in sight are in the page, so that a trace of
// 10,000 spans opens as fast as one of ten.

import * as api from "./api.js";
import { assign, colour } from "./colours.js";
import { breakable, foldable, h, loading, message } from "./dom.js";
import { count, duration, time } from "./format.js";
import { extent, failed, serviceOf, traceTree } from "./tree.js";

const ROW = 26; // px, as in style.css
const SPARE = 12; // rows kept ready above and below the window

export async function traceView({ element, signal }, id, parameters) {
  const waiting = loading("Reading the trace …");
  element.append(waiting);
  const spans = await found(id, signal).finally(() => waiting.remove());
  if (!spans) return element.append(unknown(id));
  await assign(spans.map(serviceOf));
  signal.throwIfAborted();
  const rows = traceTree(spans);
  const whole = extent(rows);
  const scale = { start: whole.start, length: Math.max(1, whole.length) };
  element.append(...heading(spans, rows, whole));
  const details = h("aside", { class: "details", "aria-live": "polite", "aria-label": "Span" });
  const waterfall = new Waterfall(rows, scale, details, id);
  element.append(h("div", { class: "split" }, h("div", {}, ruler(scale), waterfall.element), details));
  waterfall.draw();
  waterfall.select(Math.max(0, rows.findIndex((row) => row.span.id === parameters.get("span"))));
  waterfall.element.focus();
  window.addEventListener("resize", () => waterfall.draw(), { signal });
  waterfall.element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") history.back();
  });
}

// The spans of a trace; null if there is none with this id.
async function found(id, signal) {
  try {
    return await api.trace(id, signal);
  } catch (error) {
    if (error instanceof api.ApiError && error.status === 404) return null;
    throw error;
  }
}

function unknown(id) {
  const tenant = sessionStorage.getItem("tenant");
  return message("No trace has this id",
    h("p", { class: "mono asked" }, id),
    h("p", {}, `Looked for in all that is stored${tenant ? ` of tenant ${tenant}` : ""}, not only in the last hour.`),
    h("ul", {},
      h("li", {}, "An id is 16 or 32 hexadecimal digits: is it whole?"),
      h("li", {}, "Was the trace sampled? One that was not has an id in logs, but no spans here."),
      h("li", {}, "Spans arrive a second or so after they end, and go when their retention is over.")),
    h("p", {}, h("button", { class: "quiet", type: "button", onclick: () => location.reload() }, "Look again"), " ",
      h("a", { href: "#/" }, "Search recent traces")));
}

function heading(spans, rows, whole) {
  const root = rows[0].span;
  const errors = spans.filter(failed).length;
  const services = new Set(spans.map(serviceOf));
  const service = serviceOf(root);
  return [
    h("h1", {}, h("span", { style: { color: colour(service, "ink") } }, service), ` ${root.name ?? ""}`),
    h("div", { class: "facts" },
      h("b", {}, duration(whole.length)), h("span", {}, count(spans.length, "span")), h("span", {}, count(services.size, "service")),
      errors ? h("span", { class: "failed" }, count(errors, "error")) : null,
      h("span", {}, time(whole.start)), h("span", { class: "mono" }, root.traceId),
      h("a", { href: `/api/v2/trace/${root.traceId}` }, "JSON")),
  ];
}

function ruler(scale) {
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) =>
    h("span", { style: { left: `${part * 100}%` } }, duration(part * scale.length)));
  return h("div", { class: "ruler", "aria-hidden": true }, h("span"), h("div", { class: "marks" }, marks));
}

class Waterfall {
  constructor(rows, scale, details, traceId) {
    Object.assign(this, { all: rows, scale, details, traceId, folded: new Set(), selected: 0 });
    this.space = h("div", { class: "space" });
    this.element = h("div", {
      class: "waterfall", role: "tree", tabindex: 0, "data-list": true, "aria-label": "Spans of the trace",
    }, this.space);
    this.element.addEventListener("scroll", () => this.draw());
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.refresh();
  }

  /** The rows not hidden under a folded one. */
  refresh() {
    let hiddenBelow = Infinity;
    this.rows = this.all.filter((row) => {
      if (row.depth > hiddenBelow) return false;
      hiddenBelow = this.folded.has(row) ? row.depth : Infinity;
      return true;
    });
    this.space.style.height = `${this.rows.length * ROW}px`;
  }

  draw() {
    const first = Math.max(0, Math.floor(this.element.scrollTop / ROW) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW) + SPARE);
    const shown = [];
    for (let index = first; index < last; index++) shown.push(this.row(index));
    this.space.replaceChildren(...shown);
    if (this.rows.length) this.element.setAttribute("aria-activedescendant", `row-${this.selected}`);
  }

  row(index) {
    const row = this.rows[index];
    const { span } = row;
    const service = serviceOf(span);
    const left = (100 * Math.max(0, row.start - this.scale.start)) / this.scale.length;
    const width = (100 * row.length) / this.scale.length;
    const open = row.children.length ? String(!this.folded.has(row)) : undefined;
    const arrow = h("span", { class: "arrow", "aria-hidden": true }, open === undefined ? "" : open === "true" ? "▾" : "▸");
    if (open) arrow.addEventListener("click", (event) => { event.stopPropagation(); this.fold(row, open === "true"); });
    return h("div", {
      class: `row${failed(span) ? " failed" : ""}`, id: `row-${index}`, role: "treeitem", "data-span": span.id,
      "aria-level": row.depth + 1, "aria-selected": String(index === this.selected), "aria-expanded": open,
      style: { top: `${index * ROW}px` }, onclick: () => this.select(index),
    },
      h("span", { class: "label", style: { paddingLeft: `${Math.min(row.depth, 14) * 12}px` } },
        arrow, h("b", { style: { color: colour(service, "ink") } }, service), span.name ?? ""),
      h("span", { class: "lane" },
        h("span", { class: "span", style: { left: `${Math.min(99.8, left)}%`, width: `${Math.max(0.2, width)}%`, background: colour(service) } }),
        h("span", { class: "length", style: left > 70 ? { right: `${100 - left}%` } : { left: `${Math.min(99, left + width)}%` } },
          duration(span.duration))));
  }

  select(index) {
    if (!this.rows.length) return;
    this.selected = Math.min(this.rows.length - 1, Math.max(0, index));
    const top = this.selected * ROW;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW > scrollTop + clientHeight) this.element.scrollTop = top + ROW - clientHeight;
    this.draw();
    const row = this.rows[this.selected];
    this.details.replaceChildren(...describe(row, this.scale));
    history.replaceState(null, "", `#/trace/${this.traceId}?span=${row.span.id}`);
  }

  fold(row, closed) {
    if (closed) this.folded.add(row);
    else this.folded.delete(row);
    this.refresh();
    this.select(this.rows.indexOf(row));
  }

  key(event) {
    const row = this.rows[this.selected];
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.select(this.selected + steps[event.key]);
    else if (event.key === "ArrowLeft" && row.children.length && !this.folded.has(row)) this.fold(row, true);
    else if (event.key === "ArrowLeft") this.select(this.parentIndex());
    else if (event.key === "ArrowRight" && this.folded.has(row)) this.fold(row, false);
    else if (event.key === "ArrowRight" && row.children.length) this.select(this.selected + 1);
    else if (event.key === "Enter") this.details.querySelector("button.copy")?.focus();
    else return;
    event.preventDefault();
  }

  parentIndex() {
    const { depth } = this.rows[this.selected];
    let index = this.selected;
    while (index > 0 && this.rows[index].depth >= depth) index--;
    return index;
  }
}

function describe(row, scale) {
  const { span } = row;
  const facts = {
    Service: serviceOf(span),
    Span: span.name ?? "unknown",
    Kind: span.kind ?? "INTERNAL",
    Start: `${time(span.timestamp)} (+${duration(row.start - scale.start)})`,
    Duration: duration(span.duration),
    "Span id": span.id,
    "Parent id": span.parentId ?? "none",
    Local: endpoint(span.localEndpoint),
    Remote: endpoint(span.remoteEndpoint),
  };
  if (span.shared) facts.Shared = "joined its client's span id";
  if (span.timestamp && Math.round(row.start) !== span.timestamp) facts.Clock = `moved by ${duration(Math.abs(row.start - span.timestamp))}`;
  const notes = (span.annotations ?? []).map((note) => [duration(note.timestamp - (span.timestamp ?? note.timestamp)), note.value]);
  return [
    h("h2", {}, span.name ?? "unknown"),
    table("Facts", Object.entries(facts)),
    table("Tags", Object.entries(span.tags ?? {}).sort()),
    table("Events", notes),
    h("button", { class: "quiet copy", onclick: () => navigator.clipboard?.writeText(JSON.stringify(span, null, 2)) }, "Copy as JSON"),
  ].filter(Boolean);
}

function endpoint(found) {
  if (!found) return "–";
  const host = found.ipv4 ?? (found.ipv6 ? `[${found.ipv6}]` : "");
  return [found.serviceName, host + (found.port ? `:${found.port}` : "")].filter(Boolean).join(" ") || "–";
}

function table(caption, pairs) {
  if (!pairs.length) return null;
  return h("table", {}, h("caption", {}, caption),
    pairs.map(([name, value]) => h("tr", { class: caption === "Tags" && name === "error" ? "failed" : undefined },
      h("th", { scope: "row" }, breakable(name)), h("td", { class: name.endsWith(" id") ? "mono" : undefined }, foldable(String(value))))));
}
