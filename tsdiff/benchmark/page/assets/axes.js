// Axes: a light grid, labels outside, no box.

function leftAxis(ticks, place, left, right, text = short) {
  return svg(
    "g",
    { class: "axis" },
    ...ticks.flatMap((tick) => [
      svg("line", { class: "grid", x1: left, x2: right, y1: place(tick), y2: place(tick) }),
      svg("text", { x: left - 6, y: place(tick) + 4, "text-anchor": "end" }, text(tick)),
    ]),
  );
}

function bottomAxis(ticks, place, top, bottom, text = short) {
  return svg(
    "g",
    { class: "axis" },
    ...ticks.flatMap((tick) => [
      svg("line", { class: "grid", x1: place(tick), x2: place(tick), y1: top, y2: bottom }),
      svg("text", { x: place(tick), y: bottom + 16, "text-anchor": "middle" }, text(tick)),
    ]),
  );
}

// A curve through [x, y], broken where a value is missing.
function path(points) {
  let text = "";
  let drawing = false;
  for (const [x, y] of points) {
    const known = Number.isFinite(x) && Number.isFinite(y);
    if (known) text += `${drawing ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`;
    drawing = known;
  }
  return text;
}

const pen = document.createElement("canvas").getContext("2d");

function textWidth(text, size = 12) {
  pen.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

// As much of a text as there is room for.
function fitted(text, room, size = 12) {
  if (textWidth(text, size) <= room) return text;
  let length = text.length;
  while (length > 1 && textWidth(`${text.slice(0, length)}…`, size) > room) length -= 1;
  return `${text.slice(0, length).trimEnd()}…`;
}

// What tells models from kinds of baselines without colour.
function marker(kind, x, y, size) {
  const shape = {
    model: () => svg("circle", { cx: x, cy: y, r: size }),
    naive: () =>
      svg("rect", { x: x - size, y: y - size, width: 2 * size, height: 2 * size, rx: 1 }),
    statistical: () => svg("path", { d: polygon(x, y + 0.15 * size, 1.35 * size, 3) }),
    automatic: () => svg("path", { d: polygon(x, y, 1.35 * size, 4) }),
  }[kind];
  const drawn = shape ? shape() : svg("path", { d: polygon(x, y, 1.3 * size, 5) });
  drawn.classList.add("marker", `kind-${kind}`);
  return drawn;
}

function polygon(x, y, radius, corners) {
  const points = Array.from({ length: corners }, (_, k) => {
    const angle = (2 * Math.PI * k) / corners - Math.PI / 2;
    return `${(x + radius * Math.cos(angle)).toFixed(2)},${(y + radius * Math.sin(angle)).toFixed(2)}`;
  });
  return `M${points.join("L")}Z`;
}

const KINDS = {
  model: "model",
  naive: "naive baseline",
  statistical: "statistical baseline",
  automatic: "automatic baseline",
};

// Which marker is which, for those kinds that there are.
function kindsLegend(methods) {
  const kinds = [...new Set(methods.map((method) => method.kind))];
  return html(
    "p",
    { class: "legend" },
    ...kinds.map((kind) => {
      const sign = svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, marker(kind, 7, 7, 4.5));
      return html("span", {}, sign, KINDS[kind] ?? kind);
    }),
  );
}
