// Fan charts: what was known, what was forecast, what happened; small multiples along one of
// windows, series or methods.

function unpack(text, levels, [low, high]) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const whole = new DataView(bytes.buffer);
  const steps = bytes.length / 2 / levels.length;
  return levels.map((_, row) =>
    Array.from({ length: steps }, (_, step) => {
      const value = whole.getUint16(2 * (row * steps + step), true);
      return value === 65535 ? NaN : low + (value / 65534) * (high - low);
    }),
  );
}

// Central intervals among the quantiles, widest first: [percent, lower row, upper row].
function centralIntervals(levels) {
  return levels
    .map((level, row) => [level, row, levels.indexOf(100 - level)])
    .filter(([level, , upper]) => level < 50 && upper >= 0)
    .sort((a, b) => a[0] - b[0])
    .map(([level, lower, upper]) => [100 - 2 * level, lower, upper]);
}

function fanOf(group, name, panelIndex) {
  const fan = group.fans.find((each) => each.method === name);
  const packed = fan?.values[panelIndex];
  if (packed === undefined) return null;
  const panel = group.panels[panelIndex];
  return { levels: fan.levels, rows: unpack(packed, fan.levels, panel.range) };
}

function fanPanel({ panel, fan, heading, domain }) {
  const caption = html("p", { class: "panel-title" }, html("b", {}, heading), " ");
  const note = html("span", { class: "quiet", "aria-live": "polite" });
  caption.append(note);
  const start = panel.times[panel.past.length];
  const rest = () => (note.textContent = `from ${start}`);
  rest();
  const box = plot((width) => drawFan(width, panel, fan, heading, domain, note, rest), 160);
  return html("div", { class: "panel" }, caption, box);
}

function drawFan(width, panel, fan, heading, domain, note, rest) {
  const height = Math.round(Math.min(230, 90 + width * 0.3));
  const before = panel.past.length;
  const count = panel.times.length;
  const ticks = roundTicks(domain, 4);
  const left = 12 + Math.max(...ticks.map((tick) => textWidth(short(tick), 11)));
  const frame = { left, right: width - 6, top: 8, bottom: height - 22 };
  const x = linear([0, count - 1], [frame.left, frame.right]);
  const y = linear(domain, [frame.bottom, frame.top]);
  const known = [...panel.past].reverse().find((value) => value !== null);
  // Everything starts at the last known value, so that past and future join.
  const future = (values) => [
    ...(before > 0 && panel.past[before - 1] !== null ? [[x(before - 1), y(known)]] : []),
    ...values.map((value, step) => [x(before + step), value === null ? NaN : y(value)]),
  ];
  const bands = centralIntervals(fan.levels).map(([, lower, upper], place) =>
    svg("path", {
      class: `band band-${place}`,
      d: `${path([...future(fan.rows[upper]), ...future(fan.rows[lower]).reverse()])}Z`,
    }),
  );
  const middle = fan.levels.indexOf(50);
  const clip = `clip-${(controls += 1)}`;
  const cursor = svg("line", { class: "cursor", visibility: "hidden", y1: frame.top, y2: frame.bottom });
  const chart = drawing(
    width,
    height,
    `${heading}: forecast from ${panel.times[before]}, beside what happened`,
    svg("clipPath", { id: clip }, svg("rect", { x: left, y: 0, width: width - left, height: frame.bottom })),
    leftAxis(ticks, y, frame.left, frame.right),
    svg("line", { class: "start", x1: x(before - 1), x2: x(before - 1), y1: frame.top, y2: frame.bottom }),
    timeLabels(panel, x, frame),
    svg(
      "g",
      { "clip-path": `url(#${clip})` },
      ...bands,
      middle >= 0 ? svg("path", { class: "median", d: path(future(fan.rows[middle])) }) : null,
      svg("path", {
        class: "past",
        d: path(panel.past.map((value, step) => [x(step), value === null ? NaN : y(value)])),
      }),
      svg("path", { class: "truth", d: path(future(panel.truth)) }),
    ),
    cursor,
  );
  inspectable(chart, width, x, count, (step) => {
    cursor.setAttribute("visibility", step === null ? "hidden" : "visible");
    if (step === null) return rest();
    cursor.setAttribute("x1", x(step));
    cursor.setAttribute("x2", x(step));
    note.textContent = reading(panel, fan, step);
  });
  return chart;
}

// What a step shows, in words.
function reading(panel, fan, step) {
  const before = panel.past.length;
  if (step < before) return `${panel.times[step]}: ${short(panel.past[step] ?? NaN)}`;
  const place = step - before;
  const parts = [`${panel.times[step]}: ${short(panel.truth[place] ?? NaN)}`];
  const intervals = centralIntervals(fan.levels);
  const chosen = intervals.find(([size]) => size === 80) ?? intervals[0];
  if (chosen) {
    const [size, lower, upper] = chosen;
    parts.push(`${size} %: ${short(fan.rows[lower][place])} … ${short(fan.rows[upper][place])}`);
  }
  return parts.join("; ");
}

// Calls look(step) under the pointer, or along arrow keys; look(null) when that ends.
function inspectable(chart, width, x, count, look) {
  let step = null;
  const go = (to) => look((step = to));
  chart.setAttribute("tabindex", "0");
  chart.addEventListener("pointermove", (event) => {
    const scale = width / chart.getBoundingClientRect().width;
    const place = (event.clientX - chart.getBoundingClientRect().left) * scale;
    const nearest = Math.round(((place - x(0)) / (x(count - 1) - x(0))) * (count - 1));
    go(Math.max(0, Math.min(count - 1, nearest)));
  });
  chart.addEventListener("pointerleave", () => go(null));
  chart.addEventListener("blur", () => go(null));
  chart.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    go(Math.max(0, Math.min(count - 1, (step ?? count - 1 - move) + move)));
  });
}

