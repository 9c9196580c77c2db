// Differences from the best baseline with their intervals: left of zero is better than it.

function differenceChart(group) {
  const methods = group.methods.filter((method) => method.difference);
  if (methods.length === 0) return null;
  const box = plot((width) => drawDifferences(width, group, methods), 280);
  return html("div", {}, kindsLegend(methods), box);
}

// What is far worse than all others is cut off rather than squeezing them.
function differenceDomain(methods) {
  const bounds = methods.flatMap((method) => method.difference.slice(1)).filter(Number.isFinite);
  const low = Math.max(-1, Math.min(-0.05, ...bounds));
  const values = methods.map((method) => method.difference[0]).sort((a, b) => a - b);
  const usual = Math.max(0.15, 3 * Math.abs(values[Math.floor(values.length / 2)]), -low);
  return [low, Math.min(Math.max(0.05, ...bounds), usual)].map((bound) => bound * 1.06);
}

function drawDifferences(width, group, methods) {
  const row = 26;
  const narrow = width < 560;
  const names = Math.max(...methods.map((method) => textWidth(method.name, 12.5)));
  const words = narrow ? 0 : 24 + Math.max(...methods.map((m) => textWidth(differenceText(m), 12)));
  const frame = {
    left: narrow ? 12 : Math.min(names + 14, width * 0.3),
    right: width - words - 12,
    top: 8,
    bottom: 8 + methods.length * row * (narrow ? 1.55 : 1),
  };
  const step = (frame.bottom - frame.top) / methods.length;
  const domain = differenceDomain(methods);
  const x = linear(domain, [frame.left, frame.right]);
  const ticks = roundTicks(domain, narrow ? 4 : 7);
  const caption = `CRPS-sum relative to the best baseline, ${group.reference}; left is better`;
  return drawing(
    width,
    frame.bottom + 40,
    `${caption}. ${methods.map((m) => `${m.name}: ${percent(m.difference[0])}`).join("; ")}`,
    bottomAxis(ticks, x, frame.top, frame.bottom, (tick) => percent(tick).replace(".0 ", " ")),
    svg("line", { class: "zero", x1: x(0), x2: x(0), y1: frame.top, y2: frame.bottom }),
    ...methods.map((method, place) => {
      const y = frame.top + (place + (narrow ? 0.72 : 0.5)) * step;
      return differenceRow(method, y, x, frame, domain, { narrow, width });
    }),
    axisText(narrow ? `relative to ${group.reference}` : caption, (frame.left + frame.right) / 2, frame.bottom + 36, "middle"),
  );
}

function differenceRow(method, y, x, frame, domain, { narrow, width }) {
  const [value, lower, upper] = method.difference;
  const inside = (bound) => Math.max(domain[0], Math.min(domain[1], bound));
  const beyond = value > domain[1];
  const line = svg("line", { class: `whisker kind-${method.kind}`, x1: x(inside(lower)), x2: x(inside(upper)), y1: y, y2: y });
  const mark = beyond
    ? svg("path", { class: `marker kind-${method.kind}`, d: `M${frame.right - 7},${y - 5}L${frame.right + 2},${y}L${frame.right - 7},${y + 5}Z` })
    : marker(method.kind, x(value), y, 4.5);
  if (!method.sure) mark.classList.add("unsure");
  const label = narrow
    ? svg("text", { class: "label halo", x: frame.left, y: y - 11 }, fitted(method.name, width - frame.left - 12 - textWidth(differenceText(method), 12), 12.5))
    : svg("text", { class: "label", x: frame.left - 10, y: y + 4, "text-anchor": "end" }, fitted(method.name, frame.left - 12, 12.5));
  const words = svg(
    "text",
    { class: "label halo quiet", x: width - 4, y: narrow ? y - 11 : y + 4, "text-anchor": "end" },
    differenceText(method),
  );
  return svg("g", {}, line, mark, label, words);
}

function differenceText({ difference: [value, lower, upper] }) {
  return `${percent(value)}  (${percent(lower).replace(" %", "")} … ${percent(upper)})`;
}
