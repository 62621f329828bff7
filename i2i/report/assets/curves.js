// ---- curves: panels with a read-out for mouse, touch and keyboard ----
const SCORES = ["validation", "evaluation"], UNSMOOTHED = [...SCORES, "learning_rate", "sample"];

function addPanel(panel, parent, clipName) {
  const series = panel.series.map((one, index) => ({ run: 0, ...one, color: `var(--c${(one.run ?? index) % 8})`, shown: true,
    smoothed: !UNSMOOTHED.includes(panel.section) && one.values.length > 40 ? smooth(one.values) : null }));
  const status = element("span", { class: "status" }), spoken = element("div", { class: "unseen", "aria-live": "polite" });
  // Of a score of one thing only, the title says which: "PSNR-Y, x4".
  const only = SCORES.includes(panel.section) && series.length === 1 ? series[0].name : panel.title;
  const title = only === panel.title || panel.compared ? panel.title : `${panel.title}, ${only}`;
  const svg = shape("svg", { tabindex: 0, role: "img" });
  const legend = element("div", { class: "legend" });
  for (const one of series) {
    const swatch = element("i", { style: `background:${one.color}` });
    one.output = element("b");
    const button = element("button", { type: "button", "aria-pressed": "true" }, swatch, one.name, one.output);
    button.addEventListener("click", () => { one.shown = !one.shown; button.setAttribute("aria-pressed", String(one.shown)); draw(); });
    legend.append(button);
  }
  // Below the curves, for within them it would hide what it is about.
  for (const line of panel.lines) {
    const swatch = element("i", { class: "dashed" });
    legend.append(element("span", { class: "key" }, swatch, line.label, element("b", {}, number(line.value))));
  }
  let cursor = null, place = null, cut = false, first = 0, last = 0, grid = [];

  function measure() {
    for (const one of series) {
      one.xs = one.steps.map((step) => axis.of(step, one.run));
      one.brokenXs = one.broken.map((step) => axis.of(step, one.run));
    }
    const all = series.flatMap((one) => [...one.xs, ...one.brokenXs]);
    first = all.reduce((a, b) => Math.min(a, b), Infinity);
    last = all.reduce((a, b) => Math.max(a, b), -Infinity);
    grid = [...new Set(series.flatMap((one) => one.xs))].sort((a, b) => a - b);
    cursor = null;
    const newest = series.filter((one) => one.values.length).map((one) => `${one.name} ${number(one.values.at(-1))}`);
    svg.setAttribute("aria-label", `${panel.heading}, ${title}, to ${axis.words(last)}. Newest: ${newest.join(", ") || "no finite value"}. Arrow keys read values.`);
  }
  function draw() {
    const width = svg.clientWidth || 440, height = svg.clientHeight || 220;
    const visible = series.filter((one) => one.shown);
    const range = valueRange(visible, panel.lines, panel.logarithmic);
    const yTicks = panel.logarithmic ? factorTicks(range.low, range.high) : ticks(range.low, range.high, 4);
    const scaled = panel.logarithmic ? Math.log : (value) => value;
    const left = Math.max(...yTicks.map((value) => number(value).length), 2) * 6.6 + 10, right = width - 12, top = 10, bottom = height - 24;
    const span = last - first || 1;
    const x = (value) => left + (last === first ? 0.5 : (value - first) / span) * (right - left);
    const y = (value) => bottom - (scaled(value) - scaled(range.low)) / (scaled(range.high) - scaled(range.low)) * (bottom - top);
    const clamp = (value) => Math.max(top - 40, Math.min(bottom + 40, y(value))).toFixed(1);
    cut = range.cut;
    place = { x, y, left, right, top, bottom };
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const clip = shape("clipPath", { id: clipName });
    clip.append(shape("rect", { x: left - 3, y: top - 4, width: right - left + 6, height: bottom - top + 8 }));
    svg.append(clip);
    for (const value of yTicks) {
      svg.append(shape("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
        shape("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value)));
    }
    svg.append(shape("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
    const xTicks = ticks(first, first + span, width < 380 ? 3 : 5).filter((value) => axis.unit === timeUnit || Number.isInteger(value));
    for (const value of last === first ? [first] : xTicks) {
      const anchor = x(value) > right - 16 ? "end" : x(value) < left + 12 ? "start" : "middle";
      svg.append(shape("text", { x: anchor === "end" ? right : x(value), y: height - 6, "text-anchor": anchor }, axis.tick(value)));
    }
    svg.append(drawLines(visible, x, clamp));
    for (const line of panel.lines) {
      if (line.value < range.low || line.value > range.high) continue;
      svg.append(shape("line", { class: "expected", x1: left, x2: right, y1: y(line.value), y2: y(line.value) }));
    }
    mark();
  }
  function drawLines(visible, x, clamp) {
    const { left, right, top, bottom } = place;
    const lines = shape("g", { "clip-path": `url(#${clipName})`, fill: "none", "stroke-linejoin": "round", "stroke-linecap": "round" });
    for (const one of visible) {
      const line = (values) => one.xs.map((value, index) => `${x(value).toFixed(1)},${clamp(values[index])}`).join(" ");
      if (one.smoothed) lines.append(shape("polyline", { points: line(one.values), stroke: one.color, "stroke-width": 1, opacity: 0.22 }));
      lines.append(shape("polyline", { points: line(one.smoothed || one.values), stroke: one.color, "stroke-width": 1.8 }));
      // A single point is no line: it is drawn large, with its value beside it.
      const single = one.values.length === 1;
      if (one.values.length && one.values.length <= 30) one.xs.forEach((value, index) => lines.append(shape("circle", { cx: x(value), cy: clamp(one.values[index]), r: single ? 5 : 2.4, fill: one.color })));
      if (single) {
        const leftward = x(one.xs[0]) > (left + right) / 2 + 40;
        lines.append(shape("text", { class: "value", x: x(one.xs[0]) + (leftward ? -10 : 10), y: Number(clamp(one.values[0])) + 4, "text-anchor": leftward ? "end" : "start" }, number(one.values[0])));
      }
      for (const value of one.brokenXs) lines.append(shape("line", { x1: x(value), x2: x(value), y1: bottom - 8, y2: bottom, stroke: "var(--warn)", "stroke-width": 2 }));
    }
    for (const alarm of data.alarms) {
      const value = axis.of(alarm.step, alarm.run || 0);
      if (value >= first && value <= last) lines.append(shape("line", { class: "alarm", x1: x(value), x2: x(value), y1: top, y2: bottom }));
    }
    return lines;
  }
  function mark() {
    svg.querySelectorAll(".mark").forEach((node) => node.remove());
    const broken = series.reduce((sum, one) => sum + one.broken.length, 0);
    const notes = [panel.unit, panel.logarithmic ? "logarithmic" : "", cut ? "spikes cut off" : "", broken ? "marks: not finite" : ""].filter(Boolean).join(", ");
    status.textContent = cursor === null ? notes : axis.words(cursor);
    spoken.textContent = "";
    if (cursor !== null) svg.append(shape("line", { class: "cursor mark", x1: place.x(cursor), x2: place.x(cursor), y1: place.top, y2: place.bottom }));
    for (const one of series) {
      if (!one.values.length) { one.output.textContent = "not finite"; continue; }
      const index = cursor === null ? one.values.length - 1 : nearest(one.xs, cursor);
      one.output.textContent = number(one.values[index]);
      if (cursor === null || !one.shown) continue;
      const height = Math.max(place.top, Math.min(place.bottom, place.y((one.smoothed || one.values)[index])));
      svg.append(shape("circle", { class: "mark", cx: place.x(one.xs[index]), cy: height, r: 4, fill: one.color, stroke: "var(--card)", "stroke-width": 2 }));
    }
  }
  function point(event) {
    if (!grid.length) return;
    const box = svg.getBoundingClientRect();
    const share = (event.clientX - box.left - place.left) / (place.right - place.left);
    cursor = grid[nearest(grid, first + share * (last - first))];
    mark();
  }
  const leave = () => { cursor = null; mark(); };
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointermove", point);
  // What a finger has pointed at stays when it is lifted; the read-out lies under it while it points.
  svg.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") leave(); });
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    if (!grid.length || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    const stride = Math.max(1, Math.round(grid.length / 100));
    const at = cursor === null ? grid.length - 1 : nearest(grid, cursor);
    const next = { ArrowLeft: at - stride, ArrowRight: at + stride, Home: 0, End: grid.length - 1 }[event.key];
    cursor = grid[Math.max(0, Math.min(grid.length - 1, next))];
    mark();
    const values = series.filter((one) => one.shown).map((one) => `${one.name} ${one.output.textContent}`);
    spoken.textContent = `${axis.words(cursor)}: ${values.join(", ")}`;
  });
  parent.append(element("figure", { class: "card panel" },
    element("div", { class: "panel-head" }, element("h4", {}, title), status),
    ...(panel.note ? [element("p", { class: "note" }, panel.note)] : []), svg, legend, spoken));
  measure();
  draw();
  axis.redraw.push(() => { measure(); draw(); });
  new ResizeObserver(() => draw()).observe(svg);
}

if (data.panels.length) {
  reveal("curves");
  const place = document.getElementById("curves"), groups = new Map();
  place.append(choice("Horizontal axis", axisUnits.map((unit) => unit.charAt(0).toUpperCase() + unit.slice(1)), 0, (index) => {
    axis.unit = axisUnits[index];
    for (const again of axis.redraw) again();
  }));
  data.panels.forEach((panel, index) => {
    // Speed, memory and learning rates have a panel or two each: what has one heading has one group.
    if (!groups.has(panel.heading)) {
      const grid = element("div", { class: "panels" });
      place.append(element("div", { class: "group" }, element("h3", {}, panel.heading), grid));
      groups.set(panel.heading, grid);
    }
    addPanel(panel, groups.get(panel.heading), `clip-${index}`);
  });
}
