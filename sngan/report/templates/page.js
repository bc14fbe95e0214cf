"use strict";

// tables: a click on a title sorts by its column, another one turns the order round; rows without a value stay last
for (const table of document.querySelectorAll("table.sortable")) {
  const titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    title.querySelector("button").addEventListener("click", () => {
      const up = title.getAttribute("aria-sort") !== "ascending";
      for (const other of titles) other.setAttribute("aria-sort", "none");
      title.setAttribute("aria-sort", up ? "ascending" : "descending");
      const isNumber = title.classList.contains("number");
      const key = (row) => {
        const cell = row.cells[column];
        return isNumber ? parseFloat(cell.dataset.value) : cell.textContent.trim();
      };
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (!isNumber) return (up ? 1 : -1) * x.localeCompare(y, undefined, { numeric: true });
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return (up ? 1 : -1) * (x - y);
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(order));
    });
  });
}

// samples over time
for (const figure of document.querySelectorAll(".frames")) {
  const frames = figure.querySelectorAll(".frame");
  const slider = figure.querySelector("input");
  slider.addEventListener("input", () => {
    frames.forEach((frame, i) => { frame.hidden = i !== Number(slider.value); });
    figure.querySelector("output").textContent = frames[slider.value].dataset.step;
  });
}

// curves: a tick shows or hides a setting in all charts
const hidden = new Set();
for (const box of document.querySelectorAll("[data-toggles]")) {
  box.addEventListener("change", () => {
    if (box.checked) hidden.delete(box.dataset.toggles);
    else hidden.add(box.dataset.toggles);
    for (const curve of document.querySelectorAll(`[data-group="${box.dataset.toggles}"]`)) {
      curve.style.display = box.checked ? "" : "none";
    }
  });
}

// curves: the values at the step under the pointer
for (const plot of document.querySelectorAll(".plot")) {
  const svg = plot.querySelector("svg");
  const reading = plot.querySelector(".reading");
  const cursor = plot.querySelector(".cursor");
  const { range: [low, high], series } = JSON.parse(svg.dataset.curves);
  const [left, right] = [Number(svg.dataset.left), Number(svg.dataset.right)];
  const line = (text, colour) => {
    const div = document.createElement("div");
    if (colour !== undefined) div.append(Object.assign(document.createElement("i"), { className: `c${colour}` }));
    div.append(text);
    return div;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const wanted = low + (across - left) / (right - left) * (high - low);
    const near = (points) => points.reduce((a, b) => Math.abs(b[0] - wanted) < Math.abs(a[0] - wanted) ? b : a);
    const shown = series.filter(([, , group]) => !hidden.has(String(group)));
    if (!shown.length) return;
    const x = near(shown.map(([, , , points]) => near(points)))[0];
    const at = left + (x - low) / (high - low) * (right - left);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    cursor.style.visibility = "visible";
    const values = shown.map(([label, colour, , points]) => [label, colour, near(points)]).filter(([, , point]) => point[0] === x);
    reading.replaceChildren(
      line(`${svg.dataset.x} ${x.toLocaleString("en")}`),
      ...values.slice(0, 12).map(([label, colour, point]) => line(`${Number(point[1].toPrecision(4))}  ${label}`, colour)),
    );
    reading.hidden = false;
    const is_right = at > svg.viewBox.baseVal.width / 2;
    reading.style.left = is_right ? "" : `${at / svg.viewBox.baseVal.width * 100 + 2}%`;
    reading.style.right = is_right ? `${100 - at / svg.viewBox.baseVal.width * 100 + 2}%` : "";
  });
  svg.addEventListener("pointerleave", () => {
    reading.hidden = true;
    cursor.style.visibility = "hidden";
  });
}
