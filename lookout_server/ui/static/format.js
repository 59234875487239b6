// Times and durations as people write them. The API speaks microseconds.

const UNITS = { us: 1, "µs": 1, ms: 1000, s: 1_000_000, m: 60_000_000, h: 3_600_000_000 };

/** Something a person typed that cannot be used; the message says what is expected. */
export class InputError extends Error {}

/** "12ms", "1.5s", "250" (microseconds) as whole microseconds; null when empty. Throws InputError. */
export function parseDuration(text) {
  if (!text.trim()) return null;
  const match = /^\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|s|m|h)?\s*$/.exec(text);
  const value = match ? Math.round(Number(match[1]) * UNITS[match[2] ?? "us"]) : 0;
  if (value <= 0) throw new InputError(`"${text}" is no duration; expected for example 250us, 12ms or 1.5s`);
  return value;
}

/** Microseconds for reading: three significant digits in the unit that fits. */
export function duration(us) {
  if (us === undefined || us === null) return "–";
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1_000_000) return `${Number((us / 1000).toPrecision(3))} ms`;
  return `${Number((us / 1_000_000).toPrecision(3))} s`;
}

/** A microsecond timestamp in local time, with milliseconds. */
export function time(us) {
  if (!us) return "–";
  const date = new Date(us / 1000);
  const pad = (n, width = 2) => String(n).padStart(width, "0");
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
}

/** Hour and minute of the local 24-hour clock; from seconds since 1970. */
export function clock(seconds) {
  const date = new Date(seconds * 1000);
  return [date.getHours(), date.getMinutes()].map((part) => String(part).padStart(2, "0")).join(":");
}

/** "3 spans", "1 span"; with the plural where it is not an s more. */
export function count(n, noun, plural = `${noun}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? noun : plural}`;
}
