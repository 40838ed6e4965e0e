"use strict";
// Tables: a click on a heading sorts, a word in the field filters the conditions. Without script they are plain tables.
(() => {
  const value = (line, column) => {
    const cell = line.cells[column];
    if (!cell) return null;
    if (!cell.classList.contains("n")) return cell.textContent;
    const figure = parseFloat(cell.dataset.v ?? cell.textContent);
    return Number.isNaN(figure) ? null : figure;
  };
  const compared = (a, b) => {
    const numbers = typeof a === "number" && typeof b === "number";
    return numbers ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  };
  const sort = (table, lines, heading, column) => {
    const falling = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    lines.sort((one, other) => {
      const [a, b] = [value(one, column), value(other, column)];
      if (a === null || b === null) return (a === null) - (b === null); // without a figure: last, both ways
      return falling ? compared(b, a) : compared(a, b);
    });
    table.tBodies[0].append(...lines);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const lines = [...table.tBodies[0].rows];
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(table, lines, heading, column));
      heading.append(button);
    });
  }

  const table = document.querySelector("table.rows");
  const lines = [...table.tBodies[0].rows];
  const find = document.createElement("label");
  find.className = "find";
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "video missing bursts";
  const count = document.createElement("span");
  count.className = "soft";
  count.setAttribute("role", "status");
  find.append("Show conditions with", field, count);
  table.parentElement.before(find);
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const line of lines) {
      const text = line.textContent.toLowerCase();
      line.hidden = !words.every((word) => text.includes(word));
      shown += !line.hidden;
    }
    count.textContent = `${shown} of ${lines.length}`;
  };
  field.addEventListener("input", filter);
  filter();
})();
