"use strict";
// The table of rows: a click on a heading sorts, a word in the field filters. Without script it is a plain table.
(() => {
  const table = document.querySelector("table.rows");
  if (!table) return;
  const body = table.tBodies[0];
  const lines = [...body.rows];

  const value = (line, column) => {
    const cell = line.cells[column];
    if (!cell) return null;
    if (!cell.classList.contains("n")) return cell.textContent;
    const figure = parseFloat(cell.dataset.v ?? cell.textContent);
    return Number.isNaN(figure) ? null : figure;
  };
  const sort = (heading, column) => {
    const falling = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    lines.sort((one, other) => {
      const [a, b] = [value(one, column), value(other, column)];
      if (a === null || b === null) return (a === null) - (b === null); // without a figure: last, both ways
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return falling ? -order : order;
    });
    body.append(...lines);
  };
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(heading, column));
    heading.append(button);
  });

  const find = document.createElement("label");
  find.className = "find";
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "video missing silent";
  const count = document.createElement("span");
  count.className = "soft";
  count.setAttribute("role", "status");
  find.append("Show rows with", field, count);
  table.parentElement.before(find);
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const line of lines) {
      const text = line.textContent.toLowerCase();
      line.hidden = !words.every((word) => text.includes(word));
      shown += !line.hidden;
    }
    count.textContent = `${shown} of ${lines.length} rows`;
  };
  field.addEventListener("input", filter);
  filter();
})();
