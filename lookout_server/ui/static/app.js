// Routing by the part after "#", so that every view has a permalink. One view module per page.

import { ApiError } from "./api.js";
import { h } from "./dom.js";
import { InputError } from "./format.js";
import { searchView } from "./search.js";
import { traceView } from "./trace.js";
import { dependenciesView } from "./dependencies.js";
import { queryView } from "./query.js";

const main = document.getElementById("view");
const notice = document.getElementById("notice");
const access = document.getElementById("access");
let leave = new AbortController();

function route() {
  const [path, query] = location.hash.slice(1).split("?");
  const parameters = new URLSearchParams(query ?? "");
  const traceId = /^\/trace\/([^/]+)$/.exec(path);
  if (traceId) return ["search", (ctx) => traceView(ctx, decodeURIComponent(traceId[1]), parameters)];
  if (path === "/dependencies") return ["dependencies", (ctx) => dependenciesView(ctx, parameters)];
  if (path === "/query") return ["query", (ctx) => queryView(ctx, parameters)];
  return ["search", (ctx) => searchView(ctx, parameters)];
}

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const [page, view] = route();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  say("");
  const element = h("div", { class: `page ${page}` });
  main.replaceChildren(element);
  await guard(() => view({ element, signal, say, guard }));
}

/** Runs a view's work; what goes wrong is said in the notice line, in words. */
async function guard(work) {
  try {
    await work();
    access.hidden = true;
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error instanceof ApiError && error.status === 401) access.hidden = false;
    say(error.message, true);
    if (!(error instanceof ApiError || error instanceof InputError)) console.error(error);
  }
}

function say(text, bad = false) {
  notice.textContent = text;
  notice.hidden = !text;
  notice.classList.toggle("bad", bad);
}

access.addEventListener("submit", (event) => {
  event.preventDefault();
  for (const [name, value] of new FormData(access)) sessionStorage.setItem(name, value);
  show();
});

document.getElementById("jump").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = document.getElementById("jump-id").value.trim();
  if (id) location.hash = `#/trace/${encodeURIComponent(id)}`;
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    (main.querySelector("[data-first]") ?? document.getElementById("jump-id")).focus();
  } else if (event.key === "Escape" && typing) {
    typing.blur();
    (main.querySelector("[data-list]") ?? main).focus();
  }
});

window.addEventListener("hashchange", show);
show();
