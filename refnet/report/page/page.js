"use strict";
// Figures: each holds its Vega-Lite specification. The interpreter (ast) evaluates expressions, so that none needs eval.
// To those who do not see it a figure is one picture with its description; the tables have its numbers.
for (const figure of document.querySelectorAll("figure")) {
  const specification = JSON.parse(figure.querySelector("script").textContent);
  const chart = figure.querySelector(".chart");
  vegaEmbed(chart, specification, { ast: true, renderer: "svg", actions: false }).then(() => {
    chart.querySelector("svg").role = "img";
    chart.querySelector("svg").ariaLabel = specification.description;
  });
}

// A long table is data: texts, each once, and rows of their places, the kind of verdict first.
for (const data of document.querySelectorAll("table + script")) {
  const { texts, rows } = JSON.parse(data.textContent);
  const drawn = rows.map(([kind, ...cells]) => {
    const row = document.createElement("tr");
    row.className = texts[kind];
    for (const cell of cells) row.insertCell().textContent = texts[cell];
    return row;
  });
  data.previousElementSibling.tBodies[0].append(...drawn);
}

// Tables: a click on a heading sorts by it, a second click the other way; cells without a number stay last.
const text = (row, column) => row.cells[column].textContent.trim();
const number = (shown) => (shown === "exact" ? Infinity : Number(shown.replace("inf", "Infinity").replace("%", "")));

function compare(first, second) {
  const [x, y] = [number(first), number(second)];
  if (Number.isNaN(x) || Number.isNaN(y)) return first.localeCompare(second);
  return x === y ? 0 : x - y;
}

function sort(heading) {
  const body = heading.closest("table").tBodies[0];
  const down = heading.ariaSort === "ascending";
  const empty = (shown) => shown === "" || shown === "-";
  const rows = [...body.rows].map((row) => [text(row, heading.cellIndex), row]);
  rows.sort(([x], [y]) => empty(x) - empty(y) || (down ? compare(y, x) : compare(x, y)));
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.ariaSort = down ? "descending" : "ascending";
  body.append(...rows.map(([, row]) => row));
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sort(button.parentElement));
}

// Filters: a row stays if each word that was typed is somewhere in it.
for (const filter of document.querySelectorAll("input[type=search]")) {
  const rows = [...document.getElementById(filter.getAttribute("aria-controls")).tBodies[0].rows];
  const contents = rows.map((row) => row.textContent.toLowerCase());
  const count = filter.closest("p").querySelector("output");
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    rows.forEach((row, place) => { row.hidden = !words.every((word) => contents[place].includes(word)); });
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  filter.addEventListener("input", apply);
  apply();
}
