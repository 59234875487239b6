// Where an axis has its marks: at round numbers, and at round times of the local clock.

const MINUTE = 60;
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440].map((minutes) => minutes * MINUTE);

/** Round numbers from at most `least` to at least `most`, about `wanted` steps of 1, 2 or 5 times a power of ten. */
export function roundTicks(least, most, wanted = 4) {
  const raw = (most - least) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  const first = Math.floor(least / step);
  const last = Math.max(first + 1, Math.ceil(most / step));
  // By index, and cut to the digits of the step: sums of steps would end in 0.30000000000000004.
  return Array.from({ length: last - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

/** Seconds since 1970 at round local times in the range, at most `most` of them. */
export function timeTicks(start, end, most = 7) {
  const step = TIME_STEPS.find((seconds) => (end - start) / seconds <= most) ?? TIME_STEPS.at(-1);
  const ahead = -new Date(end * 1000).getTimezoneOffset() * MINUTE;
  const first = Math.ceil((start + ahead) / step) * step - ahead;
  return Array.from({ length: Math.max(0, Math.floor((end - first) / step) + 1) }, (_, at) => first + at * step);
}
