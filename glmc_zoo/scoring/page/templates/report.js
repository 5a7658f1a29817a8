"use strict";
// Sorts and filters the tables, filters the images, and opens the class that a link leads to. Without it all is shown.

function cellValue(row, column) {
  const value = row.cells[column].dataset.value;
  const number = Number(value);
  return value === "" || value === undefined ? null : Number.isNaN(number) ? value : number;
}

function compare(first, second, sign) {
  if (first === null || second === null) return (first === null) - (second === null); // the unknown last, either way
  return sign * (typeof first === "string" || typeof second === "string"
    ? String(first).localeCompare(String(second), undefined, { numeric: true }) : first - second);
}

function sortBy(head) {
  const table = head.closest("table"), body = table.tBodies[0];
  const numeric = head.classList.contains("number");
  const before = head.getAttribute("aria-sort");
  const order = before === null ? (numeric ? "descending" : "ascending") : before === "ascending" ? "descending" : "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const rows = Array.from(body.rows, (row) => [cellValue(row, head.cellIndex), row]);
  rows.sort((a, b) => compare(a[0], b[0], order === "ascending" ? 1 : -1));
  body.append(...rows.map((pair) => pair[1]));
}

for (const button of document.querySelectorAll("th > button")) {
  button.addEventListener("click", () => sortBy(button.parentElement));
}

function shownOf(entries) {
  return `${entries.filter((entry) => !entry.hidden).length} of ${entries.length} classes`;
}

const classFilter = document.getElementById("class-filter");
if (classFilter) {
  const rows = Array.from(document.getElementById("class-table").tBodies[0].rows);
  const status = document.getElementById("class-status");
  const apply = () => {
    const text = classFilter.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.dataset.text.includes(text);
    status.textContent = shownOf(rows);
  };
  classFilter.addEventListener("input", apply);
  apply();
}

const imageFilter = document.getElementById("image-filter");
if (imageFilter) {
  const kind = document.getElementById("image-kind");
  const classes = Array.from(document.querySelectorAll("#gallery details"));
  const status = document.getElementById("image-status");
  const apply = () => {
    const text = imageFilter.value.trim().toLowerCase();
    for (const one of classes) {
      const figures = Array.from(one.querySelectorAll("figure"));
      for (const figure of figures) figure.hidden = kind.value !== "all" && !figure.classList.contains(kind.value);
      one.hidden = !one.dataset.text.includes(text) || figures.every((figure) => figure.hidden);
      if (text && !one.hidden) one.open = true;
    }
    status.textContent = shownOf(classes);
  };
  imageFilter.addEventListener("input", apply);
  kind.addEventListener("input", apply);
  apply();
}

function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") {
    target.hidden = false;
    target.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", openTarget);
openTarget();
document.documentElement.dataset.ready = "yes";
