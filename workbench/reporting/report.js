"use strict";

// Tables that can be sorted by any column, and shown page by page. Their rows are in the page as JSON, so that
// the browser lays out one page of them, not thousands of rows.
for (const box of document.querySelectorAll(".data-table")) {
  const rows = JSON.parse(box.querySelector("script").textContent);
  const heads = [...box.querySelectorAll("thead th")];
  const body = box.querySelector("tbody");
  const range = box.querySelector(".range");
  const steps = [...box.querySelectorAll("[data-step]")];
  const perPage = Number(box.dataset.page);
  let first = 0;

  // What a cell is sorted by: its words, or the number that it begins with, of a duration such as 2:05 its seconds.
  function key(text, numeric) {
    if (!numeric) return text.toLowerCase();
    const [duration] = text.match(/^\d+(:\d\d)+/) ?? [];
    if (duration) return duration.split(":").reduce((seconds, part) => 60 * seconds + Number(part), 0);
    return parseFloat(text.replace(/,/g, ""));
  }

  function cell(text, column) {
    const element = document.createElement(column === 0 ? "th" : "td");
    if (column === 0) element.scope = "row";
    if (text.length > 40) element.className = "long";
    else if (column === 0 && text.length > 14) element.className = "name";
    else if (column > 0 && "numeric" in heads[column].dataset) element.className = "number";
    element.textContent = text;
    return element;
  }

  function show() {
    body.replaceChildren(
      ...rows.slice(first, first + perPage).map((row) => {
        const line = document.createElement("tr");
        line.append(...row.map(cell));
        return line;
      }),
    );
    if (!range) return;
    const last = Math.min(rows.length, first + perPage);
    range.textContent = `${(first + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
    steps[0].disabled = first === 0;
    steps[1].disabled = last === rows.length;
  }

  function sort(column) {
    const head = heads[column];
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const numeric = "numeric" in head.dataset;
    rows.sort((one, other) => {
      const [x, y] = [key(one[column], numeric), key(other[column], numeric)];
      const [noX, noY] = [x === "" || Number.isNaN(x), y === "" || Number.isNaN(y)];
      if (noX || noY) return noX - noY; // missing values come last in both directions
      return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
    });
    first = 0;
    show();
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(column));
    head.replaceChildren(button);
  });
  for (const step of steps) {
    step.hidden = false;
    step.addEventListener("click", () => {
      first += Number(step.dataset.step) * perPage;
      show();
    });
  }
  show();
}

// A figure fits into the page; where that makes it small, a button shows it in full size, in a box that scrolls.
const figures = [...document.querySelectorAll("figure")];
for (const figure of figures) {
  const button = figure.querySelector(".zoom");
  button.addEventListener("click", () => {
    const isFull = figure.classList.toggle("full");
    button.setAttribute("aria-pressed", isFull);
    focusable();
  });
}
function offerFullSize() {
  for (const figure of figures) {
    const isSmall = [...figure.querySelectorAll("img")].some((image) => image.naturalWidth > 1.6 * image.clientWidth);
    figure.querySelector(".zoom").hidden = !isSmall && !figure.classList.contains("full");
  }
}
addEventListener("resize", offerFullSize);
addEventListener("load", offerFullSize);

// Charts that can be brushed and pointed at. Each is drawn when it comes into view, because drawing takes time.
const drawing = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue;
    drawing.unobserve(target);
    const { data, layout, config } = JSON.parse(target.querySelector("script").textContent);
    Plotly.newPlot(target.querySelector(".plot"), data, layout, config);
  }
});
for (const chart of document.querySelectorAll(".chart")) drawing.observe(chart);

// Make elements that scroll sideways reachable by keyboard.
function focusable() {
  for (const box of document.querySelectorAll(".scroll")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("resize", focusable);
addEventListener("load", focusable);
