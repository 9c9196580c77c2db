// Names beside points, none over another: each takes the nearest free place around its point.

function overlap(a, b) {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

// points: [{x, y, width}]; frame: {left, right, top, bottom}; rules: heights of lines that are better
// not written across. Gives each {x, y, far}: where its text begins and its middle, and whether it
// is so far that a line must lead to it.
function placeLabels(points, frame, rules, size = 12) {
  const height = size + 3;
  const taken = points.map((p) => ({ x: p.x - 6, y: p.y - 6, w: 12, h: 12 }));
  const places = new Map();
  // Points with near neighbours choose first: they have the fewest places.
  const crowd = (p) => points.filter((q) => Math.abs(p.x - q.x) < 120 && Math.abs(p.y - q.y) < 30);
  const order = [...points].sort((a, b) => crowd(b).length - crowd(a).length);
  for (const point of order) {
    let best = null;
    for (const candidate of candidates(point, height)) {
      const box = { x: candidate.x - 2, y: candidate.y - height / 2, w: point.width + 4, h: height };
      const outside =
        box.x < frame.left || box.x + box.w > frame.right || box.y < frame.top || box.y + box.h > frame.bottom;
      const hits = taken.filter((other) => overlap(box, other)).length;
      const across = rules.filter((rule) => box.y < rule && rule < box.y + box.h).length;
      const cost = 1000 * (hits + 3 * outside) + 25 * across + candidate.distance;
      if (best === null || cost < best.cost) best = { ...candidate, box, cost };
    }
    taken.push(best.box);
    places.set(point, { x: best.x, y: best.y, far: best.distance > 22 });
  }
  return points.map((point) => places.get(point));
}

// Right, left, above and below; then rings that grow.
function candidates({ x, y, width }, height) {
  const found = [];
  for (let ring = 0; ring < 12; ring += 1) {
    const away = 9 + ring * 7;
    const rise = ring * 7;
    for (const lift of ring === 0 ? [0] : [-rise, rise, 0]) {
      found.push({ x: x + away, y: y + lift, distance: away + Math.abs(lift) });
      found.push({ x: x - away - width, y: y + lift, distance: away + Math.abs(lift) });
    }
    const over = height / 2 + away - 2;
    found.push({ x: x - width / 2, y: y - over, distance: away + 4 });
    found.push({ x: x - width / 2, y: y + over, distance: away + 4 });
  }
  return found.sort((a, b) => a.distance - b.distance);
}
