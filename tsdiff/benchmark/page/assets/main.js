// Puts the drawings where the page has left room for them.

const data = JSON.parse(document.getElementById("data").textContent);
const DRAW = {
  differences: differenceChart,
  fans: fanChart,
  calibration: calibrationChart,
  costs: costChart,
};

themeButton(document.getElementById("theme"));
for (const table of document.querySelectorAll("table.sortable")) sortable(table);
for (const table of document.querySelectorAll("[data-choose-columns] table")) {
  table.closest(".scroll").before(columnChooser(table));
}
for (const place of document.querySelectorAll("[data-chart]")) {
  const drawn = DRAW[place.dataset.chart](data.groups[Number(place.dataset.group)]);
  if (drawn === null) place.closest("figure").hidden = true;
  else place.append(drawn);
}
document.documentElement.classList.add("drawn");
