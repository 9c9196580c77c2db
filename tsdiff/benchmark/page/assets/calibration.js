// Calibration, a card for each method: where values fell in their forecast, and how much of them
// central intervals covered.

function calibrationChart(group) {
  const methods = group.methods.filter((method) => method.calibration.single);
  if (methods.length === 0) return null;
  const grid = html("div", { class: "multiples cards" });
  function draw(which) {
    const found = methods.filter((method) => method.calibration[which]);
    const heights = found.flatMap(({ calibration }) => [
      ...calibration[which].bars,
      ...(calibration[which].band ?? []),
    ]);
    const top = Math.min(3, Math.max(2, ...heights.filter(Number.isFinite)));
    grid.replaceChildren(...found.map((method) => calibrationCard(method, which, top)));
  }
  draw("single");
  const choices = [["single", "single dimensions"], ["sum", "sum over dimensions"]];
  return html(
    "div",
    {},
    html("div", { class: "controls" }, switcher("Values", choices, "single", draw)),
    grid,
  );
}

function calibrationCard(method, which, top) {
  const found = method.calibration[which];
  const held = found.covered80 === null ? "" : `80 % intervals hold ${Math.round(100 * found.covered80)} %`;
  return html(
    "div",
    { class: "panel" },
    html("p", { class: "panel-title" }, html("b", {}, method.name), " ", html("span", { class: "quiet" }, held)),
    plot((width) => drawCalibration(width, method, found, top), 220),
  );
}

function drawCalibration(width, method, found, top) {
  const height = 152;
  const half = (width - 70) / 2;
  const left = { left: 26, right: 26 + half, top: 10, bottom: height - 34 };
  const right = { left: width - half - 4, right: width - 4, top: 10, bottom: height - 34 };
  return drawing(
    width,
    height,
    `${method.name}: histogram of the probability integral transform over uniform, ` +
      `${found.bars.map(short).join(", ")}; coverage of central intervals of ` +
      `${found.levels.map((level, k) => `${Math.round(100 * level)} %: ${Math.round(100 * found.covered[k])} %`).join(", ")}`,
    ...histogram(found, left, top),
    ...coverage(found, right),
  );
}

function histogram({ bars, band }, frame, top) {
  const y = linear([0, top], [frame.bottom, frame.top]);
  const x = linear([0, bars.length], [frame.left, frame.right]);
  const ticks = roundTicks([0, top], 3).filter(Number.isInteger);
  return [
    leftAxis(ticks, y, frame.left, frame.right),
    ...bars.map((height, k) =>
      svg("rect", {
        class: "share",
        x: x(k) + 0.75,
        width: Math.max(1, x(1) - x(0) - 1.5),
        y: y(Math.min(height ?? 0, top)),
        height: frame.bottom - y(Math.min(height ?? 0, top)),
      }),
    ),
    band
      ? svg("rect", {
          class: "calibrated",
          x: frame.left,
          width: frame.right - frame.left,
          y: y(Math.min(band[1], top)),
          height: y(band[0]) - y(Math.min(band[1], top)),
        })
      : null,
    svg("line", { class: "reference", x1: frame.left, x2: frame.right, y1: y(1), y2: y(1) }),
    axisText("0", frame.left, frame.bottom + 14, "start"),
    axisText("1", frame.right, frame.bottom + 14, "end"),
    axisText("quantile of the forecast", (frame.left + frame.right) / 2, frame.bottom + 28, "middle"),
  ].filter((part) => part !== null);
}

function coverage({ levels, covered }, frame) {
  const x = linear([0, 1], [frame.left, frame.right]);
  const y = linear([0, 1], [frame.bottom, frame.top]);
  const ends = [[0, 0], ...levels.map((level, k) => [level, covered[k]])];
  return [
    leftAxis([0, 0.5, 1], y, frame.left, frame.right, (tick) => String(100 * tick)),
    svg("line", { class: "reference", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
    svg("path", { class: "curve", d: path(ends.map(([a, b]) => [x(a), y(b)])) }),
    axisText("0", frame.left, frame.bottom + 14, "start"),
    axisText("100", frame.right, frame.bottom + 14, "end"),
    axisText("interval, % → covered, %", (frame.left + frame.right) / 2, frame.bottom + 28, "middle"),
  ];
}

function axisText(text, x, y, anchor) {
  return svg("text", { class: "axis-text", x, y, "text-anchor": anchor }, text);
}