// First step, first forecast step and last: those that have room, without year and midnight.
function timeLabels(panel, x, frame) {
  const before = panel.past.length;
  const last = panel.times.length - 1;
  const text = (step) => panel.times[step].replace(/ \d{4}(?= |$)/, "").replace(" 00:00", "");
  const wanted = [
    [before, x(before), "middle"],
    [last, frame.right, "end"],
    [0, frame.left, "start"],
  ];
  const taken = [];
  const labels = [];
  for (const [step, place, anchor] of wanted) {
    const wide = textWidth(text(step), 11);
    const from = { start: place, middle: place - wide / 2, end: place - wide }[anchor];
    if (taken.some(([a, b]) => from < b + 8 && a < from + wide + 8)) continue;
    taken.push([from, from + wide]);
    labels.push(svg("text", { x: place, y: frame.bottom + 16, "text-anchor": anchor }, text(step)));
  }
  return svg("g", { class: "axis" }, ...labels);
}

// Room for what happened and for a fan, or for the best one where many stand side by side.
function fanDomain(panel, fans) {
  const seen = [...panel.past, ...panel.truth].map((value) => value ?? NaN);
  const [first, ...others] = fans;
  const [low, high] = extent([...seen, ...first.rows.flat()]);
  const [lowest, highest] = extent(others.flatMap((fan) => fan.rows.flat()).concat([low, high]));
  const limit = 0.4 * (high - low);
  return extent([Math.max(lowest, low - limit), Math.min(highest, high + limit)], 0.04);
}

function fanChart(group) {
  const names = group.methods.map((m) => m.name).filter((n) => group.fans.some((f) => f.method === n));
  if (names.length === 0) return null;
  const windows = [...new Set(group.panels.map((panel) => panel.window))].sort((a, b) => a - b);
  const series = [...new Set(group.panels.map((panel) => panel.label))];
  const model = group.methods.find((m) => m.kind === "model" && names.includes(m.name));
  const state = {
    side: windows.length > 1 ? "windows" : "methods",
    method: model?.name ?? names[0],
    window: windows[0],
    series: series[0],
  };
  const grid = html("div", { class: "multiples" });
  const choices = html("div", { class: "controls" });
  const find = (window, label) =>
    group.panels.findIndex((panel) => panel.window === window && panel.label === label);

  function cells() {
    const { side, method, window, series: label } = state;
    if (side === "windows") return windows.map((each) => [`Window ${each}`, method, find(each, label)]);
    if (side === "series") return series.map((each) => [seriesName(each), method, find(window, each)]);
    return names.map((each) => [each, each, find(window, label)]);
  }

  function draw() {
    const found = cells()
      .filter(([, , index]) => index >= 0)
      .map(([heading, method, index]) => ({
        heading,
        panel: group.panels[index],
        fan: fanOf(group, method, index),
      }))
      .filter(({ fan }) => fan !== null);
    const together = state.side === "methods" && found.length > 0;
    const shared = together ? fanDomain(found[0].panel, found.map(({ fan }) => fan)) : null;
    grid.replaceChildren(
      ...found.map((cell) =>
        fanPanel({ ...cell, domain: shared ?? fanDomain(cell.panel, [cell.fan]) }),
      ),
    );
    const methods = names.map((name) => [name, name]);
    const choose = (key) => (value) => {
      state[key] = key === "window" ? Number(value) : value;
      draw();
    };
    const lists = {
      method: chooser("Method", methods, state.method, choose("method")),
      series: chooser("Series", series.map((s) => [s, seriesName(s)]), state.series, choose("series")),
      window: chooser("Window", windows.map((w) => [String(w), String(w)]), String(state.window), choose("window")),
    };
    const hidden = { windows: "window", series: "series", methods: "method" }[state.side];
    lists[hidden].hidden = true;
    rest.replaceChildren(...Object.values(lists));
  }

  const rest = html("div", { class: "lists" });
  const sides = [["windows", "windows"], ["series", "series"], ["methods", "methods"]];
  choices.append(
    switcher("Side by side", sides, state.side, (side) => {
      state.side = side;
      draw();
    }),
    rest,
  );
  draw();
  return html("div", {}, choices, fanLegend(group), grid);
}

function seriesName(label) {
  return label === "sum" ? "sum over dimensions" : label;
}

function fanLegend(group) {
  const intervals = centralIntervals(group.fans[0].levels);
  const swatch = (...marks) => svg("svg", { width: 22, height: 12, "aria-hidden": "true" }, ...marks);
  const line = (kind) => swatch(svg("path", { class: kind, d: "M1,6L21,6" }));
  // Nested bands lie over each other, and so do their swatches.
  const band = (place) =>
    swatch(
      ...intervals
        .slice(0, place + 1)
        .map((_, k) => svg("rect", { class: `band band-${k}`, width: 22, height: 12, rx: 2 })),
    );
  return html(
    "p",
    { class: "legend" },
    html("span", {}, line("past"), "past"),
    html("span", {}, line("truth"), "what happened"),
    html("span", {}, line("median"), "median forecast"),
    ...intervals.map(([size], place) => html("span", {}, band(place), `${short(size)} %`)).reverse(),
  );
}
