// ---- scales of the curves: what is in view, where the ticks stand, and what steps mean in pictures and in time ----
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
  const result = [];
  for (let value = Math.ceil(low / size) * size; value <= high + size * 1e-6; value += size) result.push(Math.abs(value) < size * 1e-6 ? 0 : value);
  return result;
}
function factorTicks(low, high) {
  const result = [], few = Math.log10(high / low) > 3;
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of few ? [1] : [1, 3]) { const value = factor * 10 ** power; if (value >= low && value <= high) result.push(value); }
  }
  return result.length > 6 ? result.filter((_, index) => index % 2 === 0) : result;
}
// GAN losses jump: the line follows a moving average while the measured values stay visible, pale, behind it.
// Single spikes are held down to the 99 % of the others first: one bad step is no trend.
function smooth(values) {
  const sorted = [...values].sort((a, b) => a - b), keep = 0.9;
  const low = sorted[Math.floor(values.length * 0.005)], high = sorted[Math.ceil(values.length * 0.995) - 1];
  let mean = 0, weight = 0;
  return values.map((measured) => { const value = Math.max(low, Math.min(high, measured)); mean = keep * mean + (1 - keep) * value; weight = keep * weight + 1 - keep; return mean / weight; });
}
// A few spikes must not flatten the rest: beyond five times the middle 98 % the axis is cut, and says so.
function valueRange(series, lines, logarithmic) {
  const all = series.flatMap((one) => one.values).sort((a, b) => a - b);
  if (!all.length) return { low: 0, high: 1, cut: false };
  let low = all[0], high = all[all.length - 1];
  if (logarithmic) return { low: low / 1.3, high: high * 1.3, cut: false };
  const innerLow = all[Math.floor(all.length * 0.01)], innerHigh = all[Math.ceil(all.length * 0.99) - 1];
  const cut = all.length > 100 && high - low > 5 * (innerHigh - innerLow) && innerHigh > innerLow;
  if (cut) { low = Math.max(low, innerLow - 0.3 * (innerHigh - innerLow)); high = Math.min(high, innerHigh + 0.3 * (innerHigh - innerLow)); }
  if (high === low) { const room = Math.abs(high) * 0.1 || 1; low -= low === 0 ? 0 : room; high += room; }
  // Where the curves should end belongs into view, unless they would be flattened for it.
  for (const line of lines) {
    const reach = Math.max(high, line.value) - Math.min(low, line.value);
    if (reach <= 3 * (high - low)) { low = Math.min(low, line.value); high = Math.max(high, line.value); }
  }
  const room = (high - low) * 0.06;
  return { low: low >= 0 && low - room < 0 ? 0 : low - room, high: high + room, cut };
}
function nearest(list, wanted) {
  let low = 0, high = list.length - 1;
  while (high - low > 1) { const middle = (low + high) >> 1; if (list[middle] < wanted) low = middle; else high = middle; }
  return wanted - list[low] <= list[high] - wanted ? low : high;
}
function short(value) {
  if (value >= 1e6) return Number((value / 1e6).toPrecision(3)) + "M";
  return value >= 1e4 ? Number((value / 1e3).toPrecision(3)) + "k" : number(value);
}

// What a step of a run is in another unit: linear between the steps of its table, and beyond them.
function converted(table, unit, step) {
  const steps = table.steps, values = table[unit];
  if (unit === "steps" || !steps.length) return step;
  if (steps.length === 1) return steps[0] ? step * values[0] / steps[0] : values[0];
  let high = steps.findIndex((known) => known >= step);
  high = high < 0 ? steps.length - 1 : Math.max(1, high);
  const share = (step - steps[high - 1]) / (steps[high] - steps[high - 1]);
  return Math.max(0, values[high - 1] + share * (values[high] - values[high - 1]));
}
const longest = Math.max(0, ...data.axes.flatMap((table) => table.hours));
const timeUnit = longest < 1.5 ? "minutes" : "hours";
for (const table of data.axes) table.minutes = table.hours.map((hours) => 60 * hours);
const axisUnits = ["steps", "images", timeUnit];
const axis = {
  unit: "steps",
  redraw: [],
  of(step, run) { return converted(data.axes[run] || data.axes[0], axis.unit, step); },
  tick(value) { return axis.unit === timeUnit ? number(value) : short(value); },
  words(value) {
    if (axis.unit === "steps") return `step ${whole(value)}`;
    return axis.unit === "images" ? `${whole(value)} images` : `${number(value)} ${axis.unit}`;
  },
};
