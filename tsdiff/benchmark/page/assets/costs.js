// Cost against score: lower left is better. The best baseline's score is a line across.

const COSTS = [
  ["sampling", "sampling, of one window"],
  ["training", "training"],
  ["cpu", "processor time of the whole run"],
];

function costChart(group) {
  const there = COSTS.filter(([cost]) => group.methods.some((m) => m.costs[cost] > 0));
  const scored = group.methods.filter((method) => Number.isFinite(method.score));
  if (there.length === 0 || scored.length === 0) return null;
  const box = html("div");
  const draw = (cost) => {
    const words = there.find(([name]) => name === cost)[1];
    const shown = scored.filter((method) => method.costs[cost] > 0);
    const chart = plot((width) => drawCosts(width, group, scored, cost, words), 280);
    box.replaceChildren(kindsLegend(shown), chart);
  };
  draw(there[0][0]);
  return html(
    "div",
    {},
    html("div", { class: "controls" }, switcher("Time", there, there[0][0], draw)),
    box,
  );
}

function drawCosts(width, group, methods, cost, words) {
  const shown = methods.filter((method) => method.costs[cost] > 0);
  const height = Math.round(Math.max(280, Math.min(400, width * 0.45)));
  const base = methods.find((method) => method.name === group.reference);
  const scores = shown.map((method) => method.score).concat(base ? [base.score] : []);
  const times = shown.map((method) => method.costs[cost]);
  // Scores of several sizes need a logarithmic axis as well.
  const wide = Math.min(...scores) > 0 && Math.max(...scores) / Math.min(...scores) > 4;
  const low = Math.min(...scores);
  const spreads = shown.flatMap(({ score, error }) => [score - (error ?? 0), score + (error ?? 0)]);
  const domain = wide
    ? [low / 1.25, Math.max(...scores) * 1.25]
    : extent([...scores, ...spreads], 0.12);
  const ticks = wide ? logarithmicTicks(domain, 6) : roundTicks(domain, 5);
  const frame = {
    left: 14 + Math.max(...ticks.map((tick) => textWidth(short(tick), 11))),
    right: width - 12,
    top: 24,
    bottom: height - 42,
  };
  const span = [Math.min(...times) / 1.6, Math.max(...times) * 1.6];
  const x = logarithmic(span, [frame.left, frame.right]);
  const y = (wide ? logarithmic : linear)(domain, [frame.bottom, frame.top]);
  const points = shown.map((method) => named({
    x: x(method.costs[cost]),
    y: y(method.score),
    name: fitted(method.name, Math.min(200, width * 0.45)),
    method,
  }));
  const labels = placeLabels(
    points,
    { ...frame, left: frame.left + 2, right: width - 2 },
    base ? [y(base.score)] : [],
  );
  return drawing(
    width,
    height,
    `CRPS-sum against time, ${words}. ${shown.map((m) => `${m.name}: ${m.text} in ${duration(m.costs[cost])}`).join("; ")}`,
    leftAxis(ticks, y, frame.left, frame.right),
    bottomAxis(durationTicks(span, width < 500 ? 4 : 8), x, frame.top, frame.bottom, duration),
    base ? svg("line", { class: "best-baseline", x1: frame.left, x2: frame.right, y1: y(base.score), y2: y(base.score) }) : null,
    ...points.flatMap((point, k) => costPoint(point, labels[k], y, domain)),
    axisText("CRPS-sum", 2, 12, "start"),
    axisText(`${words}, logarithmic`, (frame.left + frame.right) / 2, height - 6, "middle"),
  );
}

function named(point) {
  return { ...point, width: textWidth(point.name) };
}

function costPoint({ x, y, method, name, width }, label, place, domain) {
  const { score, error, kind } = method;
  const spread = Number.isFinite(error) ? error : 0;
  const low = Math.max(score - spread, domain[0]);
  const nearest = Math.max(label.x, Math.min(x, label.x + width));
  return [
    svg("line", { class: `whisker kind-${kind}`, x1: x, x2: x, y1: place(low), y2: place(Math.min(score + spread, domain[1])) }),
    label.far ? svg("line", { class: "leader", x1: x, y1: y, x2: nearest, y2: label.y }) : null,
    svg("g", {}, svg("title", {}, `${method.name}: ${method.text}`), marker(kind, x, y, 5)),
    svg("text", { class: "label halo", x: label.x, y: label.y + 4 }, name),
  ].filter((part) => part !== null);
}
