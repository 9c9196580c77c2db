// Tables: sort by a column, choose columns, show what sampling adds.

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortRows(table.tBodies[0], column, ascending ? 1 : -1);
    });
  });
}

// Numbers by size, text by alphabet; what has no value stays at the end.
function sortRows(body, column, direction) {
  const key = (row) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = text === "" || text === "–" ? NaN : Number(text);
    return cell.dataset.value !== undefined || cell.classList.contains("num") ? number : text;
  };
  const rows = [...body.rows].map((row) => ({ row, value: key(row) }));
  rows.sort((a, b) => {
    const [lost, found] = [a, b].map(({ value }) => Number.isNaN(value));
    if (lost || found) return lost - found;
    if (typeof a.value === "number") return direction * (a.value - b.value);
    return direction * a.value.localeCompare(b.value, "en", { numeric: true });
  });
  body.append(...rows.map(({ row }) => row));
}

function columnChooser(table) {
  const heads = [...table.tHead.rows[0].cells];
  const boxes = heads.slice(1).map((head, place) => {
    const box = html("input", { type: "checkbox", checked: !head.classList.contains("off") });
    box.addEventListener("change", () => {
      for (const row of table.rows) row.cells[place + 1].classList.toggle("off", !box.checked);
    });
    const words = head.querySelector("button");
    return html("label", { title: words.title }, box, words.textContent);
  });
  const sampling = html("input", { type: "checkbox" });
  sampling.addEventListener("change", () => table.classList.toggle("with-sampling", sampling.checked));
  return html(
    "div",
    { class: "controls" },
    html(
      "details",
      { class: "columns" },
      html("summary", {}, "Columns"),
      html("div", { class: "boxes" }, ...boxes),
    ),
    html("label", { class: "check" }, sampling, "Monte-Carlo errors"),
  );
}
