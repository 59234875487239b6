// A PromQL expression over the last hour, drawn as lines.

import * as api from "./api.js";
import { lineColour } from "./colours.js";
import { h, svg } from "./dom.js";
import { clock, count } from "./format.js";
import { roundTicks, timeTicks } from "./ticks.js";

const SIZE = { width: 960, height: 320, left: 70, bottom: 24 };
const MAX_LINES = 50; // more cannot be told apart

export async function queryView({ element, signal, say }, parameters) {
  const text = parameters.get("q") ?? "";
  const minutes = Number(parameters.get("minutes")) || 60;
  const input = h("input", { name: "q", value: text, list: "metrics", "data-first": true, spellcheck: "false", autocomplete: "off",
    placeholder: "sum by (job) (rate(http_server_request_duration_seconds_count[1m]))" });
  const last = h("select", { name: "minutes" }, [15, 60, 360, 1440].map((value) =>
    h("option", { value, selected: value === minutes }, value < 60 ? `${value} minutes` : count(value / 60, "hour"))));
  const names = h("datalist", { id: "metrics" });
  const form = h("form", { class: "filters" }, h("label", { class: "wider" }, "PromQL", input), h("label", {}, "Last", last), h("button", {}, "Draw"), names);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = `#/query?${new URLSearchParams(new FormData(form))}`;
  });
  element.append(form);
  api.metricNames().then((answer) => names.append(...answer.data.map((value) => h("option", { value })))).catch(() => {});
  if (!text) return;
  const end = Math.floor(Date.now() / 1000);
  const step = Math.max(5, Math.round((minutes * 60) / 240));
  const answer = await api.queryRange(text, end - minutes * 60, end, step, signal);
  const lines = answer.data.result.filter((series) => series.values?.length);
  if (!lines.length) return say("No series match in this time.");
  if (lines.length > MAX_LINES) say(`Drawing the first ${MAX_LINES} of ${count(lines.length, "series", "series")}.`);
  element.append(chart(lines.slice(0, MAX_LINES), end - minutes * 60, end), legend(lines.slice(0, MAX_LINES)));
}

const label = (metric) => {
  const { __name__: name = "", ...rest } = metric;
  return `${name}{${Object.entries(rest).map(([key, value]) => `${key}="${value}"`).join(", ")}}`;
};

const axisNumber = (value) => (Math.abs(value) >= 1e7 ? value.toExponential() : String(value));

function chart(lines, start, end) {
  const finite = lines.flatMap((line) => line.values.map(([, value]) => Number(value))).filter(Number.isFinite);
  const least = finite.reduce((a, b) => Math.min(a, b), 0);
  const most = finite.reduce((a, b) => Math.max(a, b), 0);
  const marks = roundTicks(least, most || (least ? 0 : 1));
  const [bottom, top] = [marks[0], marks.at(-1)];
  const x = (t) => SIZE.left + ((t - start) / (end - start)) * (SIZE.width - SIZE.left - 10);
  const y = (v) => SIZE.height - SIZE.bottom - ((v - bottom) / (top - bottom)) * (SIZE.height - SIZE.bottom - 12);
  const grid = marks.map((value) =>
    svg("g", {}, svg("line", { x1: SIZE.left, x2: SIZE.width, y1: y(value), y2: y(value), class: "grid" }),
      svg("text", { x: SIZE.left - 6, y: y(value) + 4, "text-anchor": "end", class: "value" }, axisNumber(value))));
  const times = timeTicks(start, end).map((t) =>
    svg("g", {}, svg("line", { x1: x(t), x2: x(t), y1: y(bottom), y2: y(bottom) + 4, class: "grid" }),
      svg("text", { x: x(t), y: SIZE.height - 6, "text-anchor": x(t) > SIZE.width - 30 ? "end" : "middle", class: "time" }, clock(t))));
  const paths = lines.map((line, index) => svg("polyline", {
    class: "series", stroke: lineColour(index), points: line.values
      .filter(([, v]) => Number.isFinite(Number(v))).map(([t, v]) => `${x(t).toFixed(1)},${y(Number(v)).toFixed(1)}`).join(" "),
  }, svg("title", {}, label(line.metric))));
  return svg("svg", { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, class: "chart", role: "img", "aria-label": "Values over time" }, grid, times, paths);
}

function legend(lines) {
  return h("ul", { class: "legend" }, lines.map((line, index) =>
    h("li", { style: { borderColor: lineColour(index) } }, `${label(line.metric)} ${line.values.at(-1)[1]}`)));
}
