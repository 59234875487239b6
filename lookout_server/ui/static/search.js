// Search: all the fields of the trace API, and the traces found, newest or longest first.

import * as api from "./api.js";
import { assign, colour } from "./colours.js";
import { chip, h, loading, message } from "./dom.js";
import { count, duration, parseDuration, time } from "./format.js";
import { summarise } from "./tree.js";

const LOOKBACKS = { "5m": "5 minutes", "15m": "15 minutes", "1h": "1 hour", "6h": "6 hours", "1d": "1 day", "7d": "7 days" };
const MILLISECONDS = { m: 60_000, h: 3_600_000, d: 86_400_000 };
const REFRESH_MS = 2000; // how soon new traces show up while nothing has been found yet

/** The page's fields live in the address, so that a search can be shared. */
export async function searchView({ element, signal, say, guard }, parameters) {
  const results = h("div", { class: "results", "data-list": true, tabindex: 0, role: "listbox", "aria-label": "Traces" });
  const form = searchForm(parameters, (fields) => {
    const query = new URLSearchParams([...fields].filter(([, value]) => value));
    if (`#/?${query}` === location.hash) guard(run);
    else location.hash = `#/?${query}`;
  });
  element.append(form, results);
  guard(() => offerNames(form, parameters));
  results.addEventListener("keydown", (event) => move(event, results));

  async function run() {
    const asked = request(parameters);
    const { found, next } = await api.traces(asked, signal);
    say("");
    if (found.length) return showResults(results, summaries(found, asked), next, asked);
    results.replaceChildren(message("No traces match", "New ones appear here by themselves. Look further back, or ask for less."));
    later(() => guard(run), signal);
  }
  async function showMore(shown, next, asked) {
    const page = await api.traces({ ...asked, cursor: next }, signal);
    await showResults(results, [...shown, ...summaries(page.found, asked)], page.next, asked);
    results.querySelectorAll(".trace")[shown.length]?.focus();
  }

  async function showResults(list, shown, next, asked) {
    await assign(shown.flatMap((summary) => summary.services.map(([name]) => name)));
    signal.throwIfAborted();
    const measure = asked.sort ? "longest" : "duration"; // the bars follow the order
    const most = Math.max(1, ...shown.map((summary) => summary[measure]));
    const more = (event) => { event.target.disabled = true; guard(() => showMore(shown, next, asked)); };
    list.replaceChildren(
      h("p", { class: "tally" }, `${count(shown.length, "trace")}, ${orderOf(asked)} first`),
      ...shown.map((summary, index) => resultRow(summary, measure, most, index)),
      ...(next ? [h("button", { class: "quiet more", type: "button", onclick: more }, "Show more")] : []));
  }

  results.append(loading("Searching …"));
  try {
    await run();
  } catch (error) {
    results.replaceChildren();
    throw error;
  }
}

const summaries = (found, asked) => found.map((spans) => summarise(spans, asked.serviceName));

const orderOf = ({ sort, serviceName }) => (sort ? `longest span${serviceName ? ` of ${serviceName}` : ""}` : "newest");

function later(work, signal) {
  const timer = setTimeout(work, REFRESH_MS);
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
}

/** Form fields to the parameters of /api/v2/traces. */
export function request(parameters) {
  const terms = [parameters.get("tags")?.trim(), parameters.get("errors") ? "error" : ""];
  const lookback = /^(\d+)([mhd])$/.exec(parameters.get("lookback") ?? "1h");
  return {
    serviceName: parameters.get("service"),
    spanName: parameters.get("span"),
    remoteServiceName: parameters.get("remote"),
    annotationQuery: terms.filter(Boolean).join(" and "),
    minDuration: parseDuration(parameters.get("min") ?? ""),
    maxDuration: parseDuration(parameters.get("max") ?? ""),
    endTs: parameters.get("end") || Date.now(),
    lookback: lookback ? Number(lookback[1]) * MILLISECONDS[lookback[2]] : MILLISECONDS.h,
    limit: parameters.get("limit") || 20,
    sort: parameters.get("sort") === "longest" ? "duration" : "",
  };
}

function searchForm(parameters, submit) {
  const value = (name) => parameters.get(name) ?? "";
  const field = (label, name, { wide, ...more } = {}) =>
    h("label", { class: wide ? "wide" : undefined }, label, h("input", { name, value: value(name), autocomplete: "off", spellcheck: "false", ...more }));
  const lookback = h("select", { name: "lookback" }, Object.entries(LOOKBACKS).map(([key, label]) =>
    h("option", { value: key, selected: key === (value("lookback") || "1h") }, label)));
  const sort = h("select", { name: "sort" },
    h("option", { value: "" }, "newest"), h("option", { value: "longest", selected: value("sort") === "longest" }, "longest span"));
  const form = h("form", { class: "filters", "aria-label": "Search traces" },
    field("Service", "service", { list: "services", "data-first": true, wide: true, placeholder: "any" }),
    field("Span", "span", { list: "spans", wide: true, placeholder: "any" }),
    field("Remote service", "remote", { list: "remotes", wide: true, placeholder: "any" }),
    field("Tags", "tags", { placeholder: "http.method=GET and error", wide: true }),
    field("Longer than", "min", { placeholder: "10ms" }),
    field("Shorter than", "max", { placeholder: "2s" }),
    h("label", {}, "Last", lookback),
    h("label", {}, "Order", sort),
    field("Limit", "limit", { inputmode: "numeric", placeholder: "20" }),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "errors", value: "1", checked: Boolean(value("errors")) }), "Errors only"),
    h("button", {}, "Find traces"),
    h("datalist", { id: "services" }), h("datalist", { id: "spans" }), h("datalist", { id: "remotes" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(new FormData(form));
  });
  return form;
}

async function offerNames(form, parameters) {
  const options = (id, names) => form.querySelector(`#${id}`).replaceChildren(...names.map((value) => h("option", { value })));
  const service = form.elements.service;
  const ofService = async () => {
    if (!service.value) return;
    const [spans, remotes] = await Promise.all([api.spanNames(service.value), api.remoteServices(service.value)]);
    options("spans", spans);
    options("remotes", remotes);
  };
  service.addEventListener("change", () => ofService().catch(() => {}));
  options("services", await api.services());
  if (parameters.get("service")) await ofService();
}

function resultRow(summary, measure, most, index) {
  const width = `${Math.max(0.5, (100 * summary[measure]) / most)}%`;
  return h("a", {
    class: summary.errors ? "trace failed" : "trace", href: `#/trace/${summary.id}`, role: "option",
    tabindex: index ? -1 : 0, "data-trace": summary.id,
  },
    h("span", { class: "bar", style: { width } }),
    h("span", { class: "name" },
      h("b", { style: { color: colour(summary.service, "ink") } }, summary.service), " ", summary.name,
      summary.errors ? h("span", { class: "badge" }, count(summary.errors, "error")) : null),
    h("span", { class: "services" }, summary.services.map(([name, spans]) => chip(name, `${name} ${spans}`))),
    h("span", { class: "spans" }, count(summary.spans, "span")),
    h("span", { class: "when" }, time(summary.timestamp)),
    h("span", { class: "took", title: "From the first start to the last end" }, duration(summary.duration)),
    measure === "longest" ? h("span", { class: "longest" }, `longest span ${duration(summary.longest)}`) : null);
}

function move(event, list) {
  const rows = [...list.querySelectorAll(".trace")];
  const at = rows.indexOf(document.activeElement);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !rows.length) return;
  event.preventDefault();
  rows[Math.min(rows.length - 1, Math.max(0, at + step))].focus();
}
