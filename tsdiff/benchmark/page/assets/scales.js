// From numbers to places on the paper, and the round numbers that stand on an axis.

function linear([low, high], [start, end]) {
  const span = high - low || 1;
  return (value) => start + ((value - low) / span) * (end - start);
}

function logarithmic([low, high], range) {
  const inner = linear([Math.log10(low), Math.log10(high)], range);
  return (value) => inner(Math.log10(value));
}

// Lowest and highest of the numbers there are, with some room around.
function extent(values, room = 0) {
  const known = values.filter(Number.isFinite);
  if (known.length === 0) return [0, 1];
  const low = Math.min(...known);
  const high = Math.max(...known);
  const margin = (high - low || Math.abs(high) || 1) * room;
  return [low - margin, high + margin];
}

function roundTicks([low, high], count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) {
    ticks.push(k * step);
  }
  return ticks;
}

// Powers of ten, with 2 and 5 between them where there are few.
function logarithmicTicks([low, high], count) {
  const decades = Math.log10(high / low);
  const factors = decades > count ? [1] : decades > count / 2 ? [1, 3] : [1, 2, 5];
  const every = Math.max(1, Math.ceil(decades / count));
  const ticks = [];
  for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k += 1) {
    if (k % every === 0) ticks.push(...factors.map((factor) => factor * 10 ** k));
  }
  return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}

// A number as short as an axis needs it.
function short(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5) {
    return value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 4 });
  }
  if (size < 1e-4) return value.toExponential(1).replace("-", "−");
  const options = { maximumSignificantDigits: 4, useGrouping: size >= 10000 };
  return value.toLocaleString("en", options).replace("-", "−").replace(",", "\u2009");
}

function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${short(seconds * 1e3)} ms`;
  if (seconds < 120) return `${short(seconds)} s`;
  if (seconds < 7200) return `${short(seconds / 60)} min`;
  return `${short(seconds / 3600)} h`;
}

// Round durations: 1, 2, 5, 10, 20, 30 of each unit rather than of ten.
function durationTicks([low, high], count) {
  const steps = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];
  steps.push(20, 60, 120, 300, 600, 1200, 3600, 7200, 18000, 36000, 86400, 172800, 432000);
  const inside = steps.filter((step) => step >= low && step <= high);
  if (inside.length < 3) return roundTicks([low, high], count);
  const every = Math.max(1, Math.ceil(inside.length / count));
  return inside.filter((_, place) => place % every === 0);
}

function percent(ratio) {
  const value = 100 * ratio;
  const digits = Math.abs(value) >= 9.95 ? 0 : 1;
  const text = Math.abs(value).toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  const sign = Number(value.toFixed(digits)) === 0 ? "" : value < 0 ? "−" : "+";
  return `${sign}${text.replace(",", "\u2009")} %`;
}
