// Colours that tell services and lines apart. None is red: red is for what failed.

import * as api from "./api.js";

// OKLCH hues as far apart as they look; from 340 to 50 lie the reds.
const HUES = [62, 100, 135, 170, 205, 240, 270, 300, 325];
const STEP = 4; // from a taken hue to the next one tried; reaches all nine
const DEEPER = 0.15; // of lightness, for the second nine bars

const slots = new Map();
let known = null;

/**
 * Give the names of one page colours of their own, as far as the palette goes. The services the
 * collector knows choose first, so that they keep their colour from page to page.
 */
export async function assign(names) {
  known ??= api.services().then(share).catch(() => { known = null; });
  await known;
  share(names);
}

function share(names) {
  const taken = new Set();
  for (const name of [...new Set(names)].sort()) {
    const own = slots.get(name);
    const slot = own === undefined || taken.has(own) ? free(hash(name) % HUES.length, taken) : own;
    taken.add(slot);
    slots.set(name, slot);
  }
}

// A slot whose neighbours are free too, while there is one: few services get colours far apart.
function free(first, taken) {
  const around = HUES.map((_, tried) => (first + tried * STEP) % HUES.length);
  const unused = [...around, ...around.map((slot) => slot + HUES.length)].filter((slot) => !taken.has(slot));
  const apart = unused.find((slot) => slot < HUES.length && !taken.has(slot - 1) && !taken.has(slot + 1));
  return apart ?? unused[0] ?? first;
}

/** The colour of a name, for bars and dots ("bar") or for text ("ink"). */
export const colour = (name, use = "bar") => shade(slots.get(name) ?? hash(name) % HUES.length, use);

/** The colour of the line with this number. */
export const lineColour = (index) => shade((index * STEP) % HUES.length + (Math.floor(index / HUES.length) % 2) * HUES.length, "bar");

function shade(slot, use) {
  const lower = use === "bar" && slot >= HUES.length ? DEEPER : 0;
  return `oklch(calc(var(--${use}) - ${lower}) 0.13 ${HUES[slot % HUES.length]})`;
}

function hash(name) {
  let value = 2166136261;
  for (const char of name) value = Math.imul(value ^ char.codePointAt(0), 16777619);
  value = Math.imul(value ^ (value >>> 15), 2246822507);
  return (value ^ (value >>> 13)) >>> 0;
}
